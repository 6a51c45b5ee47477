"""Subscriptions by the control API; the starts are fixed on a real Kafka."""

from datetime import timedelta
from typing import Any

import pytest

from kafkahub import clock, config
from kafkahub.kafka.admin import Admin
from kafkahub.kafka.options import admin_options, producer_options
from kafkahub.kafka.producer import Producer
from subscriptions.cursor import NO_EPOCH, Cursor, TopicPosition, encode, tag
from subscriptions.models import AuditEvent, Endpoint, Grant, LanePosition, Subscription
from tests import factories
from tests.api import Caller, codes, json_of
from tests.conftest import MakeTopic

pytestmark = pytest.mark.kafka


@pytest.fixture
def orders(topic: MakeTopic, alice: Caller) -> str:
    """Return a topic of two partitions with three records, which alice may read."""
    name = topic(2)
    producer = Producer(producer_options(config.load()))
    waiting = [producer.produce(name, b"{}", partition=number) for number in (0, 0, 1)]
    for each in waiting:
        each.result(timeout=15)
    producer.close()
    factories.grant(alice.partner, name)
    return name


@pytest.fixture
def endpoint(alice: Caller) -> Endpoint:
    return factories.endpoint(alice.partner)


def lanes_of(subscription: str) -> dict[int, tuple[str, str, int]]:
    rows = LanePosition.objects.filter(subscription_id=subscription)
    return {row.partition: (row.state, row.reason, row.next_offset) for row in rows}


def make(alice: Caller, endpoint: Endpoint, orders: str, **members: object) -> dict[str, Any]:
    answer = alice.post("/subscriptions", {"endpoint": endpoint.id, "topics": [orders], **members})
    assert answer.status_code == 201, answer.content
    made: dict[str, Any] = json_of(answer)
    return made


def test_a_subscription_starts_at_the_end_of_the_log_unless_told(
    alice: Caller, endpoint: Endpoint, orders: str
) -> None:
    made = make(alice, endpoint, orders)

    assert made["start"] == "latest"
    assert made["position"] == {"offsets": {orders: {"0": 2, "1": 1}}}
    assert lanes_of(made["id"]) == {0: ("behind", "start", 2), 1: ("behind", "start", 1)}
    assert (made["status"], made["name"], made["version"]) == ("active", orders, 1)


def test_earliest_starts_at_the_first_record_there_is(
    alice: Caller, endpoint: Endpoint, orders: str
) -> None:
    made = make(alice, endpoint, orders, start="earliest")

    assert made["position"] == {"offsets": {orders: {"0": 0, "1": 0}}}


def test_a_time_starts_at_the_first_record_from_then_on(
    alice: Caller, endpoint: Endpoint, orders: str
) -> None:
    before = clock.rfc3339(clock.now() - timedelta(hours=1))

    made = make(alice, endpoint, orders, start={"time": before})

    assert made["start"] == {"time": before}
    assert made["position"] == {"offsets": {orders: {"0": 0, "1": 0}}}


def cursor_at(orders: str, offsets: dict[int, int], cluster: str = "") -> str:
    """Return a cursor as any door writes it."""
    here = cluster or Admin(admin_options(config.load())).cluster_id()
    place = TopicPosition(tag(orders), NO_EPOCH, offsets)
    token = encode(Cursor(tag(here), int(clock.now().timestamp() * 1000), (place,)))
    assert token is not None
    return token


@pytest.mark.parametrize(
    ("offsets", "begun"),
    [
        ({0: 1, 1: 1}, {"0": 1, "1": 1}),
        ({0: 99, 1: 0}, {"0": 2, "1": 0}),  # beyond the end: at the end
        ({0: 1}, {"0": 1, "1": 0}),  # a partition newer than the cursor: from its first record
    ],
)
def test_a_cursor_of_another_door_goes_on_where_it_stood(
    alice: Caller, endpoint: Endpoint, orders: str, offsets: dict[int, int], begun: dict[str, int]
) -> None:
    token = cursor_at(orders, offsets)

    made = make(alice, endpoint, orders, start={"cursor": token})

    assert made["position"] == {"offsets": {orders: begun}}
    assert made["start"] == {"cursor": token}


