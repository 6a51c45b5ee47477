"""librdkafka's in-memory cluster as a process: ``python -m kafkahub.kafka.memory``.

It prints its bootstrap address on one line and serves until SIGTERM or SIGINT. Everything it
holds is gone with it. It has no CreateTopics and no offsets by time, keeps at most 5 MiB or
100,000 sets a partition, and shows records of aborted transactions.
"""

import signal
import sys
from collections.abc import Callable

from confluent_kafka import Producer

START_S = 10.0
"""Longest time the cluster may take to come up; it takes 0.1 s."""


def main(write: Callable[[str], object] = sys.stdout.write) -> int:
    """Serve until told to stop; return the exit status."""
    stop = {signal.SIGTERM, signal.SIGINT}
    # Blocked before the client makes its threads, so that none of them takes the signal.
    signal.pthread_sigmask(signal.SIG_BLOCK, stop)
    # The client's handle is the cluster: it lives as long as this name.
    cluster = Producer({"test.mock.num.brokers": 1, "log_level": 3})
    brokers = cluster.list_topics(timeout=START_S).brokers.values()
    write(",".join(f"{broker.host}:{broker.port}" for broker in brokers) + "\n")
    sys.stdout.flush()
    signal.sigwait(stop)
    return 0


if __name__ == "__main__":
    sys.exit(main())
