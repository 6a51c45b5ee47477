"""``/endpoints/{ep}/health``: what is known of one endpoint, by engines, tables and Kafka."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import NamedTuple, Protocol

from django.db import connection
from django.db.models import Count, Min

from delivery import lag, lifecycle
from delivery.ages import Times
from delivery.health import FRESH_S
from delivery.lag import Standing
from delivery.models import EndpointStanding, ParkedDelivery
from kafkahub import clock
from kafkahub.kafka.record import Position
from subscriptions.models import Endpoint, Subscription

SPANS: Mapping[str, timedelta] = {
    "5m": timedelta(minutes=5),
    "1h": timedelta(hours=1),
    "24h": timedelta(hours=24),
}
MAX_COUNTED = 20_000
"""Newest attempts of the partner that are looked at; beyond, a span's numbers are null."""
FAILING_AFTER = timedelta(minutes=1)
PARKED_STATES = ("scheduled", "blocked", "held", "dead")

# The newest attempts of the partner by its index; those of other endpoints are left out of them.
ATTEMPTS = """
SELECT at, outcome_class = 'delivered', duration_us FROM (
       SELECT at, endpoint, outcome_class, duration_us FROM delivery_attempt
        WHERE partner = %(partner)s AND at > %(since)s ORDER BY at DESC LIMIT %(limit)s) AS newest
 WHERE endpoint = %(endpoint)s
"""  # attempt_of_partner (partner, at, id)
OLDEST_LOOKED_AT = """
SELECT min(at), count(*) FROM (
       SELECT at FROM delivery_attempt
        WHERE partner = %(partner)s AND at > %(since)s ORDER BY at DESC LIMIT %(limit)s) AS newest
"""  # the same index

Values = dict[str, object]


class Tried(NamedTuple):
    """One attempt, as far as ratios and latencies go."""

    at: datetime
    is_delivered: bool
    duration_us: int


class Log(Protocol):
    """What is asked of Kafka; what it does not answer leaves lags unknown."""

    def ends(self, topic: str, /) -> Mapping[int, tuple[int, int]]: ...

    def kept_ms(self, topic: str, /) -> int | None:
        """Return how long records are kept, None for ever or unknown."""
        ...

    def first_times(self, positions: Sequence[Position], /) -> Times | None: ...


def of(endpoint: Endpoint, log: Log, now: datetime) -> Values:
    """Return everything that can be told of an endpoint; what nobody knows is null."""
    standing = EndpointStanding.objects.filter(pk=endpoint.pk).first() or EndpointStanding()
    engines = [one for one in standing.engines.values() if now.timestamp() - one["at"] < FRESH_S]
    parked = _parked(endpoint)
    return {
        "health": _health(standing, engines, now),
        "failing_since": _shown(standing.failing_since),
        "last_success_at": _shown(standing.last_success_at),
        "last_outcome": standing.last_outcome or None,
        "next_probe_at": _shown(_next_probe(standing, engines)),
        "disable_at": _shown(lifecycle.disable_at(endpoint, standing)),
        "window": sum(one["window"] for one in engines) if engines else None,
        "in_flight": sum(one["in_flight"] for one in engines) if engines else None,
        **_tried(endpoint, now),
        **_lag(endpoint, log, now),
        "parked": parked,
        "certificate": _certificate(endpoint, standing),
    }


def _health(
    standing: EndpointStanding, engines: Iterable[Mapping[str, bool]], now: datetime
) -> str:
    """Return one word; the worst engine counts."""
    if any(one["is_down"] for one in engines):
        return "down"
    since = standing.failing_since
    if since is not None and now - since >= FAILING_AFTER:
        return "failing"
    return "throttled" if any(one["is_throttled"] for one in engines) else "healthy"


def _next_probe(
    standing: EndpointStanding, engines: Iterable[Mapping[str, float | None]]
) -> datetime | None:
    if standing.probe_due_at is not None and standing.disabled_at is not None:
        return standing.probe_due_at
    times = [at for one in engines if (at := one["next_probe_at"]) is not None]
    return datetime.fromtimestamp(min(times), UTC) if times else None


