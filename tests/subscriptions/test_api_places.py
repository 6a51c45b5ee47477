"""Under a grant that hides something, no place is told, and cursors are sealed for one partner."""

import json
from typing import Any

import pytest

from delivery.cursors import CursorWriter
from kafkahub import clock
from kafkahub.fields import encryption_ring
from subscriptions import cursor, ownership, sealing, starts
from subscriptions.cursor import NO_EPOCH, Cursor, TopicPosition, tag
from subscriptions.models import Grant, LanePosition
from tests import factories
from tests.api import Caller, codes, json_of
from tests.conftest import MakeTopic
from tests.delivery.kafka import produce

pytestmark = pytest.mark.django_db
FILTERED: dict[str, Any] = {"row_filter": {"value": {"id": {"$gte": 1}}}}
MASKED: dict[str, Any] = {"masks": {"/id": "hash"}}


def narrowed(caller: Caller, topic: str = "orders", **rules: Any) -> None:
    Grant.objects.update_or_create(
        partner=caller.partner, topic=factories.topic(topic), defaults=rules
    )


def made(caller: Caller, topic: str, **members: Any) -> Any:
    target = factories.endpoint(caller.partner).id
    return caller.post("/subscriptions", {"endpoint": target, "topics": [topic], **members})


@pytest.fixture
def filled(alice: Caller, topic: MakeTopic) -> str:
    """Return a topic of ten records that alice may read."""
    name = topic(1)
    factories.grant(alice.partner, name)
    produce(name, 10)
    return name


def position(topic: str, offset: int, time_ms: int = 0) -> Cursor:
    cluster = tag(starts.process_admin().cluster_id())
    return Cursor(cluster, time_ms, (TopicPosition(tag(topic), NO_EPOCH, {0: offset}),))


def sealed(caller: Caller, at: Cursor) -> str:
    sealer = sealing.sealer(encryption_ring(), caller.partner.id, clock.now())
    return sealer.seal(at) or ""


@pytest.mark.kafka
@pytest.mark.parametrize("rules", [FILTERED, MASKED])
def test_a_sealed_cursor_begins_where_it_stands(
    alice: Caller, filled: str, rules: dict[str, Any]
) -> None:
    narrowed(alice, filled, **rules)

    answer = made(alice, filled, start={"cursor": sealed(alice, position(filled, 4))})

    assert answer.status_code == 201
    assert LanePosition.objects.get().next_offset == 4
    told = json_of(answer)["position"]["offsets"]
    assert told == ({} if rules is FILTERED else {filled: {"0": 4}})


@pytest.mark.kafka
def test_of_a_plain_cursor_only_the_time_counts(alice: Caller, filled: str) -> None:
    narrowed(alice, filled, **FILTERED)
    token = cursor.encode(position(filled, 4))

    answer = made(alice, filled, start={"cursor": token})

    assert answer.status_code == 201
    assert LanePosition.objects.get().next_offset == 0


@pytest.mark.kafka
def test_a_plain_cursor_holds_where_nothing_is_hidden(alice: Caller, filled: str) -> None:
    answer = made(alice, filled, start={"cursor": cursor.encode(position(filled, 4))})

    assert json_of(answer)["position"]["offsets"] == {filled: {"0": 4}}


@pytest.mark.kafka
def test_another_partners_cursor_opens_nothing(alice: Caller, charlie: Caller, filled: str) -> None:
    foreign = sealed(charlie, position(filled, 4))
    broken = sealed(alice, position(filled, 4))[:-2] + "AA"

    refusals = [
        json_of(made(alice, filled, start={"cursor": token}))["errors"]
        for token in (foreign, broken, "junk")
    ]

    assert [faults[0]["code"] for faults in refusals] == ["invalid_cursor"] * 3
    assert refusals[0] == refusals[1]


