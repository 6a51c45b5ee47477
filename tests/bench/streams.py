"""``make bench-streams``: what a frame costs, from a real Kafka to listeners that check it.

100 records a second of 300 bytes go to 1,000 and to 5,000 listeners of one web process; then all
5,000 are cut at once, and come back. Prints one JSON line last. CPU is that of the web process,
user and system, over the frames that arrived; listeners, Kafka and PostgreSQL run beside it on the
same two cores, so rates and latencies are those of the whole machine.
"""

import argparse
import contextlib
import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from http.client import HTTPConnection  # noqa: TID251 - the bench asks a server of ours
from pathlib import Path
from typing import Any, NamedTuple, Self

import django
from django.core.management import call_command

from tests.bench.listeners import SPARE_FILES, Listeners, Report, build, raise_file_limit

PER_SECOND = 100
VALUE_BYTES = 300
PARTITIONS = 4
OPENS_PER_SECOND = 1_000
RETURNS_PER_SECOND = 5_000
"""All within the second."""
STALLED = 20
"""Listeners that read nothing beside the smaller load."""
WARM_UP = 200
"""Records before anything is counted."""
REST_EVERY_S = 0.2
"""A key without a plan may ask the control API ten times a second."""
DEADLINE_S = 120
OK = 200
ROOT = Path(__file__).resolve().parent.parent.parent


class Web(NamedTuple):
    """A web process."""

    pid: int
    port: int

    def cpu_seconds(self) -> float:
        """Return user and system time of the process and its threads."""
        fields = Path(f"/proc/{self.pid}/stat").read_text(encoding="ascii").rsplit(") ", 1)[1]
        ticks = fields.split()
        return (int(ticks[11]) + int(ticks[12])) / os.sysconf("SC_CLK_TCK")

    def memory_kb(self) -> int:
        """Return what the process has in memory."""
        text = Path(f"/proc/{self.pid}/smaps_rollup").read_text(encoding="ascii")
        return int(text.split("\nRss:")[1].split()[0])


