"""Records as the gRPC contract writes them, against the generated classes."""

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import given
from hypothesis import strategies as st

from gateway import received
from gateway.proto.kafkahub.v1 import kafkahub_pb2 as pb
from kafkahub.kafka.record import Record

MAX = 2**63 - 1
names = st.text(min_size=1, max_size=20).filter(lambda name: not name.startswith("kafkahub-"))
records = st.builds(
    Record,
    topic=st.text(min_size=1, max_size=40),
    partition=st.integers(0, 2**31 - 1),
    offset=st.integers(0, MAX),
    timestamp_ms=st.none() | st.integers(0, 253_402_300_799_999),
    key=st.none() | st.binary(max_size=300),
    value=st.none() | st.binary(max_size=20_000),
    headers=st.lists(st.tuples(names, st.none() | st.binary(max_size=200)), max_size=4).map(tuple),
)


def by_the_compiler(record: Record, record_id: str = "") -> pb.ReceivedRecord:
    stamp = record.timestamp_ms
    return pb.ReceivedRecord(
        id=record_id,
        topic=record.topic,
        partition=None if record_id else record.partition,
        offset=None if record_id else record.offset,
        timestamp=None
        if stamp is None
        else Timestamp(seconds=stamp // 1_000, nanos=stamp % 1_000 * 1_000_000),
        key=record.key,
        value=record.value,
        headers=[pb.Header(key=name, value=value) for name, value in record.headers],
    )


@given(records)
def test_a_record_is_written_as_the_generated_code_does(record: Record) -> None:
    whole = pb.Events(records=[by_the_compiler(record)])

    assert received.received(record) == whole.SerializeToString()


@given(records)
def test_under_a_filtered_grant_no_place_is_told(record: Record) -> None:
    whole = pb.Events(records=[by_the_compiler(record, "evt_1")])

    assert received.received(record, "evt_1") == whole.SerializeToString()


@given(st.lists(records, max_size=4), st.text(min_size=1, max_size=300))
def test_events_are_records_joined_as_they_are(found: list[Record], cursor: str) -> None:
    frames = [received.received(record) for record in found]

    message = pb.SubscribeResponse.FromString(received.events(frames, cursor))

    assert list(message.events.records) == [by_the_compiler(record) for record in found]
    assert message.events.cursor == cursor


@given(st.integers(0, MAX), st.integers(1, 20))
def test_a_lease_is_told_with_its_record(lease: int, attempt: int) -> None:
    record = Record("orders", 0, 1, None, None, b"1")
    tail = received.leased(lease.to_bytes(8, "big"), attempt)

    events = pb.Events.FromString(received.received(record, "", tail))

    assert events.records[0].ack_id == lease.to_bytes(8, "big")
    assert events.records[0].attempt == attempt


@pytest.mark.parametrize("name", ["kafkahub-idem", "kafkahub-"])
def test_headers_of_ours_are_nobodys_business(name: str) -> None:
    record = Record("orders", 0, 1, None, None, b"1", ((name, b"x"), ("trace", b"y")))

    events = pb.Events.FromString(received.received(record))

    assert [one.key for one in events.records[0].headers] == ["trace"]
