"""``/parked``: listing, payload, redriving and discarding; and sending a delivery again."""

from datetime import timedelta
from typing import Any

import pytest

from delivery.models import ParkedDelivery
from delivery.reread import remake
from kafkahub import clock, config
from kafkahub.kafka.options import producer_options
from kafkahub.kafka.producer import Producer
from kafkahub.kafka.record import Position
from subscriptions import cursor
from subscriptions.models import AuditEvent, Grant, Subscription
from tests import factories
from tests.api import Caller, codes, json_of, without_request_id
from tests.conftest import MakeTopic

pytestmark = pytest.mark.django_db
UNKNOWN = "msg_" + "0" * 22


@pytest.fixture
def subscription(alice: Caller) -> Subscription:
    return factories.subscription(alice.partner)


def verbs() -> list[str]:
    return list(
        AuditEvent.objects.exclude(verb="key.created").order_by("id").values_list("verb", flat=True)
    )


def test_a_parked_row_is_shown_with_its_schedule(alice: Caller, subscription: Subscription) -> None:
    row = factories.parked(subscription, key=b"\xff", last_outcome="http_5xx")

    [shown] = json_of(alice.get("/parked"))["data"]

    assert (shown["id"], shown["state"], shown["reason"]) == (row.pk, "scheduled", "failed")
    assert (shown["key"], shown["bytes"]) == ({"base64": "/w=="}, 43)
    assert json_of(alice.get(f"/parked/{row.pk}")) == shown


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("state=dead", 1),
        ("state=scheduled", 1),
        ("reason=exhausted", 1),
        ("topic=orders", 2),
        ("topic=other", 0),
        ("key=k", 1),
        ("subscription=sub_none", 0),
        ("since=2020-01-01T00:00:00Z", 2),
        ("until=2020-01-01T00:00:00Z", 0),
    ],
)
def test_filters_narrow_the_list(
    alice: Caller, subscription: Subscription, query: str, found: int
) -> None:
    factories.parked(subscription, 1, key=b"k")
    factories.parked(subscription, 2, state="dead", reason="exhausted")

    assert len(json_of(alice.get(f"/parked?{query}"))["data"]) == found


def test_a_payload_is_shown_as_it_is_sent_and_that_is_audited(
    alice: Caller, subscription: Subscription
) -> None:
    row = factories.parked(subscription)

    shown = json_of(alice.get(f"/parked/{row.pk}/payload"))

    assert shown["text"] == '{"type":"orders","timestamp":null,"data":1}'
    assert (shown["content_type"], shown["is_cut"]) == ("application/json", False)
    assert verbs() == ["payload.viewed"]


@pytest.mark.parametrize(
    ("body", "text", "base64", "is_cut"),
    [(b"\xff\x00", None, "/wA=", False), (b"a" * 65_537, None, "YWFh" * 21_845, True)],
)
def test_a_payload_that_is_no_short_text_is_base64(
    alice: Caller,
    subscription: Subscription,
    *,
    body: bytes,
    text: str | None,
    base64: str,
    is_cut: bool,
) -> None:
    row = factories.parked(subscription, body=body)

    shown = json_of(alice.get(f"/parked/{row.pk}/payload"))

    assert (shown["text"], shown["is_cut"], shown["bytes"]) == (text, is_cut, len(body))
    assert shown["base64"][: len(base64)] == base64


def test_no_payload_is_shown_once_the_grant_is_gone_or_another(
    alice: Caller, subscription: Subscription
) -> None:
    row = factories.parked(subscription)
    Grant.objects.filter(partner=alice.partner).update(version=2)
    changed = alice.get(f"/parked/{row.pk}/payload")
    Grant.objects.filter(partner=alice.partner).delete()
    gone = alice.get(f"/parked/{row.pk}/payload")

    assert (changed.status_code, json_of(changed)["code"]) == (409, "record_gone")
    assert gone.status_code == 404


def test_a_dead_letter_is_due_again_with_its_attempts_from_the_start(
    alice: Caller, subscription: Subscription
) -> None:
    row = factories.parked(subscription, state="dead", reason="exhausted", attempts=10, sends=12)

    answer = alice.post(f"/parked/{row.pk}/redrive")

    assert answer.status_code == 200
    row.refresh_from_db()
    assert (row.state, row.attempts, row.sends, row.reason) == ("scheduled", 0, 12, "failed")
    assert row.next_attempt_at is not None
    assert verbs() == ["parked.redriven"]


