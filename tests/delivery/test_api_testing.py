"""``/endpoints/{ep}/test``: one signed delivery, marked as a test, and what came of it."""

import json
import threading
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest
from django.http import HttpResponse
from django.test import RequestFactory

from delivery import ledger
from delivery.api.testing import SendTest
from delivery.ledger import AttemptRow, Later, ParkedRow
from delivery.models import ParkedDelivery
from subscriptions.models import AuditEvent, Endpoint, Subscription, Topic
from tests import factories
from tests.api import Caller, codes, json_of

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def endpoint(alice: Caller) -> Endpoint:
    return factories.endpoint(alice.partner)


@pytest.fixture
def subscription(alice: Caller, endpoint: Endpoint) -> Subscription:
    return factories.subscription(alice.partner, endpoint)


def at_once(caller: Caller, endpoint: Endpoint, body: object = None) -> HttpResponse:
    """Send a test without waiting for its attempt, as nobody is there to make it."""
    request = RequestFactory().post(
        f"/api/v1/endpoints/{endpoint.pk}/test",
        json.dumps(body or {}),
        content_type="application/json",
        headers={"authorization": f"Bearer {caller.key}"},
    )
    answer = SendTest.as_view(wait_s=0.0)(request, endpoint=endpoint.pk)
    assert isinstance(answer, HttpResponse)
    return answer


def body_of(webhook_id: str) -> dict[str, Any]:
    row = ParkedDelivery.objects.get(pk=webhook_id)
    body: dict[str, Any] = json.loads(bytes(row.body or b""))
    return body


class OneAttemptEngine(threading.Thread):
    """Does with one due row what an engine does: claims it, sends nothing, writes the outcome."""

    def __init__(self, subscription: Subscription, outcome_class: str) -> None:
        super().__init__()
        self.subscription = subscription
        self.outcome_class = outcome_class
        self.is_listening = threading.Event()

    def run(self) -> None:
        owner, mine = uuid4(), [self.subscription.pk]
        with factories.connect() as conn:
            conn.execute("LISTEN kafkahub_due")
            self.is_listening.set()
            list(conn.notifies(timeout=30, stop_after=1))
            [row] = ledger.claim_due(conn, owner, subscriptions=mine, limit=1, each=1, lease_s=5)
            with conn.transaction(), conn.cursor() as cur:
                ledger.copy_attempts(cur, [self._attempt(row, ledger.clock_us(conn))])
                failed = Later(row.id, 5, "http_5xx", 500, 1, 1)
                ledger.finish(cur, owner, rescheduled=[failed], kept_days=30)

    def _attempt(self, row: ParkedRow, now_us: int) -> AttemptRow:
        return AttemptRow(
            at_us=now_us,
            partner=self.subscription.partner_id,
            subscription=self.subscription.pk,
            endpoint=self.subscription.endpoint_id or "",
            delivery=row.id,
            topic=row.topic,
            partition=row.partition,
            offset=row.offset,
            record_time_ms=None,
            key=None,
            number=1,
            kind="test",
            outcome="delivered" if self.outcome_class == "delivered" else "http_5xx",
            outcome_class=self.outcome_class,
            http_status=200,
            duration_us=1,
            timings_us=(0, 0, 0, 0, 0, 1),
            reused=False,
            request_bytes=len(row.body),
            response_excerpt=None,
            response_note=None,
            retry_after_s=None,
            next_attempt_us=None,
            secret_ids=(),
        )


@pytest.fixture(params=["delivered", "failed"])
def engine(
    request: pytest.FixtureRequest, subscription: Subscription
) -> Iterator[OneAttemptEngine]:
    thread = OneAttemptEngine(subscription, request.param)
    thread.start()
    assert thread.is_listening.wait(30)
    yield thread
    thread.join(30)


