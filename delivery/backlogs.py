"""Subscriptions that are suspended, or behind by time: told when it begins and when it is over."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import NamedTuple, Protocol

from django.db import transaction

from kafkahub.kafka.faults import KafkaUnavailable, NoAdminApi, UnknownTopic
from subscriptions import episodes
from subscriptions.models import Episode, Grant, LanePosition, Subscription
from subscriptions.notice_types import Kind
from subscriptions.serializers import UNVERIFIED, suspension

OLD = timedelta(minutes=10)
"""A subscription is behind when the oldest record it owes is older."""
HEADROOM = timedelta(hours=24)
STEPS = tuple(timedelta(hours=hours) for hours in (0, 1, 3, 6, 12, 24))
"""Steps in which the time is told that is left until retention overtakes a lane."""
RETENTION = "retention.ms"
ASKED_FOR = ("", LanePosition.Reason.START, LanePosition.Reason.SEEK)
"""Reasons of lanes that owe old records because somebody wanted them."""


class Log(Protocol):
    """What Kafka tells of topics; raises KafkaUnavailable, UnknownTopic, NoAdminApi."""

    def watermarks(self, topic: str, /) -> Mapping[int, tuple[int, int]]: ...

    def offsets_at(self, topic: str, unix_ms: int, /) -> Mapping[int, int]: ...

    def configs(self, topic: str, /) -> Mapping[str, str]: ...


class Debt(NamedTuple):
    """What one subscription owes.

    headroom  least time until retention overtakes a lane; None for none of it soon
    """

    reason: str
    lag_records: int
    is_old: bool
    headroom: timedelta | None


NOTHING = Debt("", 0, is_old=False, headroom=None)


def watch_suspensions(now: datetime) -> None:
    """Tell of subscriptions that are suspended for another reason than before, or no more."""
    granted = _granted()
    told = {one.subject: one for one in Episode.objects.filter(type=Kind.SUBSCRIPTION_SUSPENDED)}
    rows = Subscription.objects.webhooks().select_related("endpoint", "partner")
    for row in rows.iterator(1_000):
        why = suspension(row, granted.get(row.partner_id, frozenset()))
        episode = told.pop(row.pk, None)
        if why == UNVERIFIED:
            why = ""  # its endpoint's handshake tells of that
        if bool(why) != (episode is not None):
            _tell_suspension(row, why, episode, now)
    for episode in told.values():
        with transaction.atomic():
            episodes.end(episode, None, {})


def _tell_suspension(row: Subscription, why: str, episode: Episode | None, now: datetime) -> None:
    endpoint = row.endpoint_id or ""
    with transaction.atomic():
        if episode is not None:
            members = {"subscription": row.pk, "reason": episode.detail}
            episodes.end(episode, Kind.SUBSCRIPTION_RESUMED, members, endpoint=endpoint)
            return
        episodes.begin(
            Kind.SUBSCRIPTION_SUSPENDED,
            row.pk,
            row.partner_id,
            {"subscription": row.pk, "reason": why},
            since=now,
            endpoint=endpoint,
            detail=why,
        )


def _granted() -> dict[str, frozenset[str]]:
    alive = Grant.objects.alive().filter(action=Grant.Action.READ)
    found: dict[str, set[str]] = defaultdict(set)
    for partner, topic in alive.values_list("partner_id", "topic_id"):
        found[partner].add(topic)
    return {partner: frozenset(topics) for partner, topics in found.items()}


def watch_lags(log: Log, now: datetime) -> None:
    """Tell of subscriptions that owe old records, will lose some, or owe nothing old any more.

    Asks Kafka, so it must not run inside a transaction. What Kafka does not tell stays as it is.
    """
    kinds = (Kind.SUBSCRIPTION_BEHIND, Kind.SUBSCRIPTION_HEADROOM_LOW)
    open_ones = {(one.subject, one.type): one for one in Episode.objects.filter(type__in=kinds)}
    lanes = _lanes()
    topics = {lane.topic for of_one in lanes.values() for lane in of_one}
    logs = {topic: known for topic in topics if (known := _Known.of(log, topic, now)) is not None}
    for row, of_one in lanes.items():
        if all(lane.topic in logs for lane in of_one):
            debt = _debt(of_one, logs)
            for kind in kinds:
                _follow(row, kind, debt, open_ones.pop((row.pk, kind), None), now)
    waiting = {row.pk for row in lanes}
    for (subject, name), episode in open_ones.items():
        if subject not in waiting:
            owner = Subscription.objects.filter(pk=subject).first()
            _finish(owner, Kind(name), episode, now)


def _lanes() -> dict[Subscription, list[LanePosition]]:
    """Return the lanes that are not live, of subscriptions that their partner wants to go on."""
    found: dict[Subscription, list[LanePosition]] = defaultdict(list)
    rows = LanePosition.objects.exclude(state=LanePosition.State.LIVE)
    active = rows.filter(subscription__status=Subscription.Status.ACTIVE)
    for lane in active.select_related("subscription"):
        found[lane.subscription].append(lane)
    return found


class _Known(NamedTuple):
    """What Kafka tells of one topic.

    old    offset by partition from which records are younger than ``OLD``
    doomed  for each step that is known, offsets below which records are gone by then
    """

    ends: Mapping[int, tuple[int, int]]
    old: Mapping[int, int]
    doomed: Mapping[timedelta, Mapping[int, int]]

    @classmethod
    def of(cls, log: Log, topic: str, now: datetime) -> "_Known | None":
        try:
            kept_ms = int(log.configs(topic).get(RETENTION, "-1"))
            steps = STEPS if kept_ms > 0 else ()
            first = now - timedelta(milliseconds=max(kept_ms, 0))
            return cls(
                log.watermarks(topic),
                log.offsets_at(topic, _ms(now - OLD)),
                {step: log.offsets_at(topic, max(0, _ms(first + step))) for step in steps},
            )
        except (KafkaUnavailable, UnknownTopic, NoAdminApi):
            return None


def _debt(lanes: Iterable[LanePosition], logs: Mapping[str, _Known]) -> Debt:
    debt = NOTHING
    for lane in lanes:
        known = logs[lane.topic]
        number, at = lane.partition, lane.next_offset
        is_old = at < known.old.get(number, 0) and lane.reason not in ASKED_FOR
        end = known.ends.get(number, (0, at))[1]
        left = [step for step, gone in known.doomed.items() if at < gone.get(number, 0)]
        headroom = min(
            [*left, *([debt.headroom] if debt.headroom is not None else [])], default=None
        )
        debt = Debt(
            lane.reason if is_old else debt.reason,
            debt.lag_records + max(0, end - at),
            debt.is_old or is_old,
            headroom,
        )
    return debt


def _follow(
    row: Subscription, kind: Kind, debt: Debt, episode: Episode | None, now: datetime
) -> None:
    is_on = debt.is_old if kind is Kind.SUBSCRIPTION_BEHIND else debt.headroom is not None
    if is_on and episode is None:
        with transaction.atomic():
            episodes.begin(
                kind,
                row.pk,
                row.partner_id,
                _members(row, debt, now),
                since=now,
                detail=debt.reason,
            )
    elif not is_on and episode is not None and not debt.lag_records:
        _finish(row, kind, episode, now)


def _finish(row: Subscription | None, kind: Kind, episode: Episode, now: datetime) -> None:
    """End an episode; that a subscription has caught up is told, that it has time again is not."""
    is_told = row is not None and kind is Kind.SUBSCRIPTION_BEHIND
    with transaction.atomic():
        if row is None or not is_told:
            episodes.end(episode, None, {})
        else:
            members = _members(row, NOTHING._replace(reason=episode.detail), now)
            episodes.end(episode, Kind.SUBSCRIPTION_CAUGHT_UP, members | {"lag_s": 0})


def _members(row: Subscription, debt: Debt, now: datetime) -> dict[str, object]:
    left = debt.headroom
    return {
        "subscription": row.pk,
        "reason": debt.reason,
        "lag_records": debt.lag_records,
        "lag_s": int(OLD.total_seconds()) if debt.is_old else None,
        "headroom_s": None if left is None else int(left.total_seconds()),
        "loses_at": None if left is None else now + left,
    }


def _ms(moment: datetime) -> int:
    return int(moment.timestamp() * 1000)
