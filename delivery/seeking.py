"""A person moves a subscription: back, to be sent again, or forward, past what it gives up."""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from django.db import connection, transaction
from django.db.models import F
from psycopg import Cursor

from delivery import announcements, failures, gaps, ledger, parking
from delivery.forms import Naming
from delivery.gap_notices import Of, noticed
from delivery.gaps import Noticed
from delivery.models import DeliveryGap, PartitionPosition
from kafkahub import clock, config, crypto
from kafkahub.errors import Conflict
from kafkahub.kafka.admin import Admin
from subscriptions import audit, starts
from subscriptions.actions.rows import lock
from subscriptions.audit import Actor, Verb
from subscriptions.cursor import tag
from subscriptions.grant_rows import live_grant
from subscriptions.models import Grant, LanePosition, Subscription
from subscriptions.rows import live_topic
from subscriptions.starts import FirstFailure, Offsets, Start, Starts

# clock_timestamp(), for the transaction may have waited: what was delivered meanwhile is older.
MOVE = """
UPDATE lane_position
   SET state = 'behind', reason = 'seek', next_offset = %(next_offset)s, ahead = '{}',
       head_attempts = 0, not_before = NULL, since = clock_timestamp(), seeks = seeks + 1,
       updated_at = now()
 WHERE id = %(id)s
"""  # the primary key

# Of an older pass: the lane reads these records again, and sends them as they are now.
FORGET_DEAD = """
DELETE FROM parked_delivery
 WHERE subscription_id = %(subscription)s AND topic = %(topic)s AND partition = %(partition)s
   AND generation = %(generation)s AND "offset" >= %(next_offset)s AND state = 'dead'
"""  # parked_once (subscription, topic, partition, generation, offset)


class Move(NamedTuple):
    """One lane, where it stands, and where it shall."""

    lane: LanePosition
    generation: int
    before: int
    after: int


def targets(subscription: Subscription, to: Start, admin: Admin, *, at: str) -> Starts:
    """Return where each partition shall stand; what is not named stays.

    Asks Kafka, so it must not run inside a transaction. Raises what ``starts.fix`` does.
    """
    if isinstance(to, FirstFailure):
        found = failures.first(subscription.pk)
        to = Offsets(found) if found else to
    return starts.fix(to, subscription.topics, admin, at=at)


def naming(admin: Admin) -> Naming:
    """Return what webhook ids are made from; asks Kafka for the cluster's name."""
    settings = config.load()
    key = crypto.parse_key(settings.id_key.get_secret_value())
    return Naming(key, admin.cluster_id(), settings.base_url)


def seek(actor: Actor, subscription: Subscription, to: Start, where: Starts, names: Naming) -> int:
    """Move the lanes of a subscription to ``where``; return how many have moved.

    A running engine hears it with the snapshot, and moves what it has in memory; a write that it
    makes before that changes nothing, for the lane's ``seeks`` has risen. Raises Conflict while
    a topic waits for a person's consent.
    """
    with transaction.atomic():
        row = lock(subscription)
        moves = [move for move in _moves(row, where) if move.before != move.after]
        for move in moves:
            _move(move)
        Subscription.objects.filter(pk=row.pk).update(seeks=F("seeks") + 1)
        changes = {"to": (None, starts.as_json(to)), "lanes": (None, len(moves))}
        audit.append(actor, Verb.SUBSCRIPTION_SEEKED, row, changes)
        _announce(actor, row, [move for move in moves if move.after > move.before], names)
    return len(moves)


def _moves(row: Subscription, where: Starts) -> list[Move]:
    # Floors before lanes, as a checkpoint locks them.
    floors = {
        (one.topic, one.partition): one
        for one in PartitionPosition.objects.select_for_update(no_key=True).filter(
            topic__in=row.topics
        )
    }
    lanes = LanePosition.objects.select_for_update(no_key=True).filter(subscription=row)
    found = []
    for lane in lanes.order_by("topic", "partition"):
        place = (lane.topic, lane.partition)
        if place not in where:
            continue
        if lane.reason == LanePosition.Reason.RECREATED:
            raise Conflict(f"{lane.topic} was made again; an operator has to accept it first.")
        floor = floors.get(place)
        before = lane.next_offset
        if lane.state == LanePosition.State.LIVE and floor is not None:
            before = max(before, floor.next_offset)
        generation = 1 if floor is None else floor.generation
        found.append(Move(lane, generation, before, where[place]))
    return found


def _move(move: Move) -> None:
    lane = move.lane
    with connection.cursor() as cursor:
        cursor.execute(MOVE, {"id": lane.pk, "next_offset": move.after})
        if move.after < move.before:
            place: dict[str, str | int] = {
                "subscription": lane.subscription_id,
                "topic": lane.topic,
                "partition": lane.partition,
                "generation": move.generation,
                "next_offset": move.after,
            }
            cursor.execute(FORGET_DEAD, place)


def _announce(actor: Actor, row: Subscription, moves: Iterable[Move], names: Naming) -> None:
    """Tell of what was passed: to the log, the partner, and the subscription itself."""
    grants = _grants(row)
    found = [_skipped(row, move, grants, names) for move in moves]
    if not found:
        return
    with connection.connection.cursor() as cur:
        fresh = _write(cur, found)
    for gap in DeliveryGap.objects.filter(pk__in=fresh).select_related("subscription"):
        audit.append(actor, Verb.GAP_FOUND, row, announcements.changes(gap))
        announcements.tell(gap, tag(names.cluster))
    DeliveryGap.objects.filter(pk__in=fresh).update(announced_at=clock.now())


def _write(cur: Cursor[tuple[object, ...]], found: list[Noticed]) -> set[str]:
    fresh = gaps.insert(cur, [one.gap for one in found])
    notices = [one.notice for one in found if one.gap.id in fresh and one.notice is not None]
    ledger.park(cur, notices, kept_days=config.load().dead_letters_kept_days)
    cur.execute(parking.RING)
    return fresh


def _skipped(row: Subscription, move: Move, grants: Mapping[str, Grant], names: Naming) -> Noticed:
    topic = move.lane.topic
    grant = grants.get(topic)
    lane = Of(
        row.pk,
        row.partner_id,
        topic,
        move.lane.partition,
        move.generation,
        None if grant is None else live_grant(grant, live_topic(grant.topic)),
    )
    reason = DeliveryGap.Reason.SKIPPED.value
    return noticed(names, lane, from_offset=move.before, to_offset=move.after, reason=reason)


def _grants(row: Subscription) -> dict[str, Grant]:
    alive = Grant.objects.alive().filter(
        partner_id=row.partner_id, topic_id__in=row.topics, action=Grant.Action.READ
    )
    return {grant.topic_id: grant for grant in alive.select_related("topic")}
