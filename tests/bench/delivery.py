"""``make bench-delivery``: what a delivery costs, from a real Kafka to a receiver that answered.

Prints one JSON line last. CPU is that of the engine's process, user and system, over the records
delivered; the receiver, Kafka and PostgreSQL run beside it on the same two cores, so rates are
those of the whole machine.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import django
import trustme
from django.core.management import call_command

sys.path.insert(0, str(Path(__file__).resolve().parent.parent.parent))

from tests.bench import backlog, outage
from tests.bench.engine import Receiver, cpu_seconds, engine, peak_mib, prepare, produce, producing

WARM_UP = 200
"""Records that bring connections and lanes of all partitions up before latency is measured."""


def bulk(receiver: Receiver, topic: str, count: int, ca_file: Path) -> dict[str, float]:
    """Deliver ``count`` records that wait already; return cost and rate."""
    prepare(topic, receiver.url)
    with producing() as producer:
        produce(producer, topic, count + 1)
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


def light(topic: str, count: int) -> dict[str, Any]:
    """Deliver at 200 records a second; return the report of the receiver."""
    receiver = Receiver()
    prepare(topic, receiver.url)
    with engine(), producing() as producer:
        produce(producer, topic, WARM_UP)
        receiver.wait_for(WARM_UP)
        receiver.ask("reset")
        produce(producer, topic, count, 200)
        report = receiver.wait_for(count)
    receiver.close()
    return report


def both_schemes(run: str, count: int) -> dict[str, dict[str, float]]:
    """Return what ``bulk`` found over HTTP and over TLS."""
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        authority = trustme.CA()
        certificate, ca_file = Path(folder, "server.pem"), Path(folder, "ca.pem")
        authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(certificate)
        authority.cert_pem.write_to_path(ca_file)
        for scheme, cert in (("http", None), ("https", certificate)):
            receiver = Receiver(cert)
            found[scheme] = bulk(receiver, f"bench-{scheme}-{run}", count, ca_file)
            print(scheme, json.dumps(found[scheme]))
            receiver.close()
    return found


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--records", type=int, default=100_000)
    parser.add_argument("--light", type=int, default=3_000)
    parser.add_argument("--outage-s", type=int, default=60, help="0 leaves this part out")
    parser.add_argument("--backlog", type=int, default=1_000_000, help="0 leaves this part out")
    arguments = parser.parse_args()
    django.setup()
    call_command("migrate", verbosity=0)
    run = f"{os.getpid()}-{int(time.time())}"
    found = both_schemes(run, arguments.records)
    latency = light(f"bench-light-{run}", arguments.light)
    result = {
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
    if arguments.outage_s:
        result |= outage.measure(f"bench-outage-{run}", arguments.outage_s)
    if arguments.backlog:
        result |= backlog.measure(f"bench-backlog-{run}", arguments.backlog)
    print(json.dumps(result))


if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "kafkahub.settings")
    main()
