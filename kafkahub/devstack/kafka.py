"""Kafka: named by the environment, a real broker in Java, or an in-memory cluster."""

import hashlib
import os
import re
import shutil
import subprocess
import sys
from base64 import urlsafe_b64encode
from collections.abc import Iterator
from pathlib import Path
from tempfile import mkdtemp

from kafkahub.devstack import ports
from kafkahub.devstack.parts import Part, Site, can_install, install
from kafkahub.devstack.processes import Program, StartFailed
from kafkahub.devstack.terminal import last_lines, say

VARIABLE = "KAFKAHUB_KAFKA_BOOTSTRAP"
PREFERRED_PORT = 29092
OLDEST_JAVA = 17
REPOSITORY = Path(__file__).resolve().parents[2]
SOURCES = REPOSITORY / "docker" / "kafka"

JAVA_OPTIONS = ("-Xms256m", "-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")
"""One small broker that starts quickly: the second compiler and parallel collection cost more
than they bring within the minutes it lives."""

STARTED = "Kafka Server started"
"""The broker's line once it is in its cluster; the port is open earlier than that."""

IN_MEMORY = "in-memory (no java ≥ 17 and mvn): no topic creation, no start by time, no retention"


def part(site: Site) -> tuple[Part, str]:
    """Return Kafka, prepared to start, and its kind: ``apache`` or ``memory``.

    Raises StartFailed when the broker's storage cannot be formatted.
    """
    named = site.env.get(VARIABLE)
    if named is not None:
        return Part("Kafka (named by the environment)", None, lambda: _answering(named)), "apache"
    found = provide(site.folder)
    if found is None:
        return _memory(site), "memory"
    return _broker(site, *found), "apache"


def provide(spare: Path) -> tuple[str, Path] | None:
    """Return the path of a fit Java and the folder of the broker's jars, fetched if need be.

    spare  where jars are kept when the user's cache is closed to us

    None where one of them is missing and cannot be had.
    """
    java = _java_or_install()
    jars = _jars(spare) if java else None
    return None if java is None or jars is None else (java, jars)


def _broker(site: Site, java: str, jars: Path) -> Part:
    port = ports.choose(PREFERRED_PORT) if site.lasting else ports.spare()
    folder = site.folder / "kafka"
    folder.mkdir(parents=True, exist_ok=True)
    command = (
        *(java, *JAVA_OPTIONS, f"-Dlog4j2.configurationFile={SOURCES / 'log4j2.properties'}"),
        *("-cp", f"{jars}/*"),
    )
    properties = _properties(folder, port)
    if not (folder / "data" / "meta.properties").exists():
        _format(command, properties)
    log = site.logs / "kafka.log"
    log.unlink(missing_ok=True)  # its end tells whether this start is complete
    program = Program(
        name="kafka",
        argv=(*command, "kafka.Kafka", str(properties)),
        env=site.base_env,
        cwd=folder,
        log=log,
    )
    bootstrap = f"{ports.LOOPBACK}:{port}"
    return Part(
        "Kafka: real broker, KRaft, 1 node",
        program,
        lambda: bootstrap if STARTED in _text(log) else None,
    )


def _memory(site: Site) -> Part:
    say(f"  Kafka is {IN_MEMORY}.")
    log = site.logs / "kafka.log"
    log.unlink(missing_ok=True)
    program = Program(
        name="kafka",
        argv=(sys.executable, "-m", "kafkahub.kafka.memory"),
        env=site.base_env,
        cwd=REPOSITORY,
        log=log,
    )
    # Its first line is its address; a line without an end is not whole yet.
    return Part(f"Kafka: {IN_MEMORY}", program, lambda: _first_line(log))


def _properties(folder: Path, port: int) -> Path:
    controller = ports.choose(port + 1)
    text = (SOURCES / "server.properties").read_text(encoding="utf-8")
    for mark, value in (("PORT", port), ("CONTROLLER", controller), ("DATA", folder / "data")):
        text = text.replace(f"@{mark}@", str(value))
    path = folder / "server.properties"
    path.write_text(text, encoding="utf-8")
    return path


