"""Many records in one request: when it goes out, and each case of its answer."""

import json
from collections.abc import Iterable

import msgspec
import pytest

from delivery import inbox
from delivery.batching import items_of
from delivery.board import Room
from delivery.lanes import LaneState
from delivery.request import Request
from delivery.succession import Order
from kafkahub.kafka.record import Record
from subscriptions.live import BatchLimits
from tests.delivery import makers
from tests.delivery.rig import PLACE, Rig, record

ROOMY = Room(2_000, 1 << 24)
MANY = BatchLimits(max_records=1_000, max_wait_ms=1_000, max_bytes=1_000_000, partial=False)
THREE = BatchLimits(max_records=3, max_wait_ms=1_000, max_bytes=1_000_000, partial=False)
PARTIAL = BatchLimits(max_records=3, max_wait_ms=0, max_bytes=1_000_000, partial=True)


def rig(batch: BatchLimits = THREE, ordering: str = "partition", **members: object) -> Rig:
    made = Rig(
        makers.subscription(batch=batch, ordering=ordering, **members),  # type: ignore[arg-type]
        room=ROOMY,
    )
    made.assign()
    return made


def feed(hub: Rig, records: Iterable[Record]) -> None:
    hits = [(one.offset, [("sub_1", one, "")]) for one in records]
    hub.post(inbox.Fed(PLACE, hits, hits[-1][0] + 1))


def keyed(offset: int, key: bytes) -> Record:
    return msgspec.structs.replace(record(offset), key=key)


def sent(hub: Rig) -> list[list[int]]:
    """Return the offsets of each request that may go out now; they stay out."""
    return [offsets_of(request) for request in hub.take()]


def offsets_of(request: Request) -> list[int]:
    return [one.offset for one in items_of(request.delivery)]


# When it goes out, and how it looks.


def test_a_batch_goes_out_when_it_has_its_records() -> None:
    hub = rig()

    hub.feed(0, 1)
    assert sent(hub) == []
    hub.feed(2, 3)

    assert sent(hub) == [[0, 1, 2]]


def test_a_batch_goes_out_when_its_first_record_has_waited() -> None:
    hub = rig()
    hub.feed(0)

    hub.tick(0.9)
    assert sent(hub) == []
    hub.tick(0.2)

    assert sent(hub) == [[0]]


def test_a_batch_goes_out_when_it_has_its_bytes_and_is_never_larger() -> None:
    hub = rig(BatchLimits(max_records=1_000, max_wait_ms=60_000, max_bytes=1_024, partial=False))

    hub.feed(*range(20))
    [request] = hub.take()

    assert 1 < len(offsets_of(request)) < 20
    assert len(request.body) <= 1_024


def test_a_batch_is_one_body_under_one_id_with_the_ids_of_its_records() -> None:
    hub = rig()
    hub.feed(0, 1, 2)

    [request] = hub.take()

    body = json.loads(request.body)
    ids = [one.webhook_id for one in items_of(request.delivery)]
    assert list(body) == ["type", "timestamp", "data"]
    assert body["type"] == "kafkahub.batch"
    assert [one["id"] for one in body["data"]["records"]] == ids
    assert list(body["data"]["records"][0]) == ["id", "type", "timestamp", "data"]
    assert [one["data"] for one in body["data"]["records"]] == [{"id": 0}, {"id": 1}, {"id": 2}]
    assert request.delivery.webhook_id.startswith("bat_")
    assert f"webhook-id: {request.delivery.webhook_id}" in request.headers
    assert "kafkahub-batch: 3" in request.headers


def test_a_batch_of_cloudevents_is_a_list_of_them() -> None:
    hub = rig(format_="cloudevents_structured")
    hub.feed(0, 1, 2)

    [request] = hub.take()

    ids = [one.webhook_id for one in items_of(request.delivery)]
    assert [one["id"] for one in json.loads(request.body)] == ids
    assert "content-type: application/cloudevents-batch+json" in request.headers


def test_the_attempts_of_a_batch_are_one_a_record_and_name_it() -> None:
    hub = rig()
    hub.feed(0, 1, 2)
    [request] = hub.take()
    hub.land(request)

    batch = hub.commit()

    assert [(one.offset, one.outcome, one.number) for one in batch.attempts] == [
        (0, "delivered", 1),
        (1, "delivered", 1),
        (2, "delivered", 1),
    ]
    assert {one.batch for one in batch.attempts} == {request.delivery.webhook_id}
    assert [floor.next_offset for floor in batch.floors] == [3]