def test_the_answer_shows_the_attempt_and_nothing_is_left_to_retry(
    alice: Caller, endpoint: Endpoint, engine: OneAttemptEngine
) -> None:
    answer = alice.post(f"/endpoints/{endpoint.pk}/test")

    shown = json_of(answer)
    assert answer.status_code == 200
    assert shown["id"].startswith("tst_")
    expected = "delivered" if engine.outcome_class == "delivered" else "dead_letter"
    assert (shown["state"], [each["kind"] for each in shown["attempts"]]) == (expected, ["test"])
    assert not ParkedDelivery.objects.exists()
    assert json_of(alice.get(f"/deliveries/{shown['id']}"))["state"] == expected


def test_without_an_attempt_in_time_the_answer_says_where_to_look(
    alice: Caller, endpoint: Endpoint, subscription: Subscription
) -> None:
    answer = at_once(alice, endpoint)

    assert answer.status_code == 202
    place = answer.headers["Location"]
    shown = json_of(alice.get(place.removeprefix("/api/v1")))
    assert (shown["id"], shown["state"]) == (json_of(answer)["id"], "waiting")
    row = ParkedDelivery.objects.get()
    assert (row.reason, row.partition, row.headers["kafkahub-test"]) == ("test", -1, "1")
    assert AuditEvent.objects.get(verb="test.sent").object_id == endpoint.pk


def test_its_data_is_the_topics_example_or_what_the_caller_gives(
    alice: Caller, endpoint: Endpoint, subscription: Subscription
) -> None:
    plain = body_of(json_of(at_once(alice, endpoint))["id"])
    Topic.objects.update(example={"id": 7})
    example = body_of(json_of(at_once(alice, endpoint))["id"])
    own = body_of(json_of(at_once(alice, endpoint, {"data": [1], "type": "my.type"}))["id"])

    assert (plain["type"], plain["data"]) == ("orders", {"test": True})
    assert example["data"] == {"id": 7}
    assert (own["type"], own["data"]) == ("my.type", [1])


@pytest.mark.parametrize(
    ("body", "pointer", "code"),
    [
        ({"type": "kafkahub.mine"}, "/type", "not_a_type"),
        ({"type": 7}, "/type", "not_a_type"),
        ({"example": True, "data": 1}, "/data", "bad_combination"),
        ({"data": "x" * 70_000}, "/data", "too_long"),
        ({"subscription": "sub_none"}, "/subscription", "not_one_of"),
        ({"subscripton": "sub_none"}, "/subscripton", "unknown_field"),
    ],
)
def test_bad_tests_are_refused_with_their_places(
    alice: Caller,
    endpoint: Endpoint,
    subscription: Subscription,
    *,
    body: dict[str, object],
    pointer: str,
    code: str,
) -> None:
    answer = at_once(alice, endpoint, body)

    assert (answer.status_code, codes(answer)[pointer]) == (400, code)
    assert not ParkedDelivery.objects.exists()


def test_nothing_waits_for_a_subscription_that_sends_nothing(
    alice: Caller, endpoint: Endpoint, subscription: Subscription
) -> None:
    Subscription.objects.update(status="paused")

    by_default = at_once(alice, endpoint)
    by_name = at_once(alice, endpoint, {"subscription": subscription.pk})

    assert by_default.status_code == by_name.status_code == 409
    assert "paused" in json_of(by_default)["detail"]


def test_an_endpoint_without_a_subscription_says_what_to_do(
    alice: Caller, endpoint: Endpoint
) -> None:
    answer = at_once(alice, endpoint)

    assert (answer.status_code, json_of(answer)["code"]) == (409, "conflict")


def test_ten_a_minute_are_enough(
    alice: Caller, endpoint: Endpoint, subscription: Subscription
) -> None:
    answers = [at_once(alice, endpoint).status_code for _ in range(11)]

    assert answers == [202] * 10 + [429]
    assert ParkedDelivery.objects.count() == 10


def test_a_stranger_gets_the_404_of_nothing(
    charlie: Caller, endpoint: Endpoint, subscription: Subscription
) -> None:
    assert at_once(charlie, endpoint).status_code == 404
    mine = factories.endpoint(charlie.partner)
    stolen = at_once(charlie, mine, {"subscription": subscription.pk})
    assert codes(stolen) == {"/subscription": "not_one_of"}
