"""What the benchmarks of the delivery engine share: a receiver, an engine, partners, records."""

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

PADDING = "x" * 940
"""Makes a record of 1 KB."""
DEADLINE_S = 180
PARTITIONS = 3
HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent


class Receiver:
    """The receiver's process."""

    def __init__(self, certificate: Path | None = None) -> None:
        command = [sys.executable, str(HERE / "receiver.py")]
        self._process = subprocess.Popen(
            command + ([str(certificate)] if certificate else []),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.port = self._answer()["port"]
        self.url = f"{'https' if certificate else 'http'}://127.0.0.1:{self.port}/"

    def ask(self, what: str) -> dict[str, Any]:
        """Return its report, after it did what ``what`` names: see ``receiver.py``."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"do": what}) + "\n")
        self._process.stdin.flush()
        return self._answer()

    def wait_for(
        self, count: int, what: str = "distinct", deadline_s: float = DEADLINE_S
    ) -> dict[str, Any]:
        """Return the report once ``what`` of it is so high, or when the time is up."""
        until = time.monotonic() + deadline_s
        report = self.ask("report")
        while report[what] < count and time.monotonic() < until:
            time.sleep(0.2)
            report = self.ask("report")
        return report

    def close(self) -> None:
        self._process.kill()
        self._process.wait()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        answer: dict[str, Any] = json.loads(self._process.stdout.readline())
        return answer


@contextlib.contextmanager
def engine(ca_file: Path | None = None) -> Iterator[int]:
    """Run one engine; yield its pid."""
    environment = os.environ | {
        "KAFKAHUB_EGRESS_ALLOW_HTTP": "true",
        "KAFKAHUB_EGRESS_ALLOW_LOOPBACK": "true",
        "KAFKAHUB_TEST_HOOKS": "false",
        "KAFKAHUB_LOG_LEVEL": "error",
    }
    if ca_file is not None:
        environment["KAFKAHUB_EGRESS_CA_FILE"] = str(ca_file)
    process = subprocess.Popen([sys.executable, "manage.py", "deliver"], cwd=ROOT, env=environment)
    try:
        yield process.pid
    finally:
        process.terminate()
        process.wait(60)


def cpu_seconds(pid: int) -> float:
    """Return user and system time of a process and its threads."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rsplit(") ", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def peak_mib(pid: int) -> float:
    """Return the most memory a process held so far."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def prepare(topic: str, *urls: str) -> list[str]:
    """Make a partner with a subscription on a new ``topic`` to each URL; return their ids.

    All are owed every record of the topic from its first on.
    """
    from kafkahub import clock, config  # noqa: PLC0415
    from kafkahub.kafka.admin import Admin  # noqa: PLC0415
    from kafkahub.kafka.options import admin_options  # noqa: PLC0415
    from subscriptions import models  # noqa: PLC0415

    Admin(admin_options(config.load())).create_topic(topic, PARTITIONS)
    partner = models.Partner.objects.create(name=f"Bench {topic}")
    models.Topic.objects.create(name=topic)
    models.Grant.objects.create(
        partner=partner, topic_id=topic, valid_until=clock.now() + timedelta(days=1)
    )
    return [_subscribe(partner, topic, url, number) for number, url in enumerate(urls)]


def _subscribe(partner: Any, topic: str, url: str, number: int) -> str:
    from kafkahub import signing  # noqa: PLC0415
    from subscriptions import models  # noqa: PLC0415

    endpoint = models.Endpoint.objects.create(
        partner=partner, name=f"receiver {number}", url=url, status="active", max_in_flight=256
    )
    models.SigningSecret.objects.create(endpoint=endpoint, secret=signing.new_secret())
    subscription = models.Subscription.objects.create(
        partner=partner, endpoint=endpoint, name=f"all {number}", topics=[topic], start="earliest"
    )
    for partition in range(PARTITIONS):
        models.LanePosition.objects.create(
            subscription=subscription, topic=topic, partition=partition, next_offset=0
        )
    return str(subscription.pk)


@contextlib.contextmanager
def producing() -> Iterator[Any]:
    """Yield a producer; one for a whole measurement, because its first record is a slow one."""
    from kafkahub import config  # noqa: PLC0415
    from kafkahub.kafka.options import producer_options  # noqa: PLC0415
    from kafkahub.kafka.producer import Producer  # noqa: PLC0415

    producer = Producer(producer_options(config.load()))
    try:
        yield producer
    finally:
        producer.close()


def produce(
    producer: Any, topic: str, count: int, per_second: float | None = None, *, first: int = 0
) -> None:
    """Write ``count`` records of 1 KB, each with its number and time, at a rate or at once."""
    start = time.monotonic()
    for number in range(first, first + count):
        if per_second:
            time.sleep(max(0.0, start + (number - first) / per_second - time.monotonic()))
        value = {"number": number, "sent_at_us": time.time_ns() // 1000, "pad": PADDING}
        producer.produce(
            topic, json.dumps(value, separators=(",", ":")).encode(), str(number).encode()
        )
        if number % 5_000 == 4_999:
            producer.flush(30)
    producer.flush(30)
