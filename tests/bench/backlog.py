"""A million records wait for one endpoint: memory of the engine, and what others notice.

``rss_mb_backlog_1m``        most memory of the engine while it drains
``backlog_live_p99_ms``      produced to received, of another topic at 100 records/s meanwhile
``backlog_per_second``       records of the backlog a second meanwhile
"""

import json
import threading

from tests.bench.engine import Receiver, engine, peak_mib, prepare, produce, producing

LIVE_PER_SECOND = 100
LIVE_S = 30
WARM_UP = 50


def measure(topic: str, count: int) -> dict[str, float]:
    """Return the figures of this page for a backlog of ``count`` records of 1 KB."""
    slow, live = Receiver(), Receiver()
    prepare(topic, slow.url)
    prepare(topic + "-live", live.url)
    with producing() as producer:
        produce(producer, topic, count)
        with engine() as pid:
            produce(producer, topic + "-live", WARM_UP)
            live.wait_for(WARM_UP)
            slow.wait_for(1)
            live.ask("reset")
            fresh = LIVE_PER_SECOND * LIVE_S
            feed = threading.Thread(
                target=produce,
                args=(producer, topic + "-live", fresh, LIVE_PER_SECOND),
                kwargs={"first": WARM_UP},
            )
            feed.start()
            feed.join()
            seen = live.wait_for(fresh)
            drained = slow.wait_for(count, deadline_s=600)
            rss = peak_mib(pid)
    slow.close()
    live.close()
    print("backlog", json.dumps({"live": seen, "drained": drained}))
    return {
        "backlog": count,
        "backlog_lost": count - drained["distinct"],
        "backlog_per_second": round(drained["total"] / (drained["seconds"] or 1e-9)),
        "backlog_live_p99_ms": seen["p99_ms"],
        "rss_mb_backlog_1m": round(rss),
    }
