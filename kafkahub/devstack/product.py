"""The whole product with sample traffic: what ``make dev`` runs."""

import fcntl
import json
import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from kafkahub.devstack import material, ports, postgres, stack
from kafkahub.devstack.parts import Site
from kafkahub.devstack.processes import Child, Processes, Program, StartFailed
from kafkahub.devstack.terminal import last_lines, say
from kafkahub.devstack.welcome import Seed, welcome

REPOSITORY = Path(__file__).resolve().parents[2]
DEV_JSON = "dev.json"
DEV_ENV = "dev.env"
"""Tell scripts and shells what runs; there are none while nothing runs."""

WEB_PORT = 8000
RECEIVER_PORT = 8100
GRPC_PORT = 50_051
METRICS_PORTS = {"deliver": 9101, "control": 9102, "grpc": 9103}
"""Where the workers answer probes and serve their metrics."""
WEB_DEADLINE_S = 60.0
RECORDS_PER_S = 5

WORKER = ("-m", "celery", "-A", "kafkahub", "worker", "-l", "warning")
QUIET = ("--without-gossip", "--without-mingle", "--without-heartbeat", "-O", "fair")

PART, RECEIVER, WORKERS, EDGE = range(4)
"""Tiers: records stop coming first, then engines finish while the receiver still answers."""


@dataclass(frozen=True, slots=True)
class Product:
    """What the processes of one run have in common.

    folder  where data, keys and logs go
    """

    folder: Path
    env: Mapping[str, str]
    base_url: str
    web_port: int
    receiver_port: int
    grpc_port: int

    @property
    def grpc_target(self) -> str:
        return f"{ports.LOOPBACK}:{self.grpc_port}"

    @property
    def receiver_url(self) -> str:
        return f"http://{ports.LOOPBACK}:{self.receiver_port}/hook"


def run(folder: Path, *, is_fresh: bool) -> int:
    """Run until somebody stops it; return the exit status.

    folder    where data, keys and logs go
    is_fresh  wipe it first

    Raises StartFailed when anything cannot be started, or stops by itself.
    """
    began = time.monotonic()
    with _only_one(folder.absolute()), Processes() as processes:
        site = Site(
            folder.absolute() / "parts", folder.absolute() / "log", os.environ, lasting=True
        )
        if is_fresh:
            _wipe(folder, site)
        folder.mkdir(mode=0o711, exist_ok=True)  # PostgreSQL may have to pass through
        try:
            text = _start(processes, folder, site)
            say(f"  ready in   {time.monotonic() - began:.1f} s\n")
            print(text, flush=True)
            _watch(processes)
        except KeyboardInterrupt:
            return 0  # being stopped is how it ends
        finally:
            (folder / DEV_JSON).unlink(missing_ok=True)
            (folder / DEV_ENV).unlink(missing_ok=True)
            say("\nstopping: what is under way is finished first …")


def _start(processes: Processes, folder: Path, site: Site) -> str:
    """Start everything and return the text that welcomes the user."""
    keys = material.keep(folder / "keys.json")
    say("  parts      PostgreSQL, Redis, Kafka …")
    parts = stack.start(processes, site, keys)
    product = _product(folder.absolute(), parts, keys)
    say("  database   tables, sample partner, topics, grants …")
    # One process for both: starting Django costs more than all that it then finds made.
    kept = str(product.folder / "demo.json")
    made = _manage(
        product, "demo", "seed", "--migrate", "--receiver", product.receiver_url, "--state", kept
    )
    seed = Seed.from_json(made)
    say("  processes  web, gRPC, engines, control worker, sample receiver and producer …")
    for program in _programs(product, site.logs):
        processes.start(program)
    _wait_for(processes, {"web": product.web_port, "gRPC": product.grpc_port})
    _tell(product, parts, seed, processes.pids())
    return welcome(
        parts,
        seed,
        base_url=product.base_url,
        receiver_url=product.receiver_url,
        grpc_target=product.grpc_target,
        folder=folder,
    )


def _product(folder: Path, parts: stack.Stack, keys: Mapping[str, str]) -> Product:
    """Return the settings; what the environment sets already stands."""
    web_port, receiver_port = ports.choose(WEB_PORT), ports.choose(RECEIVER_PORT)
    base_url = f"http://{ports.LOOPBACK}:{web_port}"
    settings = stack.settings(parts, keys, "dev")
    fixed = {"KAFKAHUB_ENVIRONMENT": "dev", "PYTHONUNBUFFERED": "1"}
    env = {"KAFKAHUB_BASE_URL": base_url, **settings, **os.environ, **fixed}
    return Product(
        folder, env, env["KAFKAHUB_BASE_URL"], web_port, receiver_port, ports.choose(GRPC_PORT)
    )


