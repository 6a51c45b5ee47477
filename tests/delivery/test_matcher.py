"""Who is owed a record."""

from collections.abc import Mapping
from dataclasses import replace

import pytest

from delivery.matcher import Matcher
from kafkahub.kafka.record import Record
from subscriptions.filters import syntax
from subscriptions.filters.closures import compile_filter
from subscriptions.grants import Grant
from subscriptions.live import LiveSubscription, LiveTopic, Snapshot
from tests.delivery import makers

NOW_MS = 1_795_407_600_000


def filtered(name: str, condition: Mapping[str, object], **members: object) -> LiveSubscription:
    test = compile_filter(syntax.parse(condition))
    return replace(makers.subscription(name), test=test, **members)  # type: ignore[arg-type]  # members of the dataclass, named by each test


def owed(
    record: Record, *lives: LiveSubscription, topic: LiveTopic | None = None
) -> list[tuple[str, str]]:
    """Return the subscriptions that are owed the record, with the fault found."""
    return [
        (name, fault) for name, _, fault in Matcher(world(*lives, topic=topic)).hits(record, NOW_MS)
    ]


def world(*lives: LiveSubscription, topic: LiveTopic | None = None) -> Snapshot:
    return replace(makers.snapshot(*lives), topics={makers.TOPIC: topic or makers.topic()})


def test_without_a_filter_everything_is_owed_to_everybody_as_it_is() -> None:
    record = makers.record()

    hits = Matcher(world(makers.subscription("a"), makers.subscription("b"))).hits(record, NOW_MS)

    assert [name for name, _, _ in hits] == ["a", "b"]
    assert all(seen is record for _, seen, _ in hits)


def test_a_topic_nobody_reads_is_owed_to_nobody() -> None:
    other = makers.record()
    other = Record("other", 0, 0, None, None, other.value)

    assert owed(other, makers.subscription()) == []


def test_a_filter_decides_over_each_subscription_by_itself() -> None:
    record = makers.record(value=b'{"amount":80}')

    assert owed(
        record,
        filtered("more", {"value": {"amount": {"$gte": 50}}}),
        filtered("less", {"value": {"amount": {"$lt": 50}}}),
        filtered("missing", {"value": {"other": 1}}),
        makers.subscription("all"),
    ) == [("more", ""), ("all", "")]


def test_a_value_that_cannot_be_decoded_is_parked_where_a_filter_asks_for_it() -> None:
    record = makers.record(value=b"{no json")

    assert owed(
        record,
        filtered("asks", {"value": {"amount": 1}}),
        filtered("does_not", {"topic": "orders"}),
    ) == [("asks", "undecodable"), ("does_not", "")]


@pytest.mark.parametrize(("wanted", "is_owed"), [("order.created", True), ("order.paid", False)])
def test_event_types_come_from_where_the_topic_says(wanted: str, is_owed: bool) -> None:
    topic = replace(makers.topic(), type_source="header", type_value="ce_type")
    record = makers.record(headers=(("ce_type", b"order.created"),))

    found = owed(record, makers.subscription(types=frozenset({wanted})), topic=topic)

    assert bool(found) is is_owed


def test_types_and_filter_must_both_hold() -> None:
    record = makers.record(value=b'{"amount":80}')
    wanted = {"value": {"amount": 80}}

    assert owed(
        record,
        filtered("both", wanted, types=frozenset({"orders"})),
        filtered("type_only", {"value": {"amount": 1}}, types=frozenset({"orders"})),
        filtered("filter_only", wanted, types=frozenset({"other"})),
    ) == [("both", "")]


def test_without_a_grant_nothing_is_owed() -> None:
    assert owed(makers.record(), replace(makers.subscription(), grants={})) == []


@pytest.mark.parametrize(("end_ms", "is_owed"), [(NOW_MS, False), (NOW_MS + 1, True)])
def test_a_grant_ends_at_its_time(end_ms: int, is_owed: bool) -> None:
    grant = Grant("grt_1", "ptn_1", makers.TOPIC, "read", 1, valid_until_ms=end_ms)
    live = replace(makers.subscription(), grants={makers.TOPIC: grant})

    assert bool(owed(makers.record(), live)) is is_owed


def test_a_tombstone_is_owed_where_nothing_of_the_value_is_asked() -> None:
    tombstone = makers.record(value=None)

    assert owed(
        tombstone, makers.subscription("all"), filtered("some", {"value": {"amount": 1}})
    ) == [("all", "")]


def test_a_held_lane_is_matched_all_the_same() -> None:
    """The lane decides: it may be owed what comes while it holds."""
    assert owed(makers.record(), makers.subscription(sending=False)) == [("sub_1", "")]