def _tried(endpoint: Endpoint, now: datetime) -> Values:
    longest = max(SPANS.values())
    asked: dict[str, str | int | datetime] = {
        "partner": endpoint.partner_id,
        "endpoint": endpoint.pk,
        "since": now - longest,
        "limit": MAX_COUNTED,
    }
    with connection.cursor() as cursor:
        cursor.execute(OLDEST_LOOKED_AT, asked)
        oldest, count = cursor.fetchone()
        cursor.execute(ATTEMPTS, asked)
        tried = [Tried._make(row) for row in cursor.fetchall()]
    known_since = oldest if count >= MAX_COUNTED else now - longest
    ratios = {
        name: _ratio([one for one in tried if one.at > now - span])
        if now - span >= known_since
        else None
        for name, span in SPANS.items()
    }
    recent = sorted(one.duration_us for one in tried if one.at > now - SPANS["5m"])
    latency = {"p50": _part(recent, 0.5), "p99": _part(recent, 0.99)}
    return {"success_ratio": ratios, "latency_ms": latency}


def _ratio(tried: list[Tried]) -> float | None:
    if not tried:
        return None
    return round(sum(one.is_delivered for one in tried) / len(tried), 4)


def _part(durations_us: list[int], part: float) -> float | None:
    if not durations_us:
        return None
    return durations_us[min(len(durations_us) - 1, int(len(durations_us) * part))] / 1000


def _lag(endpoint: Endpoint, log: Log, now: datetime) -> Values:
    """Return how much its subscriptions owe, since when, and how long that is still kept."""
    owing = [
        lane
        for row in Subscription.objects.filter(endpoint=endpoint)
        for lane in lag.standings(row, log.ends)
        if lane.lag_records != 0
    ]
    return owed(owing, _oldest(endpoint), log, now)


def owed(owing: list[Standing], parked_at: datetime | None, log: Log, now: datetime) -> Values:
    """Return how much these lanes owe, since when, and how long that is still kept.

    owing      lanes that are not at the end, or of which that is not known
    parked_at  time of the oldest record that is parked, or None
    """
    records = None if any(one.lag_records is None for one in owing) else _sum(owing)
    places = [Position(one.topic, one.partition, one.next_offset) for one in owing]
    times = None if records is None else log.first_times(places)
    oldest = min(times.values(), default=None) if times is not None else None
    known = [at for at in (oldest, parked_at) if at is not None]
    return {
        "lag": {"records": records, "seconds": _lag_s(records, oldest, now)},
        "oldest_undelivered_at": _shown(min(known, default=None)),
        "headroom_s": None if times is None else _headroom_s(times, log, now),
    }


def seconds(owed: Values) -> object:
    """Take the lag in seconds out of what ``owed`` gave."""
    lag_ = owed.pop("lag")
    return lag_.get("seconds") if isinstance(lag_, dict) else None


def _sum(owing: Iterable[Standing]) -> int:
    return sum(one.lag_records or 0 for one in owing)


def _lag_s(records: int | None, oldest: datetime | None, now: datetime) -> int | None:
    if records == 0:
        return 0
    return None if oldest is None else max(0, int((now - oldest).total_seconds()))


def _headroom_s(times: Times, log: Log, now: datetime) -> int | None:
    """Return the least time until Kafka may delete something owed; None where it never does."""
    left = [
        (at - now).total_seconds() + kept_ms / 1000
        for (topic, _), at in times.items()
        if (kept_ms := log.kept_ms(topic)) is not None
    ]
    return max(0, int(min(left))) if left else None


def _oldest(endpoint: Endpoint) -> datetime | None:
    """Return the time of the oldest record that is parked for it."""
    owed = ParkedDelivery.objects.filter(
        subscription__endpoint=endpoint, state__in=lifecycle.OWED
    )  # by parked_due
    oldest: datetime | None = owed.aggregate(oldest=Min("record_time"))["oldest"]
    return oldest


def _parked(endpoint: Endpoint) -> dict[str, int]:
    rows = ParkedDelivery.objects.filter(subscription__endpoint=endpoint)
    counts = dict(rows.values_list("state").annotate(Count("id")))
    counts["scheduled"] = counts.get("scheduled", 0) + counts.get("sending", 0)
    return {name: counts.get(name, 0) for name in PARKED_STATES}


def _certificate(endpoint: Endpoint, standing: EndpointStanding) -> Values:
    """Return when our certificate for it ends, and whether its own was believed last time."""
    is_bad = standing.failing_since is not None and standing.last_outcome.startswith("tls_")
    is_known = standing.last_success_at is not None or is_bad
    is_tls = endpoint.url.startswith("https:")
    return {
        "expires_at": _shown(endpoint.tls_expires_at),
        "chain_ok": not is_bad if is_tls and is_known else None,
    }


def _shown(moment: datetime | None) -> str | None:
    return None if moment is None else clock.rfc3339(moment)
