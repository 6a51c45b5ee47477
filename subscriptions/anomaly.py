"""The rules by which unusual use is told, on counted values (pure).

Source: the security contract, section 8. A rule finds something or says nothing; what follows is
for a person to decide, so that nobody is ever locked out by a guess.
"""

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Final, NamedTuple

MISSING_IN_A_MINUTE: Final = 20
FAILURES_IN_A_MINUTE: Final = 10
NETWORKS_MOST: Final = 5
STREAMS_MOST: Final = 60
ERRORS_FROM: Final = 200
WINDOW: Final = timedelta(minutes=5)
SPREAD_WINDOW: Final = timedelta(minutes=10)
SETTLED_AFTER: Final = timedelta(days=14)
"""A credential younger than this has no habits yet."""
NEW_AFTER: Final = timedelta(days=1)
"""The networks of the first day are what a credential is set up from."""
HOURS_OF_WEEK: Final = 168
VOLUME_TIMES: Final = 5
VOLUME_FROM_BYTES: Final = 10 * 1024 * 1024
VOLUME_DAYS: Final = 3
"""Days of the last seven that must have been seen before a volume can be unusual."""
EWMA: Final = 0.3
REPLAY_TIMES: Final = 3
WIDENED_READS: Final = 10_000


class Rule(StrEnum):
    """The rules, A1 to A10 of the contract."""

    ENUMERATION = "enumeration"
    AUTH_FAILURES = "auth_failures"
    NEW_SOURCE = "new_source"
    VOLUME = "volume"
    SPREAD = "spread"
    OFF_HOURS = "off_hours"
    MASS_REPLAY = "mass_replay"
    STREAM_CHURN = "stream_churn"
    WIDENING = "widening"
    ERROR_BURST = "error_burst"


class Suspicion(NamedTuple):
    """What a rule found: a sentence without secrets, and the figures behind it."""

    rule: Rule
    text: str
    evidence: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Minute:
    """What a subject did in one minute; the columns of a sighting."""

    at: datetime
    requests: int = 0
    errors: int = 0
    failures: int = 0
    streams: int = 0
    short_streams: int = 0
    missing: frozenset[str] = frozenset()
    networks: frozenset[str] = frozenset()
    agents: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Hour:
    """One hour in which a subject was seen."""

    at: datetime
    networks: frozenset[str] = frozenset()
    agents: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Use:
    """One subject: a credential, or a name under which refused ones are counted.

    minutes  of the last ten minutes, oldest first
    hours    of the last 28 days before this hour, oldest first
    """

    subject: str
    minutes: Sequence[Minute]
    hours: Sequence[Hour] = ()


def judge(use: Use, now: datetime) -> list[Suspicion]:
    """Return what is unusual about what one subject does now."""
    rules = (_enumeration, _auth_failures, _new_source, _spread, _off_hours, _churn, _error_burst)
    return [found for rule in rules if (found := rule(use, now)) is not None]


def judge_volume(today: int, before: Sequence[int], records: int) -> Suspicion | None:
    """Return whether a partner takes far more this hour than in this hour of the last days.

    today    bytes out in this hour so far
    before   bytes out in the same hour of the seven days before, oldest first, 0 for none
    records  out in this hour so far
    """
    seen = [count for count in before if count]
    if today < VOLUME_FROM_BYTES or len(seen) < VOLUME_DAYS:
        return None
    usual = float(seen[0])
    for count in seen[1:]:
        usual += EWMA * (count - usual)
    if today <= VOLUME_TIMES * usual:
        return None
    text = f"{_mib(today)} MiB went out this hour; {_mib(usual)} MiB is usual at this time of day."
    figures = {"bytes": today, "usual_bytes": int(usual), "records": records}
    return Suspicion(Rule.VOLUME, text, figures)


def judge_replays(records: int, most_before: int, *, is_whole: bool) -> Suspicion | None:
    """Return whether a replay is far larger than any before it.

    records      that it sends again
    most_before  of any replay of the partner in the 28 days before; 0 for none
    is_whole     whether it goes back over all that Kafka keeps
    """
    if not is_whole and (not most_before or records <= REPLAY_TIMES * most_before):
        return None
    text = f"A replay sends {records:,} records again; the largest in 28 days had {most_before:,}."
    figures = {"records": records, "largest_before": most_before, "whole": is_whole}
    return Suspicion(Rule.MASS_REPLAY, text, figures)