def _programs(product: Product, logs: Path) -> Iterator[Program]:
    """Yield what to start, in order: whoever answers before whoever asks."""

    def python(name: str, tier: int, *arguments: str, shown: bool = False) -> Program:
        own = METRICS_PORTS.get(name)
        port = {} if own is None else {"KAFKAHUB_METRICS_PORT": str(ports.choose(own))}
        return Program(
            name=name,
            argv=(sys.executable, *arguments),
            env={**product.env, **port},
            cwd=REPOSITORY,
            tier=tier,
            log=None if shown else logs / f"{name}.log",
        )

    manage = str(REPOSITORY / "manage.py")
    port = str(product.receiver_port)
    # Its output is the terminal: verified deliveries are what this is all about.
    yield python("receiver", RECEIVER, manage, "demo", "receiver", "--port", port, shown=True)
    yield python(
        "deliver",
        WORKERS,
        *WORKER,
        "-Q",
        "delivery",
        "-P",
        "prefork",
        "-c",
        "2",
        "-n",
        "deliver@%h",
        *QUIET,
    )
    beat = ("-B", "-s", str(product.folder / "beat"))
    yield python(
        "control", WORKERS, *WORKER, "-Q", "control", "-c", "1", "-n", "control@%h", *beat, *QUIET
    )
    yield python("web", EDGE, manage, "runweb", "--port", str(product.web_port))
    yield python("grpc", EDGE, manage, "rungrpc", "--port", str(product.grpc_port))
    yield python("producer", EDGE, manage, "demo", "produce", "--rate", str(RECORDS_PER_S))


def _manage(product: Product, *arguments: str) -> str:
    """Run a command of ``manage.py`` to its end and return what it printed.

    Raises StartFailed with its errors.
    """
    command = (sys.executable, str(REPOSITORY / "manage.py"), *arguments)
    done = subprocess.run(
        command, check=False, env=product.env, cwd=REPOSITORY, capture_output=True, text=True
    )
    if done.returncode != 0:
        text = f"manage.py {shlex.join(arguments)} failed:\n{done.stdout}{done.stderr}"
        raise StartFailed(text)
    return done.stdout


def _wait_for(processes: Processes, doors: Mapping[str, int]) -> None:
    """Wait until every door's port takes connections."""
    deadline = time.monotonic() + WEB_DEADLINE_S
    for name, port in doors.items():
        while not ports.accepts(port):
            ended = processes.first_ended(wait_s=0.05)
            if ended is not None:
                raise StartFailed(_obituary(ended))
            if time.monotonic() > deadline:
                text = f"The {name} process does not listen after {WEB_DEADLINE_S:.0f} s."
                raise StartFailed(text)


def _watch(processes: Processes) -> NoReturn:
    """Wait until a process ends, which none of them should.

    Raises StartFailed with the name and the last words of the one that did.
    """
    while True:
        ended = processes.first_ended(wait_s=None)
        if ended is not None:
            raise StartFailed(_obituary(ended))


def _obituary(child: Child) -> str:
    log = child.program.log
    words = f" The end of {log}:\n{last_lines(log)}" if log else ""
    return f"The process {child.program.name!r} stopped by itself.{words}"


def _tell(product: Product, parts: stack.Stack, seed: Seed, pids: Mapping[str, int]) -> None:
    """Write what runs for scripts (JSON) and for shells (variables to source)."""
    facts = {
        "base_url": product.base_url,
        "bootstrap_servers": parts.bootstrap,
        "database_url": parts.database_url,
        "redis_url": parts.redis_url,
        "partner_id": seed.partner_id,
        "api_key": seed.api_key,
        "admin_url": f"{product.base_url}/admin/",
        "admin_user": seed.admin_user,
        "admin_password": seed.admin_password,
        "member": seed.member,
        "member_password": seed.member_password,
        "receiver_url": product.receiver_url,
        "grpc_target": product.grpc_target,
        "kafka": parts.kafka,
        "processes": pids,
    }
    material.write_private(product.folder / DEV_JSON, json.dumps(facts, indent=1))
    variables = sorted(name for name in product.env if name.startswith("KAFKAHUB_"))
    lines = (f"{name}={shlex.quote(product.env[name])}" for name in variables)
    material.write_private(product.folder / DEV_ENV, "\n".join(lines))


def _wipe(folder: Path, site: Site) -> None:
    """Remove all that earlier runs have left."""
    for each in (folder, postgres.elsewhere(site)):
        if each.exists():
            shutil.rmtree(each)


@contextmanager
def _only_one(folder: Path) -> Iterator[None]:
    """Hold the folder for us.

    The lock is on the one above, so it outlives a wiped folder; it ends with the process.
    Raises StartFailed when another run has it.
    """
    descriptor = os.open(folder.parent, os.O_RDONLY)
    try:
        if not _is_locked(descriptor):
            raise StartFailed(f"It runs here already: see {folder / DEV_JSON}. Stop it first.")
        yield
    finally:
        os.close(descriptor)


def _is_locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
