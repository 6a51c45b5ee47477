"""One endpoint of five is away for a while: what it costs, and how it is made up for.

``outage_first_success_seconds``  from the endpoint's return to its first 2xx
``outage_drain_ratio``            rate of the drain, over the rate at which the same engine delivers
                                  the same records to the same endpoint when they are read first
``isolation_p99_ratio``           p99 of the other four during outage and drain, over that before
``outage_rows``                   rows that the outage took in PostgreSQL: lanes and parked records
"""

import json
import time
from typing import Any

from tests.bench.engine import Receiver, engine, prepare, produce, producing

PER_SECOND = 100
QUIET_S = 15
"""How long the others are measured before the outage."""
OTHERS = 4


def measure(topic: str, outage_s: int) -> dict[str, float]:
    """Return the figures of this page for an endpoint that refuses for so many seconds."""
    steady, failing = Receiver(), Receiver()
    urls = [f"{steady.url}{number}" for number in range(OTHERS)]
    *_, owed = prepare(topic, *urls, failing.url)
    count = PER_SECOND * outage_s
    with engine() as _, producing() as producer:
        produce(producer, topic, PER_SECOND)
        failing.wait_for(PER_SECOND)
        steady.wait_for(PER_SECOND * OTHERS, "total")
        steady.ask("reset")
        quiet = PER_SECOND * QUIET_S
        produce(producer, topic, quiet, PER_SECOND, first=PER_SECOND)
        before = steady.wait_for(quiet * OTHERS, "total")
        failing.wait_for(PER_SECOND + quiet)
        steady.ask("reset")
        failing.ask("refuse")
        produce(producer, topic, count, PER_SECOND, first=PER_SECOND + quiet)
        rows = _rows(owed)
        failing.ask("reset")
        failing.ask("accept")
        back_at = time.time()
        drained = failing.wait_for(count)
        during = steady.wait_for(count * OTHERS, "total")
        line_rate = _line_rate(producer, topic + "-line", count)
    steady.close()
    failing.close()
    print("outage", json.dumps({"before": before, "during": during, "drained": drained}))
    first = drained["first_at"] - back_at
    drain_rate = drained["total"] / (drained["seconds"] or 1e-9)
    return {
        "outage_s": outage_s,
        "outage_rows": rows,
        "outage_lost": count - drained["distinct"],
        "outage_first_success_seconds": round(first, 2),
        "outage_drain_ratio": round(drain_rate / line_rate, 2),
        "isolation_p99_ratio": round(during["p99_ms"] / before["p99_ms"], 2),
    }


def _line_rate(producer: Any, topic: str, count: int) -> float:
    """Return the records a second of one endpoint that is well and has as many waiting."""
    receiver = Receiver()
    prepare(topic + "-lane", receiver.url)
    produce(producer, topic + "-lane", count)
    report = receiver.wait_for(count)
    receiver.close()
    return float(report["total"] / (report["seconds"] or 1e-9))


def _rows(subscription: str) -> int:
    from delivery.models import ParkedDelivery  # noqa: PLC0415
    from subscriptions.models import LanePosition  # noqa: PLC0415

    lanes = LanePosition.objects.filter(subscription=subscription).count()
    return lanes + ParkedDelivery.objects.filter(subscription=subscription).count()
