"""How old what is owed is: the times of records where lanes stand, read from Kafka."""

import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from delivery.attempts import possible_ms
from delivery.reread import open_reader
from kafkahub.errors import HubError
from kafkahub.kafka.record import Position

DEADLINE_S = 2.0
"""Longest wait for all of them: a page asks."""
WAIT_S = 0.2
MAX_LANES = 50
"""Lanes that are looked at; of an endpoint with more the age is not told."""
BATCH = 500

Place = tuple[str, int]
Times = Mapping[Place, datetime]


def first_times(positions: Sequence[Position]) -> Times | None:
    """Return the time of the first record at each position or after it.

    None where Kafka did not give all of them in time, or there are too many. A record without a
    time is left out. Asks Kafka, so it must not run inside a transaction.
    """
    if not positions:
        return {}
    if len(positions) > MAX_LANES:
        return None
    try:
        return _read(positions)
    except HubError:
        return None  # Kafka is away, or all readers are busy


def _read(positions: Sequence[Position]) -> Times | None:
    waiting = {(one.topic, one.partition) for one in positions}
    found: dict[Place, datetime] = {}
    deadline = time.monotonic() + DEADLINE_S
    with open_reader() as (reader, out_of_range):
        reader.assign(list(positions))
        while waiting and not out_of_range and time.monotonic() < deadline:
            for record in reader.read(BATCH, WAIT_S):
                place = (record.topic, record.partition)
                if place in waiting:
                    waiting.discard(place)
                    reader.pause([place])  # its others are of no interest
                    unix_ms = possible_ms(record.timestamp_ms)
                    if unix_ms is not None:
                        found[place] = datetime.fromtimestamp(unix_ms / 1000, UTC)
    return None if waiting else found