@pytest.mark.parametrize(
    ("members", "place"),
    [
        ({"include": ["position"]}, "/include"),
        ({"filter": {"partition": 0}}, "/filter/partition"),
        ({"filter": {"$or": [{"value": 1}, {"$not": {"partition": 0}}]}}, "/filter/$or/1/$not/"),
    ],
)
def test_what_would_show_a_place_is_refused_at_its_own(
    alice: Caller, members: dict[str, Any], place: str
) -> None:
    narrowed(alice, **FILTERED)

    found = codes(made(alice, "orders", **members))

    assert [*found.values()] == ["not_allowed_by_grant"]
    assert next(iter(found)).startswith(place)


def test_a_change_that_would_show_a_place_is_refused(alice: Caller) -> None:
    row = factories.subscription(alice.partner)
    narrowed(alice, **FILTERED)

    for change in ({"include": ["position"]}, {"filter": {"partition": 0}}):
        answer = alice.send(
            "PATCH",
            f"/subscriptions/{row.id}",
            json.dumps(change).encode(),
            if_match='"1"',
        )
        assert answer.status_code == 400


def test_a_filter_on_partitions_is_not_tried_either(alice: Caller) -> None:
    narrowed(alice, **FILTERED)
    body = {"filter": {"partition": 0}, "topic": "orders", "last": 5}

    assert codes(alice.post("/filters/explain", body)) == {
        "/filter/partition": "not_allowed_by_grant"
    }


def test_deliveries_and_parked_rows_tell_no_place_and_no_hidden_key(alice: Caller) -> None:
    row = factories.parked(factories.subscription(alice.partner), key=b"k")
    factories.attempt(row)
    narrowed(alice, key_visible=False, **FILTERED)

    [line] = json_of(alice.get("/deliveries"))["data"]
    [parked] = json_of(alice.get("/parked"))["data"]

    assert (line["partition"], line["offset"], line["key"]) == (None, None, None)
    assert parked["key"] is None


def test_a_version_does_not_hang_on_the_seal(alice: Caller) -> None:
    row = factories.parked(factories.subscription(alice.partner))
    narrowed(alice, **FILTERED)

    first, second = (alice.get(f"/parked/{row.pk}").headers["ETag"] for _ in range(2))

    assert first == second


def test_cursors_are_sealed_wherever_something_is_hidden(alice: Caller) -> None:
    at = Cursor(tag("cluster"), 0, (TopicPosition(tag("orders"), NO_EPOCH, {0: 7}),))

    def written(**rules: Any) -> str:
        narrowed(alice, **{"row_filter": {}, "masks": {}, **rules})
        plain = ownership.telling_of(alice.partner.id).plain
        return CursorWriter(alice.partner.id, plain).write(at, ["orders"]) or ""

    assert cursor.decode(written()) == at
    for rules in (FILTERED, MASKED):
        token = written(**rules)
        assert cursor.raw(token).startswith(cursor.SEALED)
        opened = sealing.sealer(encryption_ring(), alice.partner.id, clock.now()).open(token)
        assert opened == at


def test_a_topic_says_that_it_is_filtered_or_masked_and_shows_its_example_so(
    alice: Caller,
) -> None:
    shown = factories.topic("orders")
    shown.example = {"id": 7, "card": "4111111111111111"}
    shown.save()
    narrowed(alice, fields=["/card"], masks={"/card": "last4"}, **FILTERED)

    topic = json_of(alice.get("/topics/orders"))

    assert (topic["is_filtered"], topic["is_masked"]) == (True, True)
    assert topic["example"] == {"card": "****1111"}


def test_a_replay_does_not_count_what_is_hidden(alice: Caller) -> None:
    row = factories.replay(factories.subscription(alice.partner))

    before = json_of(alice.get(f"/replays/{row.pk}"))["progress"]["scanned"]
    narrowed(alice, **FILTERED)
    after = json_of(alice.get(f"/replays/{row.pk}"))["progress"]["scanned"]

    assert (before, after) == (0, None)