def _format(command: tuple[str, ...], properties: Path) -> None:
    cluster = urlsafe_b64encode(os.urandom(16)).decode().rstrip("=")
    # The tool takes an id that starts with a dash for an option.
    arguments = ("format", "--cluster-id", cluster.replace("-", "A"), "--config", str(properties))
    done = subprocess.run(
        (*command, "kafka.tools.StorageTool", *arguments),
        check=False,
        capture_output=True,
        text=True,
    )
    if done.returncode != 0:
        raise StartFailed(f"Kafka's storage cannot be formatted:\n{done.stdout}{done.stderr}")


def _java_or_install() -> str | None:
    """Return the path of a Java that Kafka runs on, installed first where that may be done."""
    java = _java()
    if java is None and can_install() and install("default-jre-headless"):
        java = _java()
    return java


def _java() -> str | None:
    return next((path for path in _javas() if _java_version(path) >= OLDEST_JAVA), None)


def _javas() -> Iterator[str]:
    home = os.environ.get("JAVA_HOME")
    if home:
        yield f"{home}/bin/java"
    on_path = shutil.which("java")
    if on_path:
        yield on_path
    yield from (str(path) for path in sorted(Path("/usr/lib/jvm").glob("*/bin/java")))


def _java_version(path: str) -> int:
    """Return 17 for 'openjdk version "17.0.15"'; 0 when it cannot be run."""
    try:
        said = subprocess.run([path, "-version"], check=True, capture_output=True, text=True)
    except (OSError, subprocess.CalledProcessError):
        return 0
    found = re.search(r'version "(\d+)', said.stderr)
    return int(found[1]) if found else 0


def _jars(spare: Path) -> Path | None:
    """Return the folder of the broker's jars, fetched with Maven the first time.

    None when they are not here and Maven is neither. The folder is named after the POM, so
    another version is another folder.
    """
    pom = SOURCES / "pom.xml"
    mark = hashlib.sha256(pom.read_bytes()).hexdigest()[:12]
    cache = _cache(spare)
    jars = cache / f"kafka-{mark}"
    if jars.exists():
        return jars
    if shutil.which("mvn") is None and not (can_install() and install("maven")):
        return None
    maven = shutil.which("mvn") or "mvn"
    say("  fetching Kafka's jars with Maven, 44 MB, once …")
    cache.mkdir(parents=True, exist_ok=True)
    return _fetch(maven, pom, jars)


def _fetch(maven: str, pom: Path, jars: Path) -> Path | None:
    """Fetch into a folder beside, then rename: a cut fetch must not look complete."""
    partial = Path(mkdtemp(dir=jars.parent, prefix="fetching-"))
    log = partial / "maven.log"
    goal = ("dependency:copy-dependencies", "-DincludeScope=runtime")
    with log.open("wb") as output:
        done = subprocess.run(
            (maven, "-q", "-B", "-f", str(pom), *goal, f"-DoutputDirectory={partial}"),
            check=False,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    if done.returncode != 0:
        say(f"  Maven failed:\n{last_lines(log, 5)}")
        shutil.rmtree(partial)
        return None
    try:
        partial.rename(jars)
    except OSError:  # somebody else fetched them meanwhile
        shutil.rmtree(partial)
    return jars


def _cache(spare: Path) -> Path:
    """Return where fetched programs are kept: the user's cache, or ``spare`` if that is closed."""
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    folder = Path(base).expanduser() / "kafkahub"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return spare / "cache"
    return folder if os.access(folder, os.W_OK) else spare / "cache"


def _answering(bootstrap: str) -> str | None:
    """Return the brokers when one of them takes a connection."""
    for broker in bootstrap.split(","):
        host, _, port = broker.strip().rpartition(":")
        if port.isdigit() and ports.accepts(int(port), host.strip("[]")):
            return bootstrap
    return None


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return ""


def _first_line(path: Path) -> str | None:
    line, end, _ = _text(path).partition("\n")
    return line.strip() if end else None
