"""``/replays`` on real Kafka: what is counted, refused, started and shown."""

from typing import Any

import pytest

from delivery import tasks
from subscriptions.models import Endpoint, Grant, Replay, Subscription
from tests import attempt_log, factories
from tests.api import Caller, codes, json_of, without_request_id
from tests.conftest import MakeTopic
from tests.delivery.kafka import delete_before, produce

pytestmark = [pytest.mark.kafka, pytest.mark.django_db(transaction=True)]
RECORDS = 12


@pytest.fixture
def subscription(alice: Caller, topic: MakeTopic) -> Subscription:
    attempt_log.clear()
    name = topic()
    factories.topic(name)
    factories.grant(alice.partner, name)
    made = factories.subscription(alice.partner, topics=(name,))
    produce(name, RECORDS)
    return made


def asked(of: Subscription, **more: object) -> dict[str, object]:
    return {"subscription": of.pk, "source": {"kafka": {"from": "earliest"}}, **more}


def counted(who: Caller, of: Subscription, **more: object) -> dict[str, Any]:
    """Return a replay after its dry run."""
    made = json_of(who.post("/replays", asked(of, **more)))
    tasks.keep_replays()
    shown: dict[str, Any] = json_of(who.get(f"/replays/{made['id']}"))
    return shown


def test_a_dry_run_counts_what_would_be_sent(alice: Caller, subscription: Subscription) -> None:
    shown = counted(alice, subscription)

    assert shown["state"] == "ready"
    dry_run = shown["dry_run"]
    assert (dry_run["count"], dry_run["exact"], dry_run["order"]) == (RECORDS, True, "late")
    assert dry_run["bytes"] == sum(len(b'{"id":%d}' % number) for number in range(RECORDS))
    assert dry_run["first_at"] <= dry_run["last_at"]


def test_a_filter_narrows_and_what_was_delivered_is_told(
    alice: Caller, subscription: Subscription
) -> None:
    [topic] = subscription.topics
    attempt_log.write(subscription, topic=topic, offset=10, outcome_class="delivered")

    shown = counted(alice, subscription, filter={"value": {"id": {"$gte": 9}}})
    missing = counted(alice, subscription, filter={"value": {"id": {"$gte": 9}}}, only_missing=True)

    assert (shown["dry_run"]["count"], shown["dry_run"]["already_delivered"]) == (3, 1)
    assert missing["dry_run"]["count"] == 2


def test_places_bound_it(alice: Caller, subscription: Subscription) -> None:
    [topic] = subscription.topics
    source = {
        "kafka": {
            "from": {"offsets": {topic: {"0": 3}}},
            "to": {"offsets": {topic: {"0": 7}}},
        }
    }

    assert counted(alice, subscription, source=source)["dry_run"]["count"] == 4


def test_what_the_log_does_not_have_is_refused(alice: Caller, subscription: Subscription) -> None:
    [topic] = subscription.topics
    delete_before(topic, 4)

    def refusal(source: object) -> dict[str, str]:
        return codes(alice.post("/replays", asked(subscription, source=source)))

    at = "/source/kafka"
    early = {"kafka": {"from": {"offsets": {topic: {"0": 3}}}}}
    turned = {"kafka": {"from": "latest", "to": {"offsets": {topic: {"0": 5}}}}}
    never = {"kafka": {"from": "first_failure"}}
    both = {"kafka": {"from": "earliest"}, "parked": {}}
    assert refusal(early) == {f"{at}/from/offsets/{topic}/0": "start_not_available"}
    assert refusal(turned) == {f"{at}/to": "out_of_range"}
    assert refusal(never) == {f"{at}/from": "start_not_available"}
    assert set(refusal(both).values()) == {"bad_combination"}
    assert not Replay.objects.exists()