def test_a_cursor_of_another_cluster_goes_back_by_its_time(
    alice: Caller, endpoint: Endpoint, orders: str
) -> None:
    foreign = cursor_at(orders, {0: 99, 1: 99}, cluster="elsewhere")

    made = make(alice, endpoint, orders, start={"cursor": foreign})

    assert made["position"] == {"offsets": {orders: {"0": 0, "1": 0}}}


def test_a_forged_cursor_is_refused(alice: Caller, endpoint: Endpoint) -> None:
    body = {"endpoint": endpoint.id, "topics": ["orders"], "start": {"cursor": "AQAB"}}

    refused = alice.post("/subscriptions", body)

    assert json_of(refused)["code"] == "invalid_cursor"
    assert codes(refused) == {"/start/cursor": "invalid_cursor"}


def test_a_later_read_shows_no_start_offsets(
    alice: Caller, endpoint: Endpoint, orders: str
) -> None:
    made = make(alice, endpoint, orders)

    assert json_of(alice.get(f"/subscriptions/{made['id']}"))["position"] is None


def test_the_audit_log_tells_who_made_it(alice: Caller, endpoint: Endpoint, orders: str) -> None:
    made = make(alice, endpoint, orders)

    row = AuditEvent.objects.get(verb="subscription.created", object_id=made["id"])
    assert (row.actor_kind, row.actor, row.partner) == ("key", alice.row.id, alice.partner.id)


def test_a_filter_is_kept_as_it_was_sent(alice: Caller, endpoint: Endpoint, orders: str) -> None:
    wanted = {"value": {"amount": {"$gte": 100}}}

    assert make(alice, endpoint, orders, filter=wanted)["filter"] == wanted


def test_a_wrong_filter_is_told_with_its_place(
    alice: Caller, endpoint: Endpoint, orders: str
) -> None:
    lines = [
        b'{"endpoint": "%s", "topics": ["%s"],' % (endpoint.id.encode(), orders.encode()),
        b' "filter": {"value": {"amount": {"$gtr": 1}}}}',
    ]

    refused = alice.post("/subscriptions", b"\n".join(lines))

    assert json_of(refused)["code"] == "invalid_filter"
    fault = json_of(refused)["errors"][0]
    assert fault["pointer"] == "/filter/value/amount/$gtr"
    assert (fault["code"], fault["nearest"]) == ("unknown_operator", "$gt")
    assert (fault["line"], fault["column"]) == (2, 1 + lines[1].index(b'"$gtr"'))
    assert fault["offset"] == len(lines[0]) + 1 + lines[1].index(b'"$gtr"')


def test_faults_of_several_members_come_together(alice: Caller) -> None:
    refused = alice.post(
        "/subscriptions",
        {
            "topics": ["orders", "orders"],
            "types": ["a b"],
            "filter": {"valeu": 1},
            "format": "enveloppe",
            "include": ["id", 7],
            "ordering": "keys",
            "retry": {"schedule": [0], "jitter": 0.6, "x": 1},
            "start": {"time": "tomorrow"},
            "position": {},
        },
    )

    assert json_of(refused)["code"] == "validation_failed"
    assert codes(refused) == {
        "/topics/1": "duplicate",
        "/types/0": "not_a_type",
        "/filter/valeu": "unknown_root",
        "/format": "not_one_of",
        "/include/1": "not_one_of",
        "/ordering": "not_one_of",
        "/retry/schedule/0": "out_of_range",
        "/retry/jitter": "out_of_range",
        "/retry/x": "unknown_field",
        "/start/time": "wrong_type",
        "/position": "unknown_field",
        "/endpoint": "required",
    }


def test_members_that_do_not_go_together_are_refused(
    alice: Caller, endpoint: Endpoint, orders: str
) -> None:
    body = {"endpoint": endpoint.id, "topics": [orders], "format": "raw", "include": ["id"]}

    refused = alice.post("/subscriptions", body)

    assert json_of(refused)["code"] == "bad_combination"


