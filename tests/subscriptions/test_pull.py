"""Pull groups in PostgreSQL: leases, owners, commits and their fences."""

from datetime import timedelta
from uuid import UUID, uuid4

import pytest
from django.db import connection
from hypothesis import given
from hypothesis import strategies as st

from subscriptions.audit import Actor, ActorKind
from subscriptions.models import AuditEvent, PullInstance, Subscription
from subscriptions.pull import groups, lists, ownership, positions, reads
from subscriptions.pull.groups import Start
from subscriptions.pull.positions import Commit
from subscriptions.pull.reads import Begun, Range
from subscriptions.pull.rows import (
    IllegalState,
    InstanceExists,
    InstanceGone,
    Name,
    NotSettled,
    Part,
)
from subscriptions.pull.sharing import share
from subscriptions.snapshot import load
from tests import factories

TOPIC = "orders"
STARTS = {(TOPIC, number): Start(10) for number in range(3)}


@pytest.fixture
def partner(db: None) -> str:
    owner = factories.partner()
    factories.grant(owner)
    return owner.pk


def join(partner: str, instance: str = "a", *, group: str = "g", commit: bool = True) -> Name:
    name = Name(partner, group, instance)
    actor = Actor(ActorKind.SYSTEM, "tests")
    settings = {"auto_commit": commit, "format": "json", "reset": "latest"}
    groups.create_instance(actor, name, door="v2", settings=settings, timeout=timedelta(minutes=5))
    groups.subscribe(name, [TOPIC], "", STARTS)
    return name


def begin(name: Name, receipt: int | None = None, *, sent: tuple[UUID, int] | None = None) -> Begun:
    return reads.begin(name, receipt=receipt, sent_here=sent)


def hand_out(begun: Begun, part: Part, count: int) -> int:
    start = begun.positions[part]
    assert start is not None
    seq = reads.hand_out(begun, [Range(*part, start, start + count)])
    assert seq is not None
    return seq


PART = (TOPIC, 0)


def test_a_group_is_a_subscription_that_sends_nothing(partner: str) -> None:
    join(partner)

    (row,) = Subscription.objects.filter(partner_id=partner)
    assert (row.mode, row.endpoint, row.topics) == ("pull", None, [TOPIC])
    assert AuditEvent.objects.filter(verb="subscription.created", object_id=row.pk).exists()
    assert row.pk not in load(None).subscriptions


def test_a_name_is_taken_while_its_instance_lives(partner: str) -> None:
    name = join(partner)

    with pytest.raises(InstanceExists):
        join(partner)
    _expire(name)
    join(partner)


def _expire(name: Name) -> None:
    PullInstance.objects.filter(name=name.instance).update(last_seen="2020-01-01T00:00:00Z")


def test_what_was_sent_is_settled_by_the_next_read(partner: str) -> None:
    name = join(partner)
    first = begin(name)
    seq = hand_out(first, PART, 5)
    reads.mark_sent([(first.instance.id, seq)])

    second = begin(name)

    assert second.positions[PART] == 15
    assert second.again == []
    assert [one.position for one in positions.committed(name, None)] == [15]


def test_what_was_not_sent_is_handed_out_again_after_a_second(partner: str) -> None:
    name = join(partner)
    hand_out(begin(name), PART, 5)

    with pytest.raises(NotSettled):
        begin(name)
    with connection.cursor() as cursor:
        cursor.execute("UPDATE pull_lease SET created_at = now() - interval '2 seconds'")
    again = begin(name)

    assert list(again.again) == [Range(TOPIC, 0, 10, 15)]
    assert again.positions[PART] == 10
    assert positions.committed(name, None) == []


@pytest.mark.parametrize(("receipt", "is_settled"), [(1, True), (0, False)])
def test_a_receipt_says_what_really_came(partner: str, receipt: int, is_settled: bool) -> None:
    name = join(partner)
    first = begin(name)
    seq = hand_out(first, PART, 5)
    reads.mark_sent([(first.instance.id, seq)])

    second = begin(name, receipt)

    assert (second.positions[PART] == 15) is is_settled
    assert bool(second.again) is not is_settled


def test_a_process_knows_what_it_sent_itself(partner: str) -> None:
    name = join(partner)
    first = begin(name)
    seq = hand_out(first, PART, 5)

    assert begin(name, sent=(first.instance.id, seq)).positions[PART] == 15


def test_the_newer_of_two_reads_wins(partner: str) -> None:
    name = join(partner)
    older, newer = begin(name), begin(name)

    assert reads.hand_out(older, [Range(TOPIC, 0, 10, 11)]) is None
    assert reads.hand_out(newer, [Range(TOPIC, 0, 10, 11)]) == 1


def test_a_seek_forgets_what_is_on_its_way(partner: str) -> None:
    name = join(partner)
    begun = begin(name)

    positions.seek(name, {PART: 3})

    assert reads.hand_out(begun, [Range(TOPIC, 0, 10, 11)]) is None
    assert begin(name).positions[PART] == 3


def test_a_second_instance_takes_its_share_from_where_the_group_stands(partner: str) -> None:
    first = join(partner)
    begun = begin(first)
    seq = reads.hand_out(begun, [Range(*part, 10, 12) for part in STARTS])
    assert seq is not None
    reads.mark_sent([(begun.instance.id, seq)])

    second = join(partner, "b")
    taken = begin(second).positions

    assert len(taken) == 1
    assert set(taken.values()) == {12}
    assert len(begin(first).positions) == 2