@pytest.mark.parametrize("state", ["scheduled", "sending"])
def test_only_a_dead_letter_is_redriven_and_the_refusal_names_what_is_allowed(
    alice: Caller, subscription: Subscription, state: str
) -> None:
    row = factories.parked(subscription, state=state)

    answer = alice.post(f"/parked/{row.pk}/redrive")

    assert (answer.status_code, json_of(answer)["code"]) == (409, "conflict")
    assert state in json_of(answer)["detail"]
    assert verbs() == []


@pytest.mark.parametrize(("state", "attempts"), [("scheduled", 3), ("dead", 0)])
def test_a_parked_delivery_is_sent_again_now_by_hand(
    alice: Caller, subscription: Subscription, state: str, attempts: int
) -> None:
    later = clock.now() + timedelta(hours=1)
    row = factories.parked(subscription, state=state, attempts=3, next_attempt_at=later)

    answer = alice.post(f"/deliveries/{row.pk}/resend")

    assert answer.status_code == 202
    assert answer.headers["Location"] == f"/api/v1/deliveries/{row.pk}"
    row.refresh_from_db()
    assert (row.state, row.reason, row.attempts) == ("scheduled", "resend", attempts)
    assert row.next_attempt_at is not None
    assert row.next_attempt_at < later
    assert verbs() == ["delivery.resent"]


def test_what_is_being_sent_is_not_resent(alice: Caller, subscription: Subscription) -> None:
    row = factories.parked(subscription, state="sending")

    assert alice.post(f"/deliveries/{row.pk}/resend").status_code == 409


def test_a_resend_of_a_deleted_subscription_is_refused(
    alice: Caller, subscription: Subscription
) -> None:
    row = factories.parked(subscription)
    factories.attempt(row)
    row_id = row.pk
    subscription.delete()

    answer = alice.post(f"/deliveries/{row_id}/resend")

    assert (answer.status_code, json_of(answer)["code"]) == (409, "conflict")


def test_a_dry_run_changes_nothing(alice: Caller, subscription: Subscription) -> None:
    row = factories.parked(subscription, state="dead", reason="exhausted")

    answer = alice.post(f"/parked/{row.pk}/redrive?dry_run=true")

    assert json_of(answer) == {"dry_run": True, "warnings": []}
    row.refresh_from_db()
    assert row.state == "dead"


def test_a_discarded_row_is_gone_for_its_partner_and_stays_as_a_mark(
    alice: Caller, subscription: Subscription
) -> None:
    row = factories.parked(subscription)

    answer = alice.delete(f"/parked/{row.pk}?reason=not%20wanted")

    assert answer.status_code == 204
    assert alice.get(f"/parked/{row.pk}").status_code == 404
    row.refresh_from_db()
    assert (row.state, row.body) == ("discarded", None)
    event = AuditEvent.objects.get(verb="parked.discarded")
    assert (event.object_id, event.reason) == (row.pk, "not wanted")


def test_a_discarded_row_is_not_sent_by_a_second_read(
    alice: Caller, subscription: Subscription
) -> None:
    row = factories.parked(subscription)
    alice.delete(f"/parked/{row.pk}?reason=not%20wanted")

    assert alice.post(f"/parked/{row.pk}/redrive").status_code == 404
    assert alice.post(f"/deliveries/{row.pk}/resend").status_code == 404


def test_what_is_being_sent_is_not_discarded(alice: Caller, subscription: Subscription) -> None:
    row = factories.parked(subscription, state="sending")

    assert alice.delete(f"/parked/{row.pk}?reason=not%20wanted").status_code == 409


@pytest.mark.parametrize("query", ["", "?reason=ab", "?reason=", "?reason=" + "a" * 201])
def test_a_discard_needs_its_reason(alice: Caller, subscription: Subscription, query: str) -> None:
    row = factories.parked(subscription)

    assert alice.delete(f"/parked/{row.pk}{query}").status_code == 400
    row.refresh_from_db()
    assert row.state == "scheduled"


def test_a_discard_of_another_version_is_refused(alice: Caller, subscription: Subscription) -> None:
    row = factories.parked(subscription)
    tag = alice.get(f"/parked/{row.pk}").headers["ETag"]
    ParkedDelivery.objects.filter(pk=row.pk).update(attempts=9)

    stale = alice.delete(f"/parked/{row.pk}?reason=not%20wanted", if_match=tag)
    fresh = alice.get(f"/parked/{row.pk}").headers["ETag"]

    assert (stale.status_code, stale.headers["ETag"]) == (412, fresh)
    done = alice.delete(f"/parked/{row.pk}?reason=not%20wanted", if_match=fresh)
    assert done.status_code == 204