def test_it_starts_at_the_first_failure(alice: Caller, subscription: Subscription) -> None:
    [topic] = subscription.topics
    attempt_log.write(subscription, topic=topic, offset=2, outcome_class="delivered")
    attempt_log.write(subscription, topic=topic, offset=5, outcome_class="failed")

    shown = counted(alice, subscription, source={"kafka": {"from": "first_failure"}})

    assert shown["dry_run"]["count"] == RECORDS - 5


def test_a_filtered_grant_lets_nobody_name_offsets(
    alice: Caller, subscription: Subscription
) -> None:
    [topic] = subscription.topics
    Grant.objects.update(key_rule={"equals": "a"})

    answer = alice.post(
        "/replays",
        asked(subscription, source={"kafka": {"from": {"offsets": {topic: {"0": 3}}}}}),
    )

    assert set(codes(answer).values()) == {"not_allowed_by_grant"}


def test_it_is_started_paused_resumed_and_cancelled(
    alice: Caller, subscription: Subscription
) -> None:
    path = f"/replays/{counted(alice, subscription)['id']}"

    states = [
        json_of(alice.post(f"{path}/{verb}"))["state"]
        for verb in ("start", "start", "pause", "resume", "cancel", "cancel")
    ]
    refused = alice.post(f"{path}/start")

    assert states == ["running", "running", "paused", "running", "cancelled", "cancelled"]
    assert (refused.status_code, json_of(refused)["code"]) == (409, "conflict")


def test_auto_start_skips_the_stop(alice: Caller, subscription: Subscription) -> None:
    assert counted(alice, subscription, auto_start=True)["state"] == "running"


def test_another_endpoint_must_be_the_partner_s_and_active(
    alice: Caller, charlie: Caller, subscription: Subscription
) -> None:
    foreign = factories.endpoint(charlie.partner)
    resting = factories.endpoint(alice.partner)
    Endpoint.objects.filter(pk=resting.pk).update(status="disabled")

    stranger = alice.post("/replays", asked(subscription, endpoint=foreign.pk))
    inactive = alice.post("/replays", asked(subscription, endpoint=resting.pk))

    assert codes(stranger) == {"/endpoint": "not_found"}
    assert inactive.status_code == 409


def test_the_third_of_a_subscription_is_refused(alice: Caller, subscription: Subscription) -> None:
    answers = [alice.post("/replays", asked(subscription)).status_code for _ in range(3)]

    assert answers == [201, 201, 409]


def test_dead_letters_are_redriven_by_filter(alice: Caller, subscription: Subscription) -> None:
    row = factories.parked(subscription, offset=1, state="dead", reason="exhausted")
    source = {"parked": {"reason": "exhausted"}}

    shown = counted(alice, subscription, source=source, auto_start=True)
    tasks.keep_replays()

    assert (shown["dry_run"]["count"], shown["dry_run"]["order"]) == (1, "late")
    row.refresh_from_db()
    assert (row.state, row.attempts, row.replay) == ("scheduled", 0, shown["id"])


def test_retention_that_overtakes_the_count_is_a_gap(
    alice: Caller, subscription: Subscription
) -> None:
    [topic] = subscription.topics
    made = json_of(alice.post("/replays", asked(subscription)))
    delete_before(topic, 5)

    tasks.keep_replays()

    shown = json_of(alice.get(f"/replays/{made['id']}"))
    [gap] = shown["gaps"]
    assert (gap["from"], gap["to"], gap["reason"]) == (0, 5, "retention")
    assert shown["dry_run"]["count"] == RECORDS - 5


def test_a_stranger_sees_and_moves_nothing(
    alice: Caller, charlie: Caller, subscription: Subscription
) -> None:
    path = f"/replays/{counted(alice, subscription)['id']}"
    nothing = charlie.get("/replays/rep_00000000000000000000000000")

    for foreign in (charlie.get(path), charlie.post(f"{path}/start")):
        assert foreign.status_code == 404
        assert without_request_id(foreign) == without_request_id(nothing)
    assert json_of(charlie.get("/replays"))["data"] == []
    assert codes(charlie.post("/replays", asked(subscription))) == {"/subscription": "not_found"}