def test_a_topic_that_is_unknown_or_ungranted_is_the_same_404(
    alice: Caller, endpoint: Endpoint
) -> None:
    factories.topic("secret-plans")

    answers = [
        alice.post("/subscriptions", {"endpoint": endpoint.id, "topics": [name]})
        for name in ("secret-plans", "nothing-at-all")
    ]

    assert [answer.status_code for answer in answers] == [404, 404]
    assert codes(answers[0]) == codes(answers[1]) == {"/topics/0": "not_found"}


def test_a_key_reaches_only_its_topics_and_its_mode(
    alice: Caller, endpoint: Endpoint, orders: str
) -> None:
    body = {"endpoint": endpoint.id, "topics": [orders]}
    narrow = factories.caller(alice.partner, "narrow", topics=frozenset({"other"}))
    sandbox = factories.caller(alice.partner, "sandbox", mode="test")

    assert narrow.post("/subscriptions", body).status_code == 404
    assert sandbox.post("/subscriptions", body).status_code == 404


def test_a_topic_that_kafka_does_not_have_yet_is_503_and_nothing_is_made(
    alice: Caller, endpoint: Endpoint
) -> None:
    factories.grant(alice.partner, "not-in-kafka")

    refused = alice.post("/subscriptions", {"endpoint": endpoint.id, "topics": ["not-in-kafka"]})

    assert refused.status_code == 503
    assert refused.headers["Retry-After"]
    assert not Subscription.objects.exists()


def test_pause_and_resume_hold_at_once_and_twice_is_no_fault(
    alice: Caller, endpoint: Endpoint, orders: str
) -> None:
    path = f"/subscriptions/{make(alice, endpoint, orders)['id']}"

    assert json_of(alice.post(f"{path}/pause"))["status"] == "paused"
    assert json_of(alice.post(f"{path}/pause"))["version"] == 2
    assert json_of(alice.post(f"{path}/resume"))["status"] == "active"


def test_a_merge_patch_goes_into_the_filter(alice: Caller, endpoint: Endpoint, orders: str) -> None:
    made = make(alice, endpoint, orders, filter={"value": {"a": 1, "b": 2}})

    changed = alice.patch(
        f"/subscriptions/{made['id']}",
        {"filter": {"value": {"a": None, "c": 3}}, "retry": {"jitter": 0}},
        content_type="application/merge-patch+json",
    )

    assert json_of(changed)["filter"] == {"value": {"b": 2, "c": 3}}
    assert json_of(changed)["retry"] == {**made["retry"], "jitter": 0.0}


def test_what_is_read_cannot_be_changed_afterwards(alice: Caller) -> None:
    subscription = factories.subscription(alice.partner)

    refused = alice.patch(f"/subscriptions/{subscription.id}", {"topics": ["x"], "start": "latest"})

    assert codes(refused) == {"/topics": "unknown_field", "/start": "unknown_field"}


def test_another_endpoint_must_be_the_partners_own(alice: Caller, charlie: Caller) -> None:
    subscription = factories.subscription(alice.partner)
    path = f"/subscriptions/{subscription.id}"

    refused = alice.patch(path, {"endpoint": factories.endpoint(charlie.partner).id})
    taken = alice.patch(path, {"endpoint": factories.endpoint(alice.partner).id})

    assert refused.status_code == 404
    assert taken.status_code == 200


def test_a_subscription_is_suspended_while_something_holds_it_and_says_what(
    alice: Caller,
) -> None:
    subscription = factories.subscription(alice.partner)
    path = f"/subscriptions/{subscription.id}"
    assert json_of(alice.get(path))["status"] == "active"

    alice.post(f"/endpoints/{subscription.endpoint_id}/disable")
    held = json_of(alice.get(path))
    assert (held["status"], held["status_reason"]) == ("suspended", "endpoint_disabled")
    assert json_of(alice.get("/subscriptions?status=suspended"))["data"][0]["id"] == held["id"]
    assert json_of(alice.get("/subscriptions?status=active"))["data"] == []

    alice.post(f"/endpoints/{subscription.endpoint_id}/enable")
    Grant.objects.filter(partner=alice.partner).delete()
    held = json_of(alice.get(path))
    assert (held["status"], held["status_reason"]) == ("suspended", "grant_ended")


