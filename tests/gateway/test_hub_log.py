from gateway.hub.log import PartitionLog, SharedLog
from tests.gateway.stream_makers import entry


def filled(count: int, number: int = 0) -> PartitionLog:
    log = PartitionLog(10)
    for offset in range(10, 10 + count):
        log.append(entry(offset, number=number + offset))
    return log


def test_a_log_gives_what_lies_between_two_offsets() -> None:
    log = filled(10)

    assert [one.record.offset for one in log.between(12, 15)] == [12, 13, 14]
    assert log.between(20, 20) == []


def test_offsets_that_kafka_never_shows_are_no_holes() -> None:
    log = PartitionLog(0)
    for offset in (3, 9):
        log.append(entry(offset))

    assert [one.record.offset for one in log.between(0, 10)] == [3, 9]


def test_what_was_evicted_is_covered_no_more() -> None:
    shared = SharedLog(max_bytes=10**6, partition_bytes=2_000)
    part = ("orders", 0)
    shared.open(part, 0)
    for offset in range(20):
        shared.parts[part].append(entry(offset, number=offset))

    shared.shorten()

    log = shared.parts[part]
    assert log.bytes <= 2_000
    assert log.begin > 0
    assert log.evicted == log.begin - 1
    assert shared.covers({part: log.begin}, [part])
    assert not shared.covers({part: log.begin - 1}, [part])
    assert shared.evicted([part]) == log.evicted


def test_the_oldest_goes_first_whatever_its_partition() -> None:
    shared = SharedLog(max_bytes=3_000)
    for partition in (0, 1):
        shared.open(("orders", partition), 0)
    for number in range(12):
        log = shared.parts["orders", 0 if number < 6 else 1]
        log.append(entry(number, number=number))

    shared.shorten()

    assert shared.bytes() <= 3_000
    assert shared.parts["orders", 0].begin > 0
    assert shared.parts["orders", 1].begin == 0


def test_frames_count_as_long_as_their_record_is_held() -> None:
    log = filled(2)
    before = log.bytes
    held = log.between(10, 11)[0]

    log.grow(held, 100)
    while log.evict():
        pass

    assert before > 0
    assert log.bytes == 0


def test_a_log_that_starts_anew_holds_nothing() -> None:
    log = filled(3, number=5)

    log.restart(100)

    assert (log.begin, log.end, log.bytes) == (100, 100, 0)
    assert log.evicted == 17
