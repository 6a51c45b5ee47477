"""``/subscriptions/{sub}/seek`` on real Kafka: every form of a place, and what is refused."""

import pytest

from subscriptions.models import Grant, LanePosition, Subscription
from tests import factories
from tests.api import Caller, codes, json_of, without_request_id
from tests.conftest import MakeTopic
from tests.delivery.kafka import delete_before, produce

pytestmark = [pytest.mark.kafka, pytest.mark.django_db]


@pytest.fixture
def subscription(alice: Caller, topic: MakeTopic) -> Subscription:
    name = topic()
    factories.topic(name)
    factories.grant(alice.partner, name)
    made = factories.subscription(alice.partner, topics=(name,))
    LanePosition.objects.create(subscription=made, topic=name, partition=0, next_offset=5)
    produce(name, 10)
    delete_before(name, 2)
    return made


def seek(of: Subscription, who: Caller, to: object) -> int:
    answer = who.post(f"/subscriptions/{of.pk}/seek", {"to": to})
    assert answer.status_code == 200, answer.content
    [lane] = json_of(answer)["lanes"]
    assert (lane["state"], lane["reason"]) == ("behind", "seek")
    return int(lane["next_offset"])


def test_a_place_may_be_given_in_every_form(alice: Caller, subscription: Subscription) -> None:
    [topic] = subscription.topics

    assert seek(subscription, alice, "earliest") == 2
    assert seek(subscription, alice, "latest") == 10
    assert seek(subscription, alice, {"offsets": {topic: {"0": 7}}}) == 7
    assert seek(subscription, alice, {"time": "2020-01-01T00:00:00Z"}) == 2


def test_what_the_log_does_not_have_is_refused(alice: Caller, subscription: Subscription) -> None:
    [topic] = subscription.topics
    path = f"/subscriptions/{subscription.pk}/seek"

    early = alice.post(path, {"to": {"offsets": {topic: {"0": 1}}}})
    late = alice.post(path, {"to": {"offsets": {topic: {"0": 11, "7": 0}}}})
    never = alice.post(path, {"to": "first_failure"})
    foreign = alice.post(path, {"to": {"offsets": {"another": {"0": 1}}}})

    assert codes(early) == {f"/to/offsets/{topic}/0": "start_not_available"}
    assert codes(late) == {
        f"/to/offsets/{topic}/0": "start_not_available",
        f"/to/offsets/{topic}/7": "not_found",
    }
    assert codes(never) == {"/to": "start_not_available"}
    assert codes(foreign) == {"/to/offsets/another": "not_found"}
    assert LanePosition.objects.get().next_offset == 5


def test_a_filtered_grant_lets_nobody_name_offsets(
    alice: Caller, subscription: Subscription
) -> None:
    [topic] = subscription.topics
    Grant.objects.update(key_rule={"equals": "a"})

    answer = alice.post(
        f"/subscriptions/{subscription.pk}/seek", {"to": {"offsets": {topic: {"0": 7}}}}
    )

    assert codes(answer) == {f"/to/offsets/{topic}": "not_allowed_by_grant"}


def test_a_rehearsal_moves_nothing(alice: Caller, subscription: Subscription) -> None:
    answer = alice.post(f"/subscriptions/{subscription.pk}/seek?dry_run=true", {"to": "earliest"})

    assert json_of(answer)["dry_run"] is True
    assert LanePosition.objects.get().next_offset == 5


def test_a_stranger_moves_nothing(charlie: Caller, subscription: Subscription) -> None:
    foreign = charlie.post(f"/subscriptions/{subscription.pk}/seek", {"to": "latest"})
    nothing = charlie.post("/subscriptions/sub_00000000000000000000000000/seek", {"to": "latest"})

    assert foreign.status_code == 404
    assert without_request_id(foreign) == without_request_id(nothing)