def test_parked_records_are_given_up_only_when_that_is_said(alice: Caller) -> None:
    subscription = factories.subscription(alice.partner)
    factories.parked(subscription)
    path = f"/subscriptions/{subscription.id}"

    refused = alice.delete(path)
    assert refused.status_code == 409
    assert json_of(refused)["code"] == "in_use"
    assert json_of(refused)["detail"].startswith("1 parked")

    assert alice.delete(f"{path}?discard_parked=true").status_code == 204
    assert alice.get(path).status_code == 404


def test_a_dry_run_checks_everything_and_changes_nothing(
    alice: Caller, endpoint: Endpoint, orders: str
) -> None:
    body = {"endpoint": endpoint.id, "topics": [orders]}

    good = alice.post("/subscriptions?dry_run=true", body)
    bad = alice.post("/subscriptions?dry_run=true", {**body, "topics": []})

    assert (good.status_code, json_of(good)["warnings"]) == (200, [])
    assert bad.status_code == 400
    assert not Subscription.objects.exists()
    assert not AuditEvent.objects.filter(verb="subscription.created").exists()


def test_lists_are_filtered_by_endpoint_and_topic(alice: Caller) -> None:
    one = factories.subscription(alice.partner)
    two = factories.subscription(alice.partner, topics=("stock",))

    def ids_of(query: str) -> list[str]:
        return [each["id"] for each in json_of(alice.get(f"/subscriptions?{query}"))["data"]]

    assert ids_of(f"endpoint={one.endpoint_id}") == [one.id]
    assert ids_of("topic=stock") == [two.id]
    assert ids_of("topic=nothing") == []


BATCH = {"max_records": 100, "max_wait_ms": 500, "max_bytes": 65_536, "partial": True}


def test_a_batch_has_its_limits_and_ends_with_null(
    alice: Caller, endpoint: Endpoint, orders: str
) -> None:
    made = make(alice, endpoint, orders, batch={"max_records": 100}, ordering="key")
    assert made["batch"] == {
        "max_records": 100,
        "max_wait_ms": 1_000,
        "max_bytes": 262_144,
        "partial": False,
    }

    changed = alice.patch(f"/subscriptions/{made['id']}", {"batch": BATCH})
    assert json_of(changed)["batch"] == BATCH
    ended = alice.patch(f"/subscriptions/{made['id']}", {"batch": None})

    assert json_of(ended)["batch"] is None


@pytest.mark.parametrize("form", ["raw", "cloudevents_binary"])
def test_records_without_ids_are_not_batched(
    alice: Caller, endpoint: Endpoint, orders: str, form: str
) -> None:
    body = {"endpoint": endpoint.id, "topics": [orders], "format": form, "batch": BATCH}
    refused = alice.post("/subscriptions", body)

    assert codes(refused) == {"/batch": "bad_combination"}
    made = make(alice, endpoint, orders, batch=BATCH)
    later = alice.patch(f"/subscriptions/{made['id']}", {"format": form})
    assert codes(later) == {"/batch": "bad_combination"}


@pytest.mark.parametrize(
    ("batch", "pointer", "code"),
    [
        ({}, "/batch/max_records", "required"),
        ({"max_records": 1_001}, "/batch/max_records", "out_of_range"),
        ({"max_records": 1, "max_wait_ms": 60_001}, "/batch/max_wait_ms", "out_of_range"),
        ({"max_records": 1, "max_bytes": 2_000_000}, "/batch/max_bytes", "out_of_range"),
        ({"max_records": 1, "x": 1}, "/batch/x", "unknown_field"),
        (7, "/batch", "wrong_type"),
    ],
)
def test_a_batch_beyond_its_limits_is_refused(
    alice: Caller, endpoint: Endpoint, orders: str, *, batch: object, pointer: str, code: str
) -> None:
    refused = alice.post(
        "/subscriptions", {"endpoint": endpoint.id, "topics": [orders], "batch": batch}
    )

    assert codes(refused) == {pointer: code}