def test_an_expired_instance_loses_all_and_settles_nothing(partner: str) -> None:
    first, second = join(partner), join(partner, "b")
    begun = begin(first)
    part = next(iter(begun.positions))
    hand_out(begun, part, 2)
    _expire(first)

    assert len(begin(second).positions) == 3
    assert begin(second).positions[part] == 10
    with pytest.raises(InstanceGone):
        positions.commit(first, [Commit(*part, 12)], sent_here=None)
    with pytest.raises(InstanceGone):
        begin(first)


def test_a_commit_for_a_lost_partition_changes_nothing(partner: str) -> None:
    first = join(partner)
    assert len(begin(first).positions) == 3
    second = join(partner, "b")
    (lost,) = begin(second).positions
    kept = next(part for part in STARTS if part != lost)

    with pytest.raises(IllegalState):
        positions.commit(first, [Commit(*kept, 11), Commit(*lost, 11)], sent_here=None)

    assert positions.committed(first, None) == []


def test_a_partition_that_came_back_begins_anew(partner: str) -> None:
    first = join(partner, commit=False)
    begun = begin(first)
    second = join(partner, "b")
    (moved,) = begin(second).positions
    positions.commit(second, [Commit(*moved, 42)], sent_here=None)
    groups.delete(second)

    assert begun.positions[moved] == 10
    assert begin(first).positions[moved] == 42


def test_a_commit_of_all_covers_what_arrived_only(partner: str) -> None:
    name = join(partner, commit=False)
    begun = begin(name)
    seq = hand_out(begun, PART, 5)

    with pytest.raises(NotSettled):
        positions.commit(name, None, sent_here=None)
    positions.commit(name, None, sent_here=(begun.instance.id, seq))

    assert [one.position for one in positions.committed(name, None)] == [15]


def test_what_arrived_last_is_committed_when_an_instance_ends(partner: str) -> None:
    """The answer's mark may still be on its way: without it the next instance read it again."""
    name = join(partner)
    begun = begin(name)
    seq = hand_out(begun, PART, 5)

    with pytest.raises(NotSettled):
        groups.delete(name)
    groups.delete(name, sent_here=(begun.instance.id, seq))

    assert begin(join(partner, "b")).positions[PART] == 15


def test_an_instance_without_auto_commit_ends_at_once_and_commits_nothing(partner: str) -> None:
    name = join(partner, commit=False)
    hand_out(begin(name), PART, 5)

    groups.delete(name)

    assert begin(join(partner, "b")).positions[PART] == 10


def test_assigned_partitions_are_nobodys(partner: str) -> None:
    name, other = Name(partner, "g", "a"), Name(partner, "g", "b")
    actor = Actor(ActorKind.SYSTEM, "tests")
    for one in (name, other):
        groups.create_instance(actor, one, door="v2", settings={}, timeout=timedelta(minutes=5))
        groups.assign(one, {PART: Start(7)})

    positions.commit(name, [Commit(*PART, 20)], sent_here=None)
    positions.commit(other, [Commit(*PART, 15)], sent_here=None)

    assert begin(name).positions == begin(other).positions == {PART: 7}
    assert [one.position for one in positions.committed(name, None)] == [15]


def test_new_partitions_are_taken_up_from_their_start(partner: str) -> None:
    name = join(partner)
    begin(name)

    groups.widen(name, [TOPIC], {(TOPIC, 3): Start(0), PART: Start(99)})

    found = begin(name).positions
    assert (found[TOPIC, 3], found[PART]) == (0, 10)


def test_the_job_removes_instances_that_have_ended(partner: str) -> None:
    name = join(partner)
    _expire(name)

    ownership.expire(100)

    (group,) = lists.groups(partner)
    assert lists.members(group.id) == []
    assert {row.owner for row in lists.positions(group.id)} == {None}


MEMBERS = st.dictionaries(
    st.integers(0, 5).map(lambda number: UUID(int=number)),
    st.frozensets(st.sampled_from("ab"), min_size=1),
    max_size=6,
)
PARTS = st.frozensets(st.tuples(st.sampled_from("ab"), st.integers(0, 9)))


@given(MEMBERS, PARTS, PARTS)
def test_every_partition_that_is_wanted_has_one_owner_that_wants_it(
    members: dict[UUID, frozenset[str]], parts: frozenset[Part], old: frozenset[Part]
) -> None:
    before = share(old, members, {})
    owners = share(parts, members, before)

    assert owners.keys() == parts
    for part, owner in owners.items():
        wanting = [one for one, topics in members.items() if part[0] in topics]
        assert (owner in wanting) if wanting else owner is None


@given(st.integers(1, 6), PARTS)
def test_equal_instances_have_equal_shares_and_keep_them(
    count: int, parts: frozenset[Part]
) -> None:
    members = {uuid4(): frozenset("ab") for _ in range(count)}

    owners = share(parts, members, {})

    held = [list(owners.values()).count(one) for one in members]
    assert max(held) <= -(-len(parts) // count)
    assert share(parts, members, owners) == owners