@pytest.mark.parametrize(("ordering", "out"), [("partition", 1), ("key", 1), ("none", 2)])
def test_only_batches_without_an_order_overlap(ordering: str, out: int) -> None:
    hub = rig(ordering=ordering)

    hub.feed(*range(6))

    assert len(hub.take()) == out


# What is rejected.


def answer_all(hub: Rig, poison: set[int]) -> tuple[int, list[int]]:
    """Reject whatever holds poison until all has landed; return requests, and what arrived."""
    requests, arrived = 0, []
    while taken := hub.take():
        for request in taken:
            requests += 1
            is_bad = bool(poison & set(offsets_of(request)))
            if not is_bad:
                arrived += offsets_of(request)
            hub.land(request, answer=makers.answer(400 if is_bad else 200))
        hub.tick()
    return requests, arrived


@pytest.mark.parametrize("ordering", ["none", "key"])
def test_three_poisoned_records_of_a_thousand_are_found_in_sixty_requests(ordering: str) -> None:
    hub = rig(MANY, ordering=ordering)
    feed(hub, [keyed(offset, b"%d" % offset) for offset in range(1_000)])
    poison = {17, 500, 999}

    requests, arrived = answer_all(hub, poison)

    assert requests - 1 <= 60
    assert sorted(arrived) == [one for one in range(1_000) if one not in poison]
    assert {row.offset for row in hub.commit().parked} == poison
    assert hub.window().breaker.is_open is False


def test_a_record_of_a_serial_batch_that_is_rejected_alone_holds_its_lane() -> None:
    hub = rig()
    hub.feed(0, 1, 2)

    requests, arrived = answer_all(hub, {1})

    assert (requests, arrived) == (4, [0])
    lane = hub.lane()
    assert (lane.state, lane.row()[1], lane.head(1)[0]) == (LaneState.BEHIND, 1, 1)
    assert hub.commit().parked == []


def test_later_records_of_a_rejected_ones_key_are_parked_behind_it() -> None:
    hub = rig(BatchLimits(4, 1_000, 1_000_000, partial=False), ordering="key")
    feed(hub, [keyed(0, b"a"), keyed(1, b"b"), keyed(2, b"a"), keyed(3, b"b")])

    _, arrived = answer_all(hub, {0})
    batch = hub.commit()

    assert arrived == [1, 3]
    assert [(row.offset, row.state) for row in batch.parked] == [(0, "scheduled"), (2, "blocked")]
    assert len({row.order_key for row in batch.parked}) == 1
    assert all(b'"data":{"id":' in (row.body or b"") for row in batch.parked)
    assert all(b"kafkahub.batch" not in (row.body or b"") for row in batch.parked)


# What fails.


@pytest.mark.parametrize("ordering", ["none", "key", "partition"])
def test_a_batch_that_fails_is_not_split_and_leaves_no_rows(ordering: str) -> None:
    hub = rig(ordering=ordering)
    hub.feed(0, 1, 2)
    hub.land(*hub.take(), answer=makers.answer(500))

    batch = hub.commit()

    [row] = batch.lanes
    assert (row.state, row.reason, row.next_offset, row.head_attempts) == ("behind", "head", 0, 1)
    assert batch.parked == []
    hub.tick(1.0)
    assert sent(hub) == [[0, 1, 2]]


def test_a_throttled_batch_goes_out_again_as_it_was() -> None:
    hub = rig()
    hub.feed(0, 1, 2)
    hub.land(*hub.take(), answer=makers.answer(429, retry_after=("2",)))

    hub.tick(3)

    assert sent(hub) == [[0, 1, 2]]
    assert hub.commit().parked == []


def test_an_exhausted_batch_is_dead_and_its_lane_goes_on_once_that_is_durable() -> None:
    hub = rig(schedule_s=())
    hub.feed(*range(6))
    hub.land(*hub.take(), answer=makers.answer(500))

    assert sent(hub) == []
    batch = hub.commit()

    assert [(row.offset, row.state) for row in batch.parked] == [
        (0, "dead"),
        (1, "dead"),
        (2, "dead"),
    ]
    assert sent(hub) == [[3, 4, 5]]