def discard(caller: Caller, count: int, **wanted: object) -> Any:
    body = {"reason": "not wanted", "expected_count": count, "filter": wanted}
    return caller.post("/parked/discard", body)


def test_many_are_discarded_when_they_are_as_many_as_expected(
    alice: Caller, charlie: Caller, subscription: Subscription
) -> None:
    for offset in range(3):
        factories.parked(subscription, offset, state="dead", reason="exhausted")
    factories.parked(subscription, 9)
    factories.parked(factories.subscription(charlie.partner), state="dead", reason="exhausted")

    wrong = [discard(alice, count, state="dead") for count in (2, 4)]
    done = discard(alice, 3, state="dead")

    assert [answer.status_code for answer in wrong] == [409, 409]
    assert json_of(done) == {"discarded": 3}
    states = ParkedDelivery.objects.filter(subscription=subscription).values_list("state")
    assert sorted(states) == [("discarded",)] * 3 + [("scheduled",)]
    assert discard(alice, 0, state="dead").status_code == 200


@pytest.mark.parametrize(
    ("body", "pointer", "code"),
    [
        ({}, "/reason", "required"),
        ({"reason": "ab", "expected_count": 1}, "/reason", "too_short"),
        ({"reason": "abc", "expected_count": -1}, "/expected_count", "out_of_range"),
        ({"reason": "abc", "expected_count": 10_001}, "/expected_count", "out_of_range"),
        ({"reason": "abc", "expected_count": "1"}, "/expected_count", "wrong_type"),
        (
            {"reason": "abc", "expected_count": 1, "filter": {"sate": "dead"}},
            "/filter/sate",
            "unknown_field",
        ),
        (
            {"reason": "abc", "expected_count": 1, "filter": {"since": "now"}},
            "/filter/since",
            "wrong_type",
        ),
    ],
)
def test_a_bad_bulk_discard_is_refused_with_its_places(
    alice: Caller, body: dict[str, object], pointer: str, code: str
) -> None:
    answer = alice.post("/parked/discard", body)

    assert answer.status_code == 400
    assert codes(answer)[pointer] == code


def test_a_stranger_gets_the_404_of_nothing(charlie: Caller, subscription: Subscription) -> None:
    row = factories.parked(subscription, state="dead", reason="exhausted")

    for method, path in (
        ("GET", "/parked/{}"),
        ("GET", "/parked/{}/payload"),
        ("DELETE", "/parked/{}?reason=not%20wanted"),
        ("POST", "/parked/{}/redrive"),
        ("POST", "/deliveries/{}/resend"),
    ):
        foreign = charlie.send(method, path.format(row.pk))
        nothing = charlie.send(method, path.format(UNKNOWN))
        assert foreign.status_code == nothing.status_code == 404
        assert without_request_id(foreign) == without_request_id(nothing)
    assert json_of(charlie.get("/parked"))["data"] == []
    row.refresh_from_db()
    assert row.state == "dead"


def test_acting_needs_its_scope(alice: Caller, subscription: Subscription) -> None:
    row = factories.parked(subscription, state="dead", reason="exhausted")
    reader = factories.caller(alice.partner, "reader", scopes=frozenset({"deliveries:read"}))

    for method, path in (
        ("DELETE", f"/parked/{row.pk}?reason=not%20wanted"),
        ("POST", f"/parked/{row.pk}/redrive"),
        ("POST", f"/deliveries/{row.pk}/resend"),
        ("POST", "/parked/discard"),
    ):
        assert json_of(reader.send(method, path))["code"] == "insufficient_scope"


def test_fifty_equal_requests_with_one_key_are_one(
    alice: Caller, subscription: Subscription
) -> None:
    factories.roomy_plan()
    row = factories.parked(subscription, state="dead", reason="exhausted")

    answers = [alice.post(f"/parked/{row.pk}/redrive", idempotency_key="once") for _ in range(50)]

    assert {answer.status_code for answer in answers} == {200}
    assert verbs() == ["parked.redriven"]


