"""Committed offsets of groups go to Kafka for lag tools, and come from there once."""

from collections.abc import Mapping
from datetime import timedelta

import pytest
from django.core.management import CommandError, call_command

from kafkahub import config
from kafkahub.kafka.admin import Admin
from kafkahub.kafka.faults import KafkaUnavailable
from kafkahub.kafka.options import admin_options
from subscriptions import tasks
from subscriptions.audit import Actor, ActorKind
from subscriptions.models import AuditEvent, PullGroup, PullPosition
from subscriptions.pull import groups, mirror, positions, reads
from subscriptions.pull.groups import Start
from subscriptions.pull.positions import Commit
from subscriptions.pull.rows import Name, Part
from tests import factories
from tests.conftest import MakeTopic

pytestmark = pytest.mark.django_db
ACTOR = Actor(ActorKind.SYSTEM, "tests")


class Kafka:
    """What the copy asks of Kafka, without one; ``groups`` is what was committed."""

    def __init__(self) -> None:
        self.groups: dict[str, dict[Part, int]] = {}
        self.is_away = False

    def committed(self, group: str) -> dict[Part, int]:
        return self.groups.get(group, {})

    def commit(self, group: str, offsets: Mapping[Part, int]) -> None:
        if self.is_away:
            raise KafkaUnavailable("nobody answers")
        self.groups[group] = dict(offsets)

    def topic_id(self, topic: str) -> str:
        return f"id-of-{topic}"


@pytest.fixture
def partner(db: None) -> str:
    return factories.partner().pk


def commit(partner: str, topic: str, *offsets: int) -> Name:
    """Have a group commit an offset a partition."""
    name = Name(partner, "g", "i")
    if not PullGroup.objects.filter(partner=partner).exists():
        groups.create_instance(ACTOR, name, door="v2", settings={}, timeout=timedelta(minutes=5))
        groups.assign(name, {(topic, number): Start(0) for number in range(len(offsets))})
    made = [Commit(topic, number, offset) for number, offset in enumerate(offsets)]
    positions.commit(name, made, sent_here=None)
    return name


def test_what_a_group_has_committed_is_copied_once(partner: str) -> None:
    kafka = Kafka()
    commit(partner, "orders", 7, 9)

    assert mirror.copy_out(kafka) == 1
    assert kafka.groups == {f"kafkahub.{partner}.g": {("orders", 0): 7, ("orders", 1): 9}}
    assert mirror.copy_out(kafka) == 0


def test_a_group_that_commits_again_is_copied_again(partner: str) -> None:
    kafka = Kafka()
    commit(partner, "orders", 7)
    mirror.copy_out(kafka)
    PullGroup.objects.update(mirrored_at="2026-01-01T00:00:00Z")  # the clock of one transaction
    commit(partner, "orders", 8)

    assert mirror.copy_out(kafka) == 1
    assert kafka.groups[f"kafkahub.{partner}.g"] == {("orders", 0): 8}


def test_a_copy_that_fails_holds_nobody_up(partner: str) -> None:
    kafka = Kafka()
    kafka.is_away = True
    commit(partner, "orders", 7)

    assert mirror.copy_out(kafka) == 1
    assert kafka.groups == {}


def test_a_group_is_taken_over_with_its_offsets_and_goes_on_from_there(partner: str) -> None:
    kafka = Kafka()
    kafka.groups["theirs"] = {("orders", 0): 41, ("orders", 1): 5}

    taken = mirror.take_in(kafka, ACTOR, Name(partner, "g", ""), "theirs")
    name = Name(partner, "g", "i")
    groups.create_instance(ACTOR, name, door="v2", settings={}, timeout=timedelta(minutes=5))
    groups.subscribe(name, ["orders"], "", {("orders", number): Start(90) for number in (0, 1, 2)})

    assert taken == mirror.Taken(2, 0)
    begun = reads.begin(name, receipt=None, sent_here=None)
    assert begun.positions == {("orders", 0): 41, ("orders", 1): 5, ("orders", 2): 90}
    assert begun.epochs[("orders", 0)] == "id-of-orders"
    assert AuditEvent.objects.filter(verb="subscription.imported").count() == 1


def test_what_a_group_has_committed_itself_is_not_taken_again(partner: str) -> None:
    kafka = Kafka()
    kafka.groups["theirs"] = {("orders", 0): 41, ("orders", 1): 5}
    commit(partner, "orders", 7)

    taken = mirror.take_in(kafka, ACTOR, Name(partner, "g", ""), "theirs")

    assert taken == mirror.Taken(1, 1)
    assert dict(PullPosition.objects.values_list("partition", "committed")) == {0: 7, 1: 5}


@pytest.mark.kafka
def test_a_real_kafka_keeps_the_copy_and_gives_it_back(partner: str, topic: MakeTopic) -> None:
    name, admin = topic(2), Admin(admin_options(config.load()))
    commit(partner, name, 3, 4)

    tasks.mirror_groups()
    there = admin.committed(mirror.kafka_name(partner, "g"))
    call_command("import_group", partner, "moved", source=mirror.kafka_name(partner, "g"))

    assert there == {(name, 0): 3, (name, 1): 4}
    moved = PullPosition.objects.filter(group__name="moved")
    assert dict(moved.values_list("partition", "committed")) == {0: 3, 1: 4}
    assert admin.committed("nobody-ever") == {}


def test_a_group_of_nobody_is_not_imported(db: None) -> None:
    with pytest.raises(CommandError, match="no partner"):
        call_command("import_group", "ptn_none", "g")
