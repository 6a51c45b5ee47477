"""What people do to replays; each one transaction, audited."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import timedelta

from django.db import transaction
from django.db.models import F

from delivery import seeking
from delivery.models import DeliveryGap
from kafkahub import clock
from kafkahub.errors import Conflict, Fault, Invalid, LimitReached
from kafkahub.kafka.admin import Admin
from subscriptions import audit, notices, starts
from subscriptions.actions.rows import lock
from subscriptions.audit import Actor, ActorKind, Subject, Verb
from subscriptions.models import (
    Endpoint,
    Partner,
    Replay,
    ReplayLane,
    ReplayProgress,
    Subscription,
)
from subscriptions.notice_types import Kind
from subscriptions.starts import FirstFailure, Latest, Offsets, Start

State = Replay.State
PER_SUBSCRIPTION, PER_PARTNER = 2, 5
"""Replays that may be open at once."""
SYSTEM = Actor(ActorKind.SYSTEM, "delivery.keep_replays")
KEPT, GAPS_KEPT = timedelta(days=30), timedelta(days=90)
"""How long replays are kept after their end, and gaps after they were found."""
TOLD_FOR = timedelta(hours=1)
"""How long the end of a replay is news."""
FIGURES = ("sent", "delivered", "failed", "parked")
READY_FOR = timedelta(hours=1)
"""How long one that is counted waits to be started."""
ALLOWED: Mapping[str, str] = {
    State.COUNTING: "cancel",
    State.READY: "start and cancel",
    State.RUNNING: "pause and cancel",
    State.PAUSED: "resume and cancel",
}
"""What each state allows, as the refusal of anything else says it."""

Span = tuple[int, int]
Spans = Mapping[tuple[str, int], Span]
"""First offset and end by topic and partition."""


@dataclass(frozen=True, slots=True)
class Wish:
    """A replay as it was asked for.

    source    ``{"kafka": …}`` or ``{"parked": …}``, as JSON
    endpoint  None for the subscription's own
    """

    kind: str
    source: Mapping[str, object]
    filter: Mapping[str, object] = field(default_factory=dict)
    endpoint: Endpoint | None = None
    only_missing: bool = False
    rate_per_s: float | None = None
    auto_start: bool = False


def spans(subscription: Subscription, first: Start, last: Start, admin: Admin, at: str) -> Spans:
    """Return what lies between two places, by partition; partitions not named are left out.

    at  where ``from`` and ``to`` stand in the body

    Asks Kafka, so it must not run inside a transaction. Raises Invalid for a place that the log
    does not have, or an end before the beginning.
    """
    begin = _fixed(subscription, first, admin, f"{at}/from")
    end = _fixed(subscription, last, admin, f"{at}/to")
    found = {place: (begin[place], end[place]) for place in begin.keys() & end.keys()}
    if any(low > high for low, high in found.values()):
        text = "The end lies before the beginning."
        raise Invalid([Fault(f"{at}/to", "out_of_range", text)])
    return {place: span for place, span in sorted(found.items()) if span[0] < span[1]}


def _fixed(
    subscription: Subscription, place: Start, admin: Admin, at: str
) -> Mapping[tuple[str, int], int]:
    if isinstance(place, FirstFailure):
        return seeking.targets(subscription, place, admin, at=at)
    topics: Collection[str] = subscription.topics
    if isinstance(place, Offsets):
        topics = [topic for topic in topics if topic in place.of]
    return starts.fix(place, topics, admin, at=at, is_strict=not isinstance(place, Latest))


def create(actor: Actor, subscription: Subscription, wish: Wish, where: Spans) -> Replay:
    """Make a replay, to be counted by a job. Raises LimitReached."""
    with transaction.atomic():
        lock(Partner(pk=subscription.partner_id))
        _check_limits(subscription)
        replay = Replay.objects.create(
            partner_id=subscription.partner_id,
            subscription=subscription,
            endpoint=wish.endpoint,
            kind=wish.kind,
            source=wish.source,
            filter=wish.filter,
            only_missing=wish.only_missing,
            rate_per_s=wish.rate_per_s,
            auto_start=wish.auto_start,
        )
        ReplayProgress.objects.create(replay=replay)
        ReplayLane.objects.bulk_create(
            ReplayLane(
                replay=replay,
                topic=topic,
                partition=partition,
                from_offset=first,
                next_offset=first,
                end_offset=end,
                counted_to=first,
            )
            for (topic, partition), (first, end) in where.items()
        )
        shown = {"subscription": (None, subscription.pk), "source": (None, dict(wish.source))}
        audit.append(actor, Verb.REPLAY_CREATED, subject(replay), shown)
    return replay


def _check_limits(subscription: Subscription) -> None:
    open_ = Replay.objects.filter(  # by replay_open
        partner_id=subscription.partner_id, state__in=Replay.OPEN
    )
    if open_.filter(subscription=subscription).count() >= PER_SUBSCRIPTION:
        raise LimitReached(f"A subscription may have {PER_SUBSCRIPTION} replays that are not over.")
    if open_.count() >= PER_PARTNER:
        raise LimitReached(f"A partner may have {PER_PARTNER} replays that are not over.")


def start(actor: Actor, replay: Replay) -> Replay:
    """Let a counted replay run."""
    return _move(actor, replay, {State.READY}, State.RUNNING, Verb.REPLAY_STARTED)


def pause(actor: Actor, replay: Replay) -> Replay:
    """Send nothing more of it until it is resumed."""
    return _move(actor, replay, {State.RUNNING}, State.PAUSED, Verb.REPLAY_PAUSED)


def resume(actor: Actor, replay: Replay) -> Replay:
    """Go on where it was paused."""
    return _move(actor, replay, {State.PAUSED}, State.RUNNING, Verb.REPLAY_RESUMED)


def cancel(actor: Actor, replay: Replay, reason: str = "") -> Replay:
    """End it; what it has sent stays sent."""
    return _move(
        actor, replay, set(Replay.OPEN), State.CANCELLED, Verb.REPLAY_CANCELLED, reason=reason
    )


def fail(actor: Actor, replay: Replay, reason: str) -> Replay:
    """End it because it cannot go on."""
    return _move(actor, replay, set(Replay.OPEN), State.FAILED, Verb.REPLAY_FAILED, reason=reason)


def counted(replay: Replay) -> bool:
    """Let a replay whose dry run is over be started, or start it; False when it is not counting."""
    now = clock.now()
    values: dict[str, object] = {"state": State.READY, "ready_at": now}
    if replay.auto_start:
        values = {"state": State.RUNNING, "ready_at": now, "started_at": now}
    counting = Replay.objects.filter(pk=replay.pk, state=State.COUNTING)
    return counting.update(**values, version=F("version") + 1) == 1


def end_empty() -> int:
    """End running replays that have nothing left to send; return how many.

    Engines do the same with their last checkpoint, but one that never had a lane has no engine.
    """
    left = ReplayLane.objects.filter(next_offset__lt=F("end_offset")).values("replay_id")
    over = Replay.objects.filter(state=State.RUNNING, kind=Replay.Source.KAFKA)
    return over.exclude(pk__in=left).update(
        state=State.DONE, ended_at=clock.now(), version=F("version") + 1
    )


def cancel_unstarted() -> int:
    """Cancel counted replays that nobody has started in time; return how many."""
    late = Replay.objects.filter(state=State.READY, ready_at__lt=clock.now() - READY_FOR)
    for replay in late:
        cancel(SYSTEM, replay, "It was not started within an hour.")
    return len(late)


def tell_ended() -> int:
    """Tell partners of replays that have ended; return how many."""
    told = 0
    recently = clock.now() - TOLD_FOR
    ended = Replay.objects.filter(state__in=[State.DONE, State.FAILED], ended_at__gt=recently)
    for replay in ended.select_related("progress"):
        kind = Kind.REPLAY_DONE if replay.state == State.DONE else Kind.REPLAY_FAILED
        figures = replay.progress
        counts = {name: getattr(figures, name) for name in FIGURES}
        members = {"replay": replay.pk, "subscription": replay.subscription_id, "counts": counts}
        with transaction.atomic():
            told += notices.write(kind, replay.partner_id, members, episode=replay.pk) is not None
    return told


def expire(limit: int) -> int:
    """Delete up to ``limit`` replays and gaps that are over for long; return how many went."""
    now, gone = clock.now(), 0
    for old in (
        Replay.objects.filter(ended_at__lt=now - KEPT),
        DeliveryGap.objects.filter(found_at__lt=now - GAPS_KEPT, announced_at__isnull=False),
    ):
        slice_ids = list(old.order_by("pk").values_list("pk", flat=True)[:limit])
        gone += len(slice_ids)
        if slice_ids:
            old.model._default_manager.filter(pk__in=slice_ids).delete()
    return gone


def subject(replay: Replay) -> Subject:
    """Return a replay as the audit log names it."""
    return Subject("replay", replay.pk, replay.partner_id)


def _move(
    actor: Actor,
    replay: Replay,
    before: Collection[State],
    after: State,
    verb: Verb,
    *,
    reason: str = "",
) -> Replay:
    """Change the state; what holds already is left, and what it forbids raises Conflict."""
    with transaction.atomic():
        row = lock(replay)
        if row.state == after:
            return row
        if row.state not in before:
            allowed = ALLOWED.get(row.state, "nothing: it is over")
            raise Conflict(f"The replay is {row.state}; that state allows {allowed}.")
        changes = {"state": (row.state, after.value)}
        row.state, row.reason, row.version = after, reason, row.version + 1
        now = clock.now()
        if after is State.RUNNING and row.started_at is None:
            row.started_at = now
        if after not in Replay.OPEN:
            row.ended_at = now
        row.save(update_fields=["state", "reason", "version", "started_at", "ended_at"])
        audit.append(actor, verb, subject(row), changes, reason)
    return row