class Source(NamedTuple):
    """A topic, what writes to it, and a key that may read it."""

    topic: str
    key: str
    producer: Any

    @property
    def request(self) -> tuple[str, str]:
        return f"/streams/{self.topic}", f"Authorization: Bearer {self.key}"

    def produce(self, count: int) -> None:
        """Write ``count`` records, 100 a second, each with its number and time."""
        start = time.monotonic()
        for number in range(count):
            time.sleep(max(0.0, start + number / PER_SECOND - time.monotonic()))
            value = b'{"number":%d,"sent_at_us":%d,"pad":"' % (number, time.time_ns() // 1000)
            value += b"x" * (VALUE_BYTES - len(value) - 2) + b'"}'
            self.producer.produce(self.topic, value, partition=number % PARTITIONS)
        self.producer.flush(30)


@contextlib.contextmanager
def web_process() -> Iterator[Web]:
    """Run one web process as operators do."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = int(free.getsockname()[1])
    environment = os.environ | {"KAFKAHUB_TEST_HOOKS": "false", "KAFKAHUB_LOG_LEVEL": "warning"}
    command = [sys.executable, "manage.py", "runweb", "--port", str(port)]
    process = subprocess.Popen(command, cwd=ROOT, env=environment)
    try:
        _wait_until_ready(process, port)
        yield Web(process.pid, port)
    finally:
        process.kill()  # a drain would be waited for, and is measured nowhere here
        process.wait()


def _wait_until_ready(process: subprocess.Popen[bytes], port: int) -> None:
    until = time.monotonic() + DEADLINE_S
    while process.poll() is None and time.monotonic() < until:
        with (
            contextlib.suppress(OSError),
            contextlib.closing(HTTPConnection("127.0.0.1", port, timeout=5)) as connection,
        ):
            connection.request("GET", "/readyz")
            if connection.getresponse().status == OK:
                return
        time.sleep(0.1)
    raise SystemExit("the web process does not get ready")


def prepare() -> Source:
    """Make a topic, and a partner whose key meets no limit."""
    from kafkahub import config  # noqa: PLC0415
    from kafkahub.kafka.admin import Admin  # noqa: PLC0415
    from kafkahub.kafka.options import admin_options, producer_options  # noqa: PLC0415
    from kafkahub.kafka.producer import Producer  # noqa: PLC0415
    from kafkahub.limits.policies import POLICIES  # noqa: PLC0415
    from subscriptions import models  # noqa: PLC0415
    from tests import factories  # noqa: PLC0415

    topic = f"bench-streams-{os.getpid()}-{int(time.time())}"
    Admin(admin_options(config.load())).create_topic(topic, PARTITIONS)
    many = {"open-streams": {"burst": 1_000_000}}
    wide = {policy: {"per_s": 1e9, "burst": 1e9} for policy in POLICIES}
    plan = models.Plan.objects.create(
        name=topic, rules={"key": many | wide, "partner": many, "address": many}
    )
    partner = models.Partner.objects.create(name=f"Bench {topic}", plan=plan)
    factories.topic(topic)
    factories.grant(partner, topic)
    producer = Producer(producer_options(config.load()))
    return Source(topic, factories.api_key(partner)[1], producer)


class Figures(NamedTuple):
    """What one load was like; ``lost`` counts records that a listener did not get."""

    us_per_frame: float
    frames_per_second: float
    cores: float
    p50_ms: float
    p99_ms: float
    lost: int


def load(web: Web, listeners: Listeners, source: Source, seconds: int) -> Figures:
    """Send 100 records a second to listeners that are live; return what that cost."""
    listeners.reset()
    source.produce(WARM_UP)
    listeners.wait_records(WARM_UP)
    listeners.reset()
    count = seconds * PER_SECOND
    before, begun = web.cpu_seconds(), time.monotonic()
    source.produce(count)
    report = listeners.wait_records(count)
    spent, took = web.cpu_seconds() - before, time.monotonic() - begun
    return Figures(
        us_per_frame=spent / report["records"] * 1e6,
        frames_per_second=report["records"] / report["seconds"],
        cores=spent / took,
        p50_ms=report["p50_ms"],
        p99_ms=report["p99_ms"],
        lost=lost(report, count),
    )


def lost(report: Report, each: int) -> int:
    """Return how many records are missing, and how many gaps were announced, which none is due."""
    missing = each * report["streams"] - report["records"]
    return int(max(missing, report["holes"]) + report["gaps"])


class Asking(threading.Thread):
    """Asks the control API for something small, again and again; use as a context manager."""

    def __init__(self, web: Web, source: Source) -> None:
        super().__init__(daemon=True)
        self.longest_s = 0.0
        self._port = web.port
        self._headers = {"Authorization": f"Bearer {source.key}"}
        self._is_over = threading.Event()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self.join()

    def run(self) -> None:
        while not self._is_over.wait(REST_EVERY_S):
            begun_s = time.monotonic()
            connection = HTTPConnection("127.0.0.1", self._port, timeout=DEADLINE_S)
            with contextlib.closing(connection):
                connection.request("GET", "/api/v1/topics", headers=self._headers)
                connection.getresponse().read()
            self.longest_s = max(self.longest_s, time.monotonic() - begun_s)


def crowd(web: Web, listeners: Listeners, source: Source, streams: int) -> Report:
    """Cut all listeners at once while records flow; return how they came back."""
    seconds = 10
    listeners.reset()
    writer = threading.Thread(target=source.produce, args=(seconds * PER_SECOND,))
    writer.start()
    listeners.wait_records(3 * PER_SECOND)
    with Asking(web, source) as asking:
        listeners.cut()
        listeners.come_back(RETURNS_PER_SECOND)
        back = listeners.wait_live(streams)
    writer.join()
    report = listeners.wait_records(seconds * PER_SECOND)
    return {
        "back_ms": back["live_after_ms"],
        "longest_rest_ms": round(asking.longest_s * 1000),
        "refused_5xx": report["refused_5xx"],
        "last_5xx_ms": report["last_5xx_ms"],
        "repeats": report["repeats"],
        "endings": report["endings"],
        "lost": lost(report, seconds * PER_SECOND),
    }


def beside_stalled(
    web: Web, listeners: Listeners, source: Source, program: Path, seconds: int
) -> Report:
    """Return what listeners notice of others that read nothing: p99 before and beside."""
    before = load(web, listeners, source, seconds)
    with Listeners(program, web.port, *source.request) as others:
        others.open(STALLED, STALLED)
        others.wait_live(STALLED)
        others.stall(STALLED)
        beside = load(web, listeners, source, seconds)
    return {
        "before_p99_ms": before.p99_ms,
        "beside_p99_ms": beside.p99_ms,
        "ratio": beside.p99_ms / before.p99_ms,
        "lost": before.lost + beside.lost,
    }


def measure(program: Path, source: Source, streams: int, arguments: argparse.Namespace) -> Report:
    """Return everything about one number of listeners."""
    with web_process() as web, Listeners(program, web.port, *source.request) as listeners:
        listeners.open(1, 1)
        listeners.wait_live(1)
        source.produce(WARM_UP)
        listeners.wait_records(WARM_UP)
        empty_kb = web.memory_kb()
        listeners.open(streams - 1, OPENS_PER_SECOND)
        opened = listeners.wait_live(streams)
        if opened["live"] < streams:
            raise SystemExit(f"only {opened['live']} of {streams} streams came up: {opened}")
        full_kb = web.memory_kb()
        figures = load(web, listeners, source, arguments.seconds)
        found = figures._asdict() | {
            "kb_per_stream": (full_kb - empty_kb) / (streams - 1),
            "kb_per_stream_loaded": (web.memory_kb() - empty_kb) / (streams - 1),
            "open_ms": opened["live_after_ms"],
        }
        if streams == min(arguments.streams):
            found["stalled"] = beside_stalled(web, listeners, source, program, arguments.seconds)
        found["crowd"] = crowd(web, listeners, source, streams)
    print(streams, json.dumps(found), flush=True)
    return found


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=int, default=20)
    parser.add_argument("--streams", type=int, nargs=2, default=(1_000, 5_000))
    arguments = parser.parse_args()
    room = raise_file_limit() - SPARE_FILES
    if room < max(arguments.streams):
        raise SystemExit(f"the open-file limit leaves room for {room} streams; raise ulimit -Hn")
    django.setup()
    call_command("migrate", verbosity=0)
    with tempfile.TemporaryDirectory() as folder:
        program, source = build(Path(folder)), prepare()
        few, many = (measure(program, source, count, arguments) for count in arguments.streams)
    print(
        json.dumps(
            {
                "us_per_frame_1000": round(few["us_per_frame"], 2),
                "us_per_frame_5000": round(many["us_per_frame"], 2),
                "frames_per_second_5000": round(many["frames_per_second"]),
                "p99_ms_1000": few["p99_ms"],
                "p99_ms_5000": many["p99_ms"],
                "kb_per_stream": round(many["kb_per_stream"], 1),
                "stalled_p99_ratio": round(few["stalled"]["ratio"], 2),
                "gaps": sum(one["lost"] + one["crowd"]["lost"] for one in (few, many)),
            }
        )
    )


if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "kafkahub.settings")
    main()