def judge_widening(what: Sequence[str], records_since: int) -> Suspicion | None:
    """Return whether much was read soon after a grant or filter let more through.

    what  the changes of the last hour: grants and subscriptions by id
    """
    if not what or records_since <= WIDENED_READS:
        return None
    text = f"{records_since:,} records were read within an hour of a wider grant or filter."
    return Suspicion(Rule.WIDENING, text, {"changed": list(what), "records": records_since})


def _enumeration(use: Use, now: datetime) -> Suspicion | None:
    # Of two neighbouring minutes together: sixty seconds seldom begin with a minute.
    minutes = _since(use, now, timedelta(minutes=3))
    counts = [
        len(first.missing | second.missing) if second.at - first.at <= _MINUTE else 0
        for first, second in itertools.pairwise(minutes)
    ]
    most = max([*counts, *(len(minute.missing) for minute in minutes)], default=0)
    if most < MISSING_IN_A_MINUTE:
        return None
    text = f"{most} different things that do not exist were asked for within a minute."
    return Suspicion(Rule.ENUMERATION, text, {"missing": most})


def _auth_failures(use: Use, now: datetime) -> Suspicion | None:
    most = max((minute.failures for minute in _since(use, now, WINDOW)), default=0)
    if most < FAILURES_IN_A_MINUTE:
        return None
    text = f"{most} credentials were refused within a minute."
    return Suspicion(Rule.AUTH_FAILURES, text, {"failures": most})


def _new_source(use: Use, now: datetime) -> Suspicion | None:
    if not use.hours or now - use.hours[0].at < NEW_AFTER:
        return None
    known = _union(hour.networks for hour in use.hours)
    agents = _union(hour.agents for hour in use.hours)
    recent = _since(use, now, SPREAD_WINDOW)
    networks = _union(minute.networks for minute in recent) - known
    others = _union(minute.agents for minute in recent) - agents
    if not networks and not others:
        return None
    text = f"Used from somewhere new: {', '.join(sorted([*networks, *others]))}."
    return Suspicion(
        Rule.NEW_SOURCE, text, {"networks": sorted(networks), "agents": sorted(others)}
    )


def _spread(use: Use, now: datetime) -> Suspicion | None:
    networks = _union(minute.networks for minute in _since(use, now, SPREAD_WINDOW))
    if len(networks) <= NETWORKS_MOST:
        return None
    text = f"One credential is used from {len(networks)} networks within ten minutes."
    return Suspicion(Rule.SPREAD, text, {"networks": sorted(networks)})


def _off_hours(use: Use, now: datetime) -> Suspicion | None:
    if not use.hours or now - use.hours[0].at < SETTLED_AFTER:
        return None
    if not any(minute.requests for minute in _since(use, now, WINDOW)):
        return None
    hour = _hour_of_week(now)
    if any(_hour_of_week(one.at) == hour for one in use.hours):
        return None
    used = len({_hour_of_week(one.at) for one in use.hours})
    text = f"Used at an hour of the week ({now:%A %H}:00 UTC) at which it never was in 28 days."
    return Suspicion(Rule.OFF_HOURS, text, {"hours_used": used, "of": HOURS_OF_WEEK})


def _churn(use: Use, now: datetime) -> Suspicion | None:
    minutes = _since(use, now, WINDOW)
    streams = sum(minute.streams for minute in minutes)
    short = sum(minute.short_streams for minute in minutes)
    if streams <= STREAMS_MOST or short * 2 <= streams:
        return None
    text = f"{streams} streams in five minutes, {short} of them for less than ten seconds."
    return Suspicion(Rule.STREAM_CHURN, text, {"streams": streams, "short": short})


def _error_burst(use: Use, now: datetime) -> Suspicion | None:
    minutes = _since(use, now, WINDOW)
    requests = sum(minute.requests for minute in minutes)
    errors = sum(minute.errors for minute in minutes)
    if requests < ERRORS_FROM or errors * 2 <= requests:
        return None
    text = f"{errors} of {requests} requests in five minutes were refused as wrong."
    return Suspicion(Rule.ERROR_BURST, text, {"requests": requests, "errors": errors})


_MINUTE: Final = timedelta(minutes=1)


def _since(use: Use, now: datetime, window: timedelta) -> list[Minute]:
    return [minute for minute in use.minutes if now - minute.at < window]


def _union(sets: Iterable[frozenset[str]]) -> frozenset[str]:
    return frozenset().union(*sets)


def _hour_of_week(at: datetime) -> int:
    return at.weekday() * 24 + at.hour


def _mib(count: float) -> int:
    return round(count / (1024 * 1024))
