"""The newest records of a topic, read once for a person who looks at them."""

import time
from collections.abc import Sequence
from contextlib import closing

from kafkahub import config
from kafkahub.errors import Unavailable
from kafkahub.kafka.faults import KafkaUnavailable, OutOfRange, UnknownTopic
from kafkahub.kafka.options import reader_options
from kafkahub.kafka.reader import Reader
from kafkahub.kafka.record import Position, Record
from subscriptions import starts

DEADLINE_S = 5.0
WAIT_S = 0.2


def newest(topic: str, count: int) -> Sequence[Record]:
    """Return up to so many records, newest first; fewer where the time is up.

    Asks Kafka, so it must not run inside a transaction. Raises Unavailable when Kafka does not
    answer or does not have the topic.
    """
    try:
        marks = starts.process_admin().watermarks(topic, DEADLINE_S)
    except (KafkaUnavailable, UnknownTopic) as error:
        raise Unavailable(f"Kafka does not show the topic now: {error}") from None
    places = {
        (topic, partition): (max(low, high - count), high)
        for partition, (low, high) in marks.items()
        if high > low
    }
    found = _read({part: start for part, (start, _) in places.items()}, places)
    found.sort(key=lambda record: (record.timestamp_ms or 0, record.offset), reverse=True)
    return found[:count]


def _read(
    positions: dict[tuple[str, int], int], places: dict[tuple[str, int], tuple[int, int]]
) -> list[Record]:
    found: list[Record] = []
    if not positions:
        return found
    lost: list[OutOfRange] = []
    deadline = time.monotonic() + DEADLINE_S
    with closing(Reader(reader_options(config.load()), on_out_of_range=lost.append)) as reader:
        reader.assign([Position(*part, offset) for part, offset in positions.items()])
        while time.monotonic() < deadline and not lost:
            found += reader.read(500, WAIT_S)
            if all(reader.position(*part) >= high for part, (_, high) in places.items()):
                break
    return [record for record in found if record.offset < places[_part(record)][1]]


def _part(record: Record) -> tuple[str, int]:
    return record.topic, record.partition
