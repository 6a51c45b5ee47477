"""``/deliveries`` and ``/attempts``: a line a delivery, and nothing of anybody else's."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

from delivery.models import DeliveryAttempt, DeliveryGap
from kafkahub import clock, ids
from subscriptions.models import Subscription
from tests import attempt_log, factories
from tests.api import Caller, json_of, without_request_id

pytestmark = pytest.mark.django_db
UNKNOWN = "msg_" + "0" * 22


@pytest.fixture
def subscription(alice: Caller) -> Subscription:
    return factories.subscription(alice.partner)


def listed(caller: Caller, path: str = "/deliveries") -> list[dict[str, Any]]:
    answer = caller.get(path)
    assert answer.status_code == 200, answer.content
    found: list[dict[str, Any]] = json_of(answer)["data"]
    return found


def walk(caller: Caller, path: str) -> Iterator[dict[str, Any]]:
    """Yield the objects of all pages."""
    cursor: str | None = ""
    while cursor is not None:
        page = json_of(caller.get(path + (f"&cursor={cursor}" if cursor else "")))
        yield from page["data"]
        cursor = page["next_cursor"]


def test_attempts_and_the_parked_row_are_one_line(
    alice: Caller, subscription: Subscription
) -> None:
    row = factories.parked(subscription, attempts=2, sends=2)
    factories.attempt(row, number=1, outcome="http_5xx", http_status=500)
    factories.attempt(row, number=2, outcome="timeout_headers", outcome_class="overloaded")

    [line] = listed(alice)

    assert line["id"] == row.pk
    assert (line["state"], line["attempts"]) == ("retrying", 2)
    assert (line["last_outcome"], line["last_http_status"]) == ("timeout_headers", None)
    assert row.next_attempt_at is not None
    assert line["next_attempt_at"] == clock.rfc3339(row.next_attempt_at)
    assert (line["subscription"], line["topic"]) == (subscription.id, "orders")
    assert (line["partition"], line["offset"]) == (0, 42)


@pytest.mark.parametrize(
    ("outcome_class", "parked", "state"),
    [
        ("delivered", None, "delivered"),
        ("failed", {"state": "scheduled"}, "retrying"),
        ("failed", {"state": "sending"}, "retrying"),
        ("failed", {"state": "dead"}, "dead_letter"),
        ("failed", {"state": "discarded"}, "dead_letter"),
        ("failed", None, "dead_letter"),
        ("throttled", None, "waiting"),
        ("ours", None, "waiting"),
        ("delivered", {"state": "scheduled", "reason": "resend"}, "retrying"),
        (None, {"state": "dead", "reason": "undecodable", "sends": 0}, "dead_letter"),
    ],
)
def test_the_state_follows_from_attempt_and_row(
    alice: Caller,
    subscription: Subscription,
    outcome_class: str | None,
    parked: dict[str, Any] | None,
    state: str,
) -> None:
    row = factories.parked(subscription, **(parked or {}))
    if outcome_class is not None:
        factories.attempt(row, outcome_class=outcome_class)
    if parked is None:
        row.delete()

    assert [line["state"] for line in listed(alice)] == [state]
    assert len(listed(alice, f"/deliveries?state={state}")) == 1
    for other in {"delivered", "retrying", "waiting", "dead_letter"} - {state}:
        assert listed(alice, f"/deliveries?state={other}") == []


def test_a_record_that_could_never_be_sent_is_listed_too(
    alice: Caller, subscription: Subscription
) -> None:
    row = factories.parked(
        subscription, state="dead", reason="too_large", sends=0, attempts=0, body=None
    )

    [line] = listed(alice)

    assert (line["id"], line["state"], line["attempts"]) == (row.pk, "dead_letter", 0)
    assert (line["bytes"], line["endpoint"]) == (None, subscription.endpoint_id)


def test_a_test_is_no_delivery_of_a_record(alice: Caller, subscription: Subscription) -> None:
    row = factories.parked(subscription, id="tst_" + "0" * 22, reason="test", partition=-1)
    factories.attempt(row, kind="test")

    assert listed(alice) == []
    assert [row["kind"] for row in listed(alice, "/attempts")] == ["test"]


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("topic=orders", 2),
        ("topic=other", 0),
        ("key=k1", 1),
        ("outcome=http_5xx", 1),
        ("http_status=503", 1),
        ("http_status=5xx", 1),
        ("http_status=4xx", 0),
        ("subscription=sub_none", 0),
        ("endpoint=ep_none", 0),
        (f"id={UNKNOWN}", 0),
        ("since=2020-01-01T00:00:00Z&until=2020-01-02T00:00:00Z", 0),
    ],
)
@pytest.mark.parametrize("path", ["/deliveries", "/attempts"])
def test_filters_narrow_the_list(
    alice: Caller, subscription: Subscription, path: str, query: str, found: int
) -> None:
    one = factories.parked(subscription, 1, key=b"k1")
    factories.attempt(one, outcome="http_5xx", http_status=503)
    two = factories.parked(subscription, 2, key=b"k2")
    factories.attempt(two, outcome="delivered", outcome_class="delivered", http_status=200)

    assert len(listed(alice, f"{path}?{query}")) == found


def test_paging_shows_each_delivery_once_while_more_arrive(
    alice: Caller, subscription: Subscription
) -> None:
    rows = [factories.parked(subscription, offset) for offset in range(7)]
    for number in (1, 2):
        for row in rows:
            factories.attempt(row, number=number)
    seen = []

    for line in walk(alice, "/deliveries?limit=2"):
        seen.append(line["id"])
        factories.attempt(factories.parked(subscription, 100 + len(seen)))

    assert sorted(seen) == sorted(row.pk for row in rows)


def test_attempts_are_paged_newest_first(alice: Caller, subscription: Subscription) -> None:
    row = factories.parked(subscription)
    for number in range(1, 6):
        factories.attempt(row, number=number)

    assert [each["number"] for each in walk(alice, "/attempts?limit=2")] == [5, 4, 3, 2, 1]


def test_an_attempt_is_shown_whole(alice: Caller, subscription: Subscription) -> None:
    row = factories.parked(subscription)
    factories.attempt(row, outcome="http_5xx", http_status=500, response_excerpt="<b>no</b>")

    [shown] = listed(alice, "/attempts")
    answer = alice.get(f"/attempts/{shown['id']}")

    assert json_of(answer) == shown
    assert answer.headers["ETag"] == '"1"'
    assert (shown["delivery"], shown["class"]) == (row.pk, "failed")
    assert shown["timings"] == {
        "dns": 0.0,
        "tcp": 0.1,
        "tls": 0.2,
        "sent": 0.3,
        "first_byte": 1.5,
        "body": 1.6,
    }
    assert shown["response_excerpt"] == "<b>no</b>"


def test_one_delivery_is_found_however_old_it_is(alice: Caller, subscription: Subscription) -> None:
    row = factories.parked(subscription)
    factories.attempt(row, at=clock.now() - timedelta(days=20))

    answer = alice.get(f"/deliveries/{row.pk}")

    assert listed(alice) == []
    assert json_of(answer)["id"] == row.pk
    tag = answer.headers["ETag"]
    assert alice.get(f"/deliveries/{row.pk}", if_none_match=tag).status_code == 304


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("http_status=600", "out_of_range"),
        ("http_status=abc", "out_of_range"),
        ("http_status=²", "out_of_range"),
        ("limit=0", "out_of_range"),
        ("state=lost", "not_one_of"),
        ("status=503", "unknown_parameter"),
        ("since=yesterday", "out_of_range"),
        ("since=2026-01-02T00:00:00Z&until=2026-01-01T00:00:00Z", "out_of_range"),
        ("since=2020-01-01T00:00:00Z", "out_of_range"),
        ("until=0001-01-01T00:00:00Z", "out_of_range"),
        ("cursor=junk", "invalid_cursor"),
        ("topic=%00", "out_of_range"),
        ("topic=a&topic=b", "unknown_parameter"),
    ],
)
def test_bad_questions_are_refused_and_say_why(alice: Caller, query: str, code: str) -> None:
    answer = alice.get(f"/deliveries?{query}")

    assert answer.status_code == 400
    assert code in {fault["code"] for fault in json_of(answer)["errors"]}


@pytest.mark.parametrize(
    "path",
    [
        "/deliveries/msg_",
        "/deliveries/%00",
        "/deliveries/msg_' OR true--",
        "/deliveries/msg_²222222222222222222222",
        "/attempts/att_" + "z" * 26,
        "/attempts/att_" + "7" * 26,
        "/attempts/att_",
        "/attempts/att_01jd0000000000000000000000",
    ],
)
def test_an_odd_id_is_nothing(alice: Caller, path: str) -> None:
    assert alice.get(path).status_code == 404


def test_a_stranger_gets_the_404_of_nothing(
    alice: Caller, charlie: Caller, subscription: Subscription
) -> None:
    row = factories.parked(subscription)
    factories.attempt(row)
    [attempt] = listed(alice, "/attempts")

    for foreign, nothing in (
        (f"/deliveries/{row.pk}", f"/deliveries/{UNKNOWN}"),
        (f"/attempts/{attempt['id']}", f"/attempts/{ids.new('att')}"),
    ):
        theirs, none = charlie.get(foreign), charlie.get(nothing)
        assert theirs.status_code == none.status_code == 404
        assert without_request_id(theirs) == without_request_id(none)
    assert listed(charlie) == listed(charlie, "/attempts") == []


def test_a_key_for_other_topics_sees_nothing_of_this_one(
    alice: Caller, subscription: Subscription
) -> None:
    row = factories.parked(subscription)
    factories.attempt(row)
    narrow = factories.caller(alice.partner, "narrow", topics=frozenset({"other"}))
    test = factories.caller(alice.partner, "test", mode="test")

    for caller in (narrow, test):
        assert listed(caller) == listed(caller, "/attempts") == listed(caller, "/parked") == []
        assert caller.get(f"/deliveries/{row.pk}").status_code == 404
        assert caller.get(f"/parked/{row.pk}").status_code == 404


def test_positions_are_hidden_once_the_grant_is_gone(
    alice: Caller, subscription: Subscription
) -> None:
    factories.attempt(factories.parked(subscription))
    alice.partner.grants.all().delete()

    [line] = listed(alice)

    assert (line["partition"], line["offset"]) == (None, None)


def test_reading_needs_its_scope(alice: Caller) -> None:
    blind = factories.caller(alice.partner, "blind", scopes=frozenset({"webhooks:read"}))

    for path in ("/deliveries", "/attempts", "/parked"):
        assert json_of(blind.get(path))["code"] == "insufficient_scope"


def test_the_public_id_of_any_attempt_leads_back_to_it(
    alice: Caller, subscription: Subscription
) -> None:
    row = factories.parked(subscription)
    for us in range(0, 1_000_000, 99_999):
        factories.attempt(row, at=clock.now().replace(microsecond=us))

    for attempt in DeliveryAttempt.objects.filter(delivery=row.pk):
        assert alice.get(f"/attempts/{attempt.public_id}").status_code == 200


def test_a_gap_is_a_line_of_its_own_with_its_range(alice: Caller) -> None:
    factories.grant(alice.partner, factories.topic("lost").pk)
    owed = factories.subscription(alice.partner, topics=("lost",))
    told = f"msg_{'7' * 22}"
    DeliveryGap.objects.create(
        subscription=owed,
        topic="lost",
        partition=0,
        from_offset=3,
        to_offset=10,
        reason="retention",
        delivery=told,
    )
    attempt_log.write(owed, delivery=told, topic="lost", partition=-1, outcome_class="delivered")
    attempt_log.write(owed, topic="lost", outcome_class="delivered")

    [line] = json_of(alice.get("/deliveries?state=gap"))["data"]

    assert (line["id"], line["state"], line["partition"], line["offset"]) == (told, "gap", 0, 3)
    assert (line["gap"]["from"], line["gap"]["to"], line["gap"]["lost"]) == (3, 10, 7)
