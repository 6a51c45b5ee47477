# ruff: noqa: ARG002 - a stand-in takes what the real one takes
import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field

import pytest

from gateway.hub.commands import LATEST
from gateway.starts import Earliest, Finder, Found, Last, Latest, Since, Spots, Start
from kafkahub.errors import Invalid, NotSupportedByCluster
from kafkahub.kafka.faults import NoAdminApi
from subscriptions.cursor import Cursor, Spot, TopicPosition, tag

NOW_MS = 1_800_000_000_000
TIME_MS = 1_767_225_600_000


@dataclass
class Kafka:
    """Answers as a cluster with one topic of two partitions would; offsets 10 to 20 and 0 to 5."""

    marks_of: dict[int, tuple[int, int]] = field(default_factory=lambda: {0: (10, 20), 1: (0, 5)})
    seeks: bool = True
    epoch_of: str = "epoch"
    asked_at: list[int] = field(default_factory=list)

    async def marks(self, topic: str, *, fresh: bool = False) -> Mapping[int, tuple[int, int]]:
        return self.marks_of

    async def cluster(self) -> str:
        return "cluster"

    async def epoch(self, topic: str) -> str:
        return self.epoch_of

    async def offsets_at(self, topic: str, unix_ms: int) -> Mapping[int, int]:
        if not self.seeks:
            raise NoAdminApi
        self.asked_at.append(unix_ms)
        return {0: 12, 1: 3}


def find(
    kafka: Kafka,
    start: Start = Latest(),  # noqa: B008 - it has no members
    given: Cursor | Spots | None = None,
    *,
    reads: bool = False,
    is_sealed: bool = False,
    hides: bool = False,
) -> Found:
    finder = Finder(
        asks=kafka,
        reads={"orders": reads},
        start=start,
        given=given,
        is_sealed=is_sealed,
        hides=hides,
    )
    return asyncio.run(finder.find())


def offsets(found: Found) -> tuple[int, int]:
    return found.offsets["orders", 0], found.offsets["orders", 1]


def cursor(
    places: Mapping[int, int],
    *,
    cluster: str = "cluster",
    epoch: str = "epoch",
    name: str = "orders",
) -> Cursor:
    return Cursor(tag(cluster), TIME_MS, (TopicPosition(tag(name), tag(epoch), places),))


@pytest.mark.parametrize(
    ("start", "expected", "time_ms"),
    [
        (Earliest(), (10, 0), 0),
        (Last(3), (17, 2), 0),
        (Last(1_000), (10, 0), 0),
        (Since(TIME_MS), (12, 3), TIME_MS),
    ],
)
def test_a_start_without_a_cursor(start: Start, expected: tuple[int, int], time_ms: int) -> None:
    found = find(Kafka(), start)

    assert offsets(found) == expected
    assert found.time_ms == time_ms
    assert found.gaps == ()


def test_latest_is_where_the_hub_reads_or_the_end() -> None:
    assert offsets(find(Kafka(), reads=True)) == (LATEST, LATEST)
    assert offsets(find(Kafka(), reads=False)) == (20, 5)


def test_a_cursor_decides_and_a_partition_that_it_lacks_is_newer() -> None:
    found = find(Kafka(), Latest(), cursor({0: 15}))

    assert offsets(found) == (15, 0)
    assert found.gaps == ()
    assert found.time_ms == TIME_MS


def test_a_topic_that_the_cursor_does_not_name_follows_the_start() -> None:
    assert offsets(find(Kafka(), Earliest(), cursor({0: 15}, name="other"))) == (10, 0)


@pytest.mark.parametrize(
    ("asked", "start", "hole", "lost", "reason"),
    [(3, 10, (3, 10), 7, "retention"), (25, 20, (25, 20), None, "truncated")],
)
def test_what_kafka_does_not_have_is_a_gap(
    asked: int, start: int, hole: tuple[int, int], lost: int | None, reason: str
) -> None:
    found = find(Kafka(), given=cursor({0: asked, 1: 2}))
    (gap,) = found.gaps

    assert offsets(found) == (start, 2)
    assert (gap.partition, (gap.start, gap.end), gap.lost, gap.reason) == (0, hole, lost, reason)


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        (cursor({0: 15}, cluster="another"), "foreign_cluster"),
        (cursor({0: 15}, epoch="older"), "recreated"),
    ],
)
def test_the_cursor_of_another_log_begins_a_minute_before_its_time(
    given: Cursor, reason: str
) -> None:
    kafka = Kafka()
    found = find(kafka, given=given)

    assert offsets(found) == (12, 3)
    assert kafka.asked_at == [TIME_MS - 60_000]
    assert [(gap.reason, gap.lost) for gap in found.gaps] == [(reason, None)]


def test_where_nobody_seeks_by_time_it_begins_at_the_first_record() -> None:
    kafka = Kafka(seeks=False)

    assert offsets(find(kafka, given=cursor({0: 15}, epoch="older"))) == (10, 0)
    with pytest.raises(NotSupportedByCluster):
        find(kafka, Since(TIME_MS))


def test_of_a_plain_cursor_only_the_time_counts_where_records_are_hidden() -> None:
    plain = find(Kafka(), given=cursor({0: 15, 1: 4}), hides=True)
    sealed = find(Kafka(), given=cursor({0: 15, 1: 4}), hides=True, is_sealed=True)

    assert offsets(plain) == (12, 3)
    assert [gap.reason for gap in plain.gaps] == ["grant_changed"]
    assert offsets(sealed) == (15, 4)
    assert sealed.gaps == ()


@pytest.mark.parametrize(
    ("spot", "first"),
    [
        (Spot("orders", 0, offset=15), 15),
        (Spot("orders", 0, offset=-1), 20),
        (Spot("orders", 0, offset=-2), 10),
        (Spot("orders", 0, timestamp=TIME_MS), 12),
        (Spot("orders", 0, offset=15, timestamp=TIME_MS), 15),
        (Spot("orders", 0, offset=99), 20),
    ],
)
def test_the_form_of_kafkasse(spot: Spot, first: int) -> None:
    assert offsets(find(Kafka(), given=(spot,))) == (first, 0)


def test_of_kafkasses_form_a_filtered_grant_takes_only_times() -> None:
    spots = (Spot("orders", 0, offset=15), Spot("orders", 1, timestamp=TIME_MS))

    assert offsets(find(Kafka(), given=spots, hides=True)) == (10, 3)


def test_a_time_before_everything_that_is_kept_tells_of_a_gap() -> None:
    found = find(Kafka(marks_of={0: (12, 20), 1: (0, 5)}), Since(TIME_MS))

    assert [(gap.partition, gap.end, gap.lost) for gap in found.gaps] == [(0, 12, None)]


def test_too_many_partitions_are_refused() -> None:
    with pytest.raises(Invalid) as refused:
        find(Kafka(marks_of=dict.fromkeys(range(401), (0, 0))))

    assert refused.value.instance_code == "too_many_partitions"
