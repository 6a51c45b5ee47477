"""The partner's own numbers: every door in one list, and nobody else's."""

from datetime import timedelta

import pytest

from kafkahub import clock, config
from kafkahub.kafka.options import producer_options
from kafkahub.kafka.producer import Producer
from subscriptions.audit import Actor, ActorKind
from subscriptions.models import UsageHour
from subscriptions.pull import groups, positions, reads
from subscriptions.pull.groups import Start
from subscriptions.pull.positions import Commit
from subscriptions.pull.reads import Range
from subscriptions.pull.rows import Name
from tests import factories
from tests.api import Caller, json_of
from tests.conftest import MakeTopic

pytestmark = pytest.mark.kafka


@pytest.fixture
def pulling(alice: Caller, topic: MakeTopic) -> tuple[Name, str]:
    """Return an instance of a group, and its topic, to which 5 records were written."""
    name = topic(1)
    factories.grant(alice.partner, name)
    producer = Producer(producer_options(config.load()))
    for number in range(5):
        producer.produce(name, b"%d" % number).result(20)
    producer.close()
    own = Name(alice.partner.pk, "group", "one")
    actor = Actor(ActorKind.SYSTEM, "tests")
    groups.create_instance(actor, own, door="v2", settings={}, timeout=timedelta(minutes=5))
    groups.subscribe(own, [name], "", {(name, 0): Start(0)})
    return own, name


def test_a_groups_lag_is_end_less_committed(alice: Caller, pulling: tuple[Name, str]) -> None:
    own, name = pulling
    begun = reads.begin(own, receipt=None, sent_here=None)
    positions.commit(own, [Commit(name, 0, 2)], sent_here=None)
    reads.skip(begun, Range(name, 0, 0, 1), "retention", 1)

    (shown,) = json_of(alice.get("/stats"))["subscriptions"]

    assert (shown["mode"], shown["state"], shown["name"]) == ("pull", "behind", "group")
    (told,) = shown["topics"]
    assert told["lag_records"] == 3
    assert told["partitions"] == [{"partition": 0, "committed": 2, "end": 5, "lag": 3}]
    (gap,) = shown["gaps"]
    assert (gap["from"], gap["to"], gap["lost"], gap["reason"]) == (0, 1, 1, "retention")
    assert json_of(alice.get(f"/subscriptions/{shown['id']}/stats")) == shown


def test_who_has_read_up_is_live(alice: Caller, pulling: tuple[Name, str]) -> None:
    own, name = pulling
    reads.begin(own, receipt=None, sent_here=None)
    positions.commit(own, [Commit(name, 0, 5)], sent_here=None)

    (shown,) = json_of(alice.get("/stats"))["subscriptions"]

    assert shown["state"] == "live"
    assert (shown["topics"][0]["lag_records"], shown["topics"][0]["lag_seconds"]) == (0, 0.0)


def test_what_was_written_failed_and_was_lost_is_told_by_topic(alice: Caller) -> None:
    hour = clock.now().replace(minute=0, second=0, microsecond=0)
    for door in ("rest", "grpc"):
        UsageHour.objects.create(
            partner=alice.partner,
            hour=hour,
            door=door,
            topic="orders",
            records_in=3,
            records_failed=2,
            records_unknown=1,
            records_lost=1,
        )
    UsageHour.objects.create(
        partner=alice.partner, hour=hour, door="sse", topic="read", records_out=9
    )

    told = json_of(alice.get("/stats"))["produce"]

    assert told == [
        {
            "topic": "orders",
            "written_24h": 6,
            "failed_24h": 4,
            "unknown_24h": 2,
            "lost_unconfirmed_24h": 2,
        }
    ]


def test_webhooks_and_limits_stand_beside(alice: Caller, charlie: Caller) -> None:
    row = factories.subscription(alice.partner)
    factories.attempt(factories.parked(row))

    found = json_of(alice.get("/stats"))

    (shown,) = found["subscriptions"]
    assert (shown["id"], shown["mode"], shown["failed_24h"]) == (row.pk, "webhook", 1)
    assert shown["topics"][0]["parked"] == 1
    assert {"name", "limit", "remaining", "reset_s"} == set(found["limits"][0])
    assert json_of(charlie.get("/stats"))["subscriptions"] == []
    assert charlie.get(f"/subscriptions/{row.pk}/stats").status_code == 404
