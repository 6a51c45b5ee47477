"""``make bench-delivery``: what a delivery costs, from a real Kafka to a receiver that answered.

Prints one JSON line last. CPU is that of the engine's process, user and system, over the records
delivered; the receiver, Kafka and PostgreSQL run beside it on the same two cores, so rates are
those of the whole machine.
"""

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import django
import trustme
from django.core.management import call_command

PADDING = "x" * 940
"""Makes a record of 1 KB."""
WARM_UP = 200
"""Records that bring connections and lanes of all partitions up before latency is measured."""
DEADLINE_S = 180
HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent


class Receiver:
    """The receiver's process."""

    def __init__(self, certificate: Path | None) -> None:
        command = [sys.executable, str(HERE / "receiver.py")]
        self._process = subprocess.Popen(
            command + ([str(certificate)] if certificate else []),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.port = self._answer()["port"]
        self.scheme = "https" if certificate else "http"

    def ask(self, what: str) -> dict[str, Any]:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"do": what}) + "\n")
        self._process.stdin.flush()
        return self._answer()

    def wait_for(self, distinct: int) -> dict[str, Any]:
        """Return the report once so many different records came, or when the time is up."""
        until = time.monotonic() + DEADLINE_S
        report = self.ask("report")
        while report["distinct"] < distinct and time.monotonic() < until:
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
def engine(ca_file: Path) -> Iterator[int]:
    """Run one engine; yield its pid."""
    environment = os.environ | {
        "KAFKAHUB_EGRESS_ALLOW_HTTP": "true",
        "KAFKAHUB_EGRESS_ALLOW_LOOPBACK": "true",
        "KAFKAHUB_EGRESS_CA_FILE": str(ca_file),
        "KAFKAHUB_TEST_HOOKS": "false",
        "KAFKAHUB_LOG_LEVEL": "warning",
    }
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


def prepare(topic: str, receiver: Receiver) -> None:
    """Make a partner with a subscription on ``topic`` that goes to the receiver."""
    from kafkahub import clock, config, signing  # noqa: PLC0415
    from kafkahub.kafka.admin import Admin  # noqa: PLC0415
    from kafkahub.kafka.options import admin_options  # noqa: PLC0415
    from subscriptions import models  # noqa: PLC0415

    Admin(admin_options(config.load())).create_topic(topic, 3)
    partner = models.Partner.objects.create(name=f"Bench {topic}")
    models.Topic.objects.create(name=topic)
    models.Grant.objects.create(
        partner=partner, topic_id=topic, valid_until=clock.now() + timedelta(days=1)
    )
    endpoint = models.Endpoint.objects.create(
        partner=partner,
        name="receiver",
        url=f"{receiver.scheme}://127.0.0.1:{receiver.port}/",
        max_in_flight=256,
    )
    models.SigningSecret.objects.create(endpoint=endpoint, secret=signing.new_secret())
    subscription = models.Subscription.objects.create(
        partner=partner, endpoint=endpoint, name="all", topics=[topic], start="earliest"
    )
    for partition in range(3):
        models.LanePosition.objects.create(
            subscription=subscription, topic=topic, partition=partition, next_offset=0
        )


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


def produce(producer: Any, topic: str, count: int, per_second: float | None) -> None:
    """Write ``count`` records of 1 KB, each with its number and time, at a rate or at once."""
    start = time.monotonic()
    for number in range(count):
        if per_second:
            time.sleep(max(0.0, start + number / per_second - time.monotonic()))
        value = {"number": number, "sent_at_us": time.time_ns() // 1000, "pad": PADDING}
        producer.produce(
            topic, json.dumps(value, separators=(",", ":")).encode(), str(number).encode()
        )
        if number % 5_000 == 4_999:
            producer.flush(30)
    producer.flush(30)


def bulk(receiver: Receiver, topic: str, count: int, ca_file: Path) -> dict[str, float]:
    """Deliver ``count`` records that wait already; return cost and rate."""
    prepare(topic, receiver)
    with producing() as producer:
        produce(producer, topic, count + 1, None)
    with engine(ca_file) as pid:
        receiver.wait_for(1)
        before = cpu_seconds(pid)
        seen = receiver.ask("report")["distinct"]
        report = receiver.wait_for(count + 1)
        cost = (cpu_seconds(pid) - before) / (report["total"] - seen)
        rss = peak_mib(pid)
    return {
        "cpu_us": cost * 1e6,
        "rss_mb": rss,
        "per_second": report["total"] / report["seconds"],
        "lost": count + 1 - report["distinct"],
        "duplicates": report["total"] - report["distinct"],
    }


def light(receiver: Receiver, topic: str, count: int, ca_file: Path) -> dict[str, Any]:
    """Deliver at 200 records a second; return the report of the receiver."""
    prepare(topic, receiver)
    with engine(ca_file), producing() as producer:
        produce(producer, topic, WARM_UP, None)
        receiver.wait_for(WARM_UP)
        receiver.ask("reset")
        produce(producer, topic, count, 200)
        return receiver.wait_for(count)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--records", type=int, default=100_000)
    parser.add_argument("--light", type=int, default=3_000)
    arguments = parser.parse_args()
    django.setup()
    call_command("migrate", verbosity=0)
    with tempfile.TemporaryDirectory() as folder:
        authority = trustme.CA()
        certificate, ca_file = Path(folder, "server.pem"), Path(folder, "ca.pem")
        authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(certificate)
        authority.cert_pem.write_to_path(ca_file)
        run = f"{os.getpid()}-{int(time.time())}"
        found = {}
        for scheme, cert in (("http", None), ("https", certificate)):
            receiver = Receiver(cert)
            found[scheme] = bulk(receiver, f"bench-{scheme}-{run}", arguments.records, ca_file)
            print(scheme, json.dumps(found[scheme]))
            receiver.close()
        receiver = Receiver(None)
        latency = light(receiver, f"bench-light-{run}", arguments.light, ca_file)
        receiver.close()
    print(
        json.dumps(
            {
                "http_cpu_us": round(found["http"]["cpu_us"], 1),
                "https_cpu_us": round(found["https"]["cpu_us"], 1),
                "http_per_second": round(found["http"]["per_second"]),
                "https_per_second": round(found["https"]["per_second"]),
                "lost": found["http"]["lost"] + found["https"]["lost"],
                "duplicates": found["http"]["duplicates"] + found["https"]["duplicates"],
                "rss_mb": round(max(one["rss_mb"] for one in found.values())),
                "latency_ms_p50": latency["p50_ms"],
                "latency_ms_p99": latency["p99_ms"],
                "records": arguments.records,
            }
        )
    )


if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "kafkahub.settings")
    sys.path.insert(0, str(ROOT))
    main()