@pytest.fixture
def sent(alice: Caller, topic: MakeTopic) -> ParkedDelivery:
    """Return an unsaved row of a record that is in Kafka and was delivered to alice."""
    name = topic(1)
    factories.grant(alice.partner, name)
    owner = factories.subscription(alice.partner, topics=(name,))
    producer = Producer(producer_options(config.load()))
    producer.produce(name, b'{"n":1}', key=b"k").result(timeout=15)
    producer.close()
    made = remake(owner, Position(name, 0, 0), generation=1)
    row = factories.parked(owner, 0, id=made.webhook_id, sends=1, attempts=0)
    factories.attempt(row, outcome="delivered", outcome_class="delivered", number=1)
    ParkedDelivery.objects.all().delete()
    row.pk = made.webhook_id
    return row


@pytest.mark.kafka
def test_a_delivered_record_is_read_again_and_sent_under_its_own_id(
    alice: Caller, sent: ParkedDelivery
) -> None:
    answer = alice.post(f"/deliveries/{sent.pk}/resend")

    assert (answer.status_code, json_of(answer)["state"]) == (202, "retrying")
    row = ParkedDelivery.objects.get()
    assert (row.pk, row.reason, row.sends, row.attempts) == (sent.pk, "resend", 1, 0)
    assert bytes(row.body or b"").endswith(b'"data":{"n":1}}')
    assert row.headers == {"content-type": "application/json"}
    assert (bytes(row.key or b""), row.record_time is None) == (b"k", False)


@pytest.mark.kafka
def test_a_second_resend_finds_the_row_of_the_first(alice: Caller, sent: ParkedDelivery) -> None:
    alice.post(f"/deliveries/{sent.pk}/resend")

    assert alice.post(f"/deliveries/{sent.pk}/resend").status_code == 202
    assert ParkedDelivery.objects.count() == 1


@pytest.mark.kafka
@pytest.mark.parametrize("offset", [1, 99])
def test_a_record_that_kafka_has_dropped_is_said_to_be_gone(
    alice: Caller, sent: ParkedDelivery, offset: int
) -> None:
    row = factories.parked(sent.subscription, offset)
    factories.attempt(row, outcome="delivered", outcome_class="delivered")
    row_id = row.pk
    row.delete()

    answer = alice.post(f"/deliveries/{row_id}/resend")

    assert (answer.status_code, json_of(answer)["code"]) == (409, "record_gone")


@pytest.mark.kafka
def test_another_record_at_the_same_offset_is_never_sent_under_the_old_id(
    alice: Caller, sent: ParkedDelivery
) -> None:
    row = factories.parked(sent.subscription, 0, id="msg_" + "1" * 22)
    factories.attempt(row, outcome="delivered", outcome_class="delivered")
    row.delete()

    answer = alice.post("/deliveries/msg_" + "1" * 22 + "/resend")

    assert (answer.status_code, json_of(answer)["code"]) == (409, "record_gone")


@pytest.mark.kafka
def test_a_row_born_dead_is_made_anew_when_it_is_redriven(
    alice: Caller, sent: ParkedDelivery
) -> None:
    row = factories.parked(
        sent.subscription,
        0,
        id=sent.pk,
        state="dead",
        reason="too_large",
        body=None,
        sends=0,
        attempts=0,
    )

    answer = alice.post(f"/parked/{row.pk}/redrive")

    assert answer.status_code == 200
    row.refresh_from_db()
    assert row.state == "scheduled"
    assert bytes(row.body or b"").endswith(b'"data":{"n":1}}')


@pytest.mark.kafka
def test_a_changed_grant_makes_the_body_anew(alice: Caller, sent: ParkedDelivery) -> None:
    row = factories.parked(sent.subscription, 0, id=sent.pk, body=b"older", sends=3)
    Grant.objects.filter(partner=alice.partner).update(version=7)

    alice.post(f"/deliveries/{row.pk}/resend")

    row.refresh_from_db()
    assert (row.grant_version, row.sends) == (7, 3)
    assert bytes(row.body or b"") != b"older"


@pytest.mark.kafka
def test_nothing_is_sent_again_once_the_grant_is_gone(alice: Caller, sent: ParkedDelivery) -> None:
    Grant.objects.filter(partner=alice.partner).delete()

    assert alice.post(f"/deliveries/{sent.pk}/resend").status_code == 404
    assert not ParkedDelivery.objects.exists()


@pytest.mark.kafka
def test_the_cursor_of_a_delivery_begins_with_its_record(
    alice: Caller, sent: ParkedDelivery
) -> None:
    [line] = json_of(alice.get("/deliveries"))["data"]

    [place] = cursor.decode(line["cursor"]).topics
    assert place.name_tag == cursor.tag(sent.topic)
    assert place.offsets == {0: 0}