def test_an_exhausted_batch_holds_its_lane_for_a_person() -> None:
    hub = rig(schedule_s=(), holds=True)
    hub.feed(*range(6))
    hub.land(*hub.take(), answer=makers.answer(500))

    batch = hub.commit()

    assert [row.state for row in batch.parked] == ["held", "blocked", "blocked"]
    assert (hub.lane().state, hub.lane().reason) == (LaneState.PAUSED, "held")
    [order] = hub.dispatcher.held
    hub.post(inbox.Released([order]))
    assert hub.lane().state is LaneState.BEHIND


# What is taken in part.


def partly(hub: Rig, body: bytes, note: str | None = None) -> None:
    [request] = hub.take()
    answer = msgspec.structs.replace(makers.answer(), body=body, note=note)
    hub.land(request, answer=answer)


def refusal(hub: Rig, *offsets: int) -> bytes:
    ids = [hub.lane().form.deliveries.of(offset) for offset in offsets]
    failed = [{"id": one, "reason": "no such customer"} for one in [*ids, "msg_unknown"]]
    return json.dumps({"failed": failed}).encode()


def test_what_a_partial_answer_names_is_rejected_and_the_rest_delivered() -> None:
    hub = rig(PARTIAL, ordering="none")
    hub.feed(0, 1, 2)
    hub.tick(0.1)

    partly(hub, refusal(hub, 1))

    batch = hub.commit()
    assert [one.outcome for one in batch.attempts] == ["delivered", "item_rejected", "delivered"]
    assert [(row.offset, row.state) for row in batch.parked] == [(1, "scheduled")]


def test_a_partly_taken_batch_of_a_serial_lane_is_not_sent_again_where_it_was_taken() -> None:
    hub = rig(PARTIAL)
    hub.feed(0, 1, 2)
    hub.tick(0.1)

    partly(hub, refusal(hub, 0, 1))

    assert hub.lane().row() == (LaneState.BEHIND, 0)
    hub.tick(400)
    assert sent(hub) == [[0]]
    assert hub.lane().ahead == {2}


def test_an_empty_answer_takes_all_of_a_batch() -> None:
    hub = rig(PARTIAL)
    hub.feed(0, 1, 2)
    hub.tick(0.1)

    partly(hub, b"")

    assert [floor.next_offset for floor in hub.commit().floors] == [3]


@pytest.mark.parametrize(
    ("body", "note"), [(b'{"failed":[', "capped"), (b"<html>", None), (b'{"failed":7}', None)]
)
def test_an_answer_nobody_understands_fails_the_whole_batch(body: bytes, note: str | None) -> None:
    hub = rig(PARTIAL)
    hub.feed(0, 1, 2)
    hub.tick(0.1)

    partly(hub, body, note)

    batch = hub.commit()
    assert {one.outcome for one in batch.attempts} == {"bad_response"}
    assert hub.lane().row() == (LaneState.BEHIND, 0)


# Who waits behind a head.


def test_a_record_read_between_the_last_rows_end_and_its_commit_does_not_overtake() -> None:
    hub = Rig(makers.subscription(ordering="key"), room=ROOMY)
    hub.assign()
    hub.feed(0)
    hub.land(*hub.take(), answer=makers.answer(400))
    [head] = hub.commit().parked
    assert head.order_key is not None
    order = Order("sub_1", *PLACE, head.order_key)
    row = makers.parked_row(0)._replace(order_key=head.order_key)
    hub.post(inbox.ParkedClaimed([row]))
    hub.land(*hub.take())
    ended = hub.batch()
    hub.batches.clear()

    hub.feed(1)
    hub.post(inbox.Committed(ended.number, frozenset(), frozenset({order})))
    hub.feed(2)

    assert sent(hub) == [], "1 is on its way to be parked, so 2 must wait behind it"
    assert [one.offset for one in hub.commit().parked] == [1, 2]


def test_a_key_is_free_again_with_the_commit_that_ended_its_last_row() -> None:
    hub = Rig(makers.subscription(ordering="key"), room=ROOMY)
    hub.assign()
    hub.feed(0)
    hub.land(*hub.take(), answer=makers.answer(400))
    [head] = hub.commit().parked
    assert head.order_key is not None
    order = Order("sub_1", *PLACE, head.order_key)

    hub.post(inbox.Committed(2, frozenset(), frozenset({order})))
    hub.feed(1)

    assert sent(hub) == [[1]]
