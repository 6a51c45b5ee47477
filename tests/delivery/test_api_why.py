"""``/deliveries/why`` on real Kafka: by id, cursor, position, or key and time."""

import json
from io import StringIO

import pytest
from django.core.management import call_command

from delivery.cursors import CursorWriter
from delivery.models import DeliveryAttempt, DeliveryGap, PartitionPosition
from kafkahub import config
from kafkahub.kafka.options import producer_options
from kafkahub.kafka.producer import Producer
from subscriptions.models import Grant, LanePosition, Subscription
from tests import attempt_log, factories
from tests.api import Caller, codes, json_of, without_request_id
from tests.conftest import MakeTopic

pytestmark = [pytest.mark.kafka, pytest.mark.django_db(transaction=True)]
FLOOR = 6


@pytest.fixture
def subscription(alice: Caller, topic: MakeTopic) -> Subscription:
    """Return one that wants ids from 5 on, of ten records, and has passed the first six."""
    attempt_log.clear()
    name = topic()
    factories.topic(name)
    factories.grant(alice.partner, name)
    made = factories.subscription(alice.partner, topics=(name,))
    made.filter = {"value": {"id": {"$gte": 5}}}
    made.save()
    PartitionPosition.objects.create(topic=name, partition=0, next_offset=FLOOR)
    LanePosition.objects.create(
        subscription=made, topic=name, partition=0, state="live", next_offset=0
    )
    producer = Producer(producer_options(config.load()))
    futures = [
        producer.produce(name, b'{"id":%d}' % number, str(number).encode()) for number in range(10)
    ]
    producer.flush(30)
    for future in futures:
        future.result(0)
    producer.close()
    return made


def step(who: Caller, of: Subscription, **named: object) -> str:
    answer = who.post("/deliveries/why", {"subscription": of.pk, **named})
    assert answer.status_code == 200, answer.content
    return str(json_of(answer)["step"])


def at(of: Subscription, offset: int) -> dict[str, object]:
    return {"position": {"topic": of.topics[0], "partition": 0, "offset": offset}}


def test_each_record_is_told_where_its_way_ended(alice: Caller, subscription: Subscription) -> None:
    [topic] = subscription.topics
    attempt_log.write(subscription, topic=topic, offset=5, outcome_class="delivered")
    factories.parked(subscription, 7, state="dead")
    DeliveryGap.objects.create(
        subscription=subscription,
        topic=topic,
        partition=0,
        from_offset=20,
        to_offset=30,
        reason="retention",
    )

    assert step(alice, subscription, **at(subscription, 3)) == "filtered_out"
    assert step(alice, subscription, **at(subscription, 5)) == "sent"
    assert step(alice, subscription, **at(subscription, 7)) == "parked"
    assert step(alice, subscription, **at(subscription, 8)) == "waiting"
    assert step(alice, subscription, **at(subscription, 25)) == "gap"
    assert step(alice, subscription, **at(subscription, 50)) == "no_record"


def test_the_clause_that_stopped_it_is_named(alice: Caller, subscription: Subscription) -> None:
    body = {"subscription": subscription.pk, **at(subscription, 3)}

    shown = json_of(alice.post("/deliveries/why", body))

    assert shown["filter"]["first_false"]["pointer"] == "/value/id/$gte"
    assert (shown["lane"]["state"], shown["lane"]["next_offset"]) == ("live", FLOOR)


def test_a_record_is_found_by_id_cursor_and_key(alice: Caller, subscription: Subscription) -> None:
    [topic] = subscription.topics
    attempt_log.write(
        subscription, topic=topic, offset=8, delivery=f"msg_{'1' * 22}", outcome_class="delivered"
    )
    cursor = CursorWriter(alice.partner.pk, {topic}).of(DeliveryAttempt.objects.get())

    assert step(alice, subscription, id=f"msg_{'1' * 22}") == "sent"
    assert step(alice, subscription, cursor=cursor) == "sent"
    by_key = {"topic": topic, "key": "8", "time": "2020-01-01T00:00:00Z"}
    assert step(alice, subscription, **by_key) == "sent"


def test_without_a_grant_nothing_is_told_of_the_record(
    alice: Caller, subscription: Subscription
) -> None:
    place = at(subscription, 8)
    Grant.objects.update(key_rule={"equals": "no such key"})
    hidden = alice.post("/deliveries/why", {"subscription": subscription.pk, **place})
    Grant.objects.all().delete()
    cursor_only = alice.post("/deliveries/why", {"subscription": subscription.pk, **place})

    assert codes(hidden) == {"/position": "not_allowed_by_grant"}
    assert codes(cursor_only) == {"/position": "not_allowed_by_grant"}


@pytest.mark.parametrize(
    "named",
    [{}, {"id": "msg_1", "key": "1"}, {"key": "1"}, {"topic": "orders", "id": "msg_1"}],
)
def test_one_way_is_needed_and_one_only(
    alice: Caller, subscription: Subscription, named: dict[str, object]
) -> None:
    answer = alice.post("/deliveries/why", {"subscription": subscription.pk, **named})

    assert "bad_combination" in codes(answer).values()


def test_a_stranger_is_told_nothing(
    alice: Caller, charlie: Caller, subscription: Subscription
) -> None:
    body = {"subscription": subscription.pk, **at(subscription, 8)}
    nothing = {**body, "subscription": "sub_00000000000000000000000000"}

    foreign = charlie.post("/deliveries/why", body)

    assert foreign.status_code == 404
    assert without_request_id(foreign) == without_request_id(
        charlie.post("/deliveries/why", nothing)
    )


def test_operators_trace_a_record_over_all_subscriptions(
    alice: Caller, subscription: Subscription
) -> None:
    [topic] = subscription.topics
    other = factories.subscription(alice.partner, topics=(topic,))
    out = StringIO()

    call_command("trace", topic, "0", "3", stdout=out)

    told = {
        line["subscription"]: line["step"] for line in map(json.loads, out.getvalue().splitlines())
    }
    assert told == {subscription.pk: "filtered_out", other.pk: "waiting"}
