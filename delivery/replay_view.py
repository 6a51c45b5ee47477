"""A replay as it is shown: its state, what was counted, how far it is, what it waits for."""

from collections.abc import Mapping

from delivery.models import DeliveryAttempt, DeliveryGap
from kafkahub import clock
from subscriptions.models import Endpoint, LanePosition, Replay, ReplayLane, Subscription

RECENT = 100
"""Attempts whose time tells how long the next ones will take."""


def shown(replay: Replay) -> dict[str, object]:
    """Return everything the API says of a replay, as ``ReplayOut`` takes it."""
    lanes = list(ReplayLane.objects.filter(replay=replay))
    return {
        "id": replay.pk,
        "state": replay.state,
        "reason": replay.reason or None,
        "blocked_by": blocked_by(replay),
        "subscription": replay.subscription_id,
        "endpoint": replay.endpoint_id,
        "source": replay.source,
        "filter": replay.filter,
        "only_missing": replay.only_missing,
        "rate_per_s": replay.rate_per_s,
        "auto_start": replay.auto_start,
        "dry_run": None if replay.state == Replay.State.COUNTING else dry_run(replay),
        "progress": progress(replay, lanes),
        "gaps": list(DeliveryGap.objects.filter(replay=replay.pk).order_by("found_at")),
        "version": replay.version,
        "created_at": replay.created_at,
        "started_at": replay.started_at,
        "ended_at": replay.ended_at,
    }


def dry_run(replay: Replay) -> Mapping[str, object]:
    """Return what was counted."""
    figures = replay.progress
    is_ordered = replay.subscription.ordering != Subscription.Ordering.NONE
    holds = is_ordered and replay.kind == Replay.Source.KAFKA and not replay.only_missing
    return {
        "count": figures.count,
        "exact": figures.is_exact,
        "bytes": figures.bytes,
        "duration_s": _duration_s(replay, figures.count),
        "first_at": figures.first_at,
        "last_at": figures.last_at,
        "already_delivered": figures.already_delivered,
        "order": "holds" if holds else "late",
    }


def progress(replay: Replay, lanes: list[ReplayLane]) -> Mapping[str, object]:
    """Return how far a replay is; engines write it with every checkpoint."""
    figures = replay.progress
    settled = figures.delivered + figures.parked
    if replay.kind == Replay.Source.PARKED:
        settled = figures.delivered + figures.failed
    remaining = max(0, figures.count - settled)
    if replay.state == Replay.State.DONE:
        remaining = 0
    rate = _rate(replay, figures.sent)
    return {
        "scanned": sum(lane.next_offset - lane.from_offset for lane in lanes),
        "matched": settled,
        "sent": figures.sent,
        "delivered": figures.delivered,
        "failed": figures.failed,
        "parked": figures.parked,
        "remaining": remaining,
        "percent": _percent(replay, lanes, settled),
        "eta_s": round(remaining / rate) if rate and remaining else None,
        "rate_per_s": round(rate, 1),
    }


def blocked_by(replay: Replay) -> str | None:
    """Return what keeps a running replay from sending; None for nothing."""
    if replay.state != Replay.State.RUNNING:
        return None
    live = replay.subscription
    endpoint = replay.endpoint or live.endpoint
    if live.status != Subscription.Status.ACTIVE:
        return f"subscription_{live.status}"
    if endpoint is not None and endpoint.status != Endpoint.Status.ACTIVE:
        return f"endpoint_{endpoint.status}"
    is_down = LanePosition.objects.filter(
        subscription__endpoint=endpoint, reason=LanePosition.Reason.ENDPOINT_DOWN
    ).exclude(state=LanePosition.State.LIVE)
    return "endpoint_down" if is_down.exists() else None


def _percent(replay: Replay, lanes: list[ReplayLane], settled: int) -> float:
    if replay.state == Replay.State.DONE:
        return 100.0
    whole = sum(lane.end_offset - lane.from_offset for lane in lanes)
    done = sum(lane.next_offset - lane.from_offset for lane in lanes)
    if replay.kind == Replay.Source.PARKED:
        whole, done = replay.progress.count, settled
    return round(min(100.0, 100 * done / whole), 1) if whole else 0.0


def _rate(replay: Replay, sent: int) -> float:
    """Return what was sent a second since it was started; 0.0 before."""
    if replay.started_at is None:
        return 0.0
    until = replay.ended_at or clock.now()
    return sent / max(1.0, (until - replay.started_at).total_seconds())


def _duration_s(replay: Replay, count: int) -> int | None:
    """Return how long sending will take, by its rate or by recent attempts; None: nothing known."""
    rate = replay.rate_per_s
    if rate is None:
        rate = _recent_rate(replay)
    return None if rate is None else round(count / rate)


def _recent_rate(replay: Replay) -> float | None:
    endpoint = replay.endpoint or replay.subscription.endpoint
    recent = DeliveryAttempt.objects.filter(subscription=replay.subscription_id)
    times = list(recent.order_by("-at", "-id").values_list("duration_us", flat=True)[:RECENT])
    if not times or endpoint is None:
        return None
    return endpoint.max_in_flight / max(0.001, sum(times) / len(times) / 1e6)
