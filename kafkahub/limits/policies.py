"""What is limited, by which name, and how much of it without any plan (pure)."""

import functools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple, Protocol

from kafkahub.limits.gcra import Rate

REQUESTS: Final = "requests"
BYTES_IN: Final = "bytes-in"
RECORDS_IN: Final = "records-in"
BYTES_OUT: Final = "bytes-out"
RECORDS_OUT: Final = "records-out"
CONTROL: Final = "control"
ANONYMOUS: Final = "anonymous"
OPEN_STREAMS: Final = "open-streams"
"""Names of policies, as clients see them. Plain texts: an enum's hash is slow, these are cached."""

POLICIES: Final = (REQUESTS, BYTES_IN, RECORDS_IN, BYTES_OUT, RECORDS_OUT, CONTROL)
"""What a plan may set a rate for."""

KEY: Final = "key"
TOPIC: Final = "topic"
PARTNER: Final = "partner"
DEPLOYMENT: Final = "deployment"
ADDRESS: Final = "address"
"""Whom a rate is for: one key, one key on one topic, a partner, all of us, a source address."""

SCOPES: Final = (KEY, TOPIC, PARTNER, DEPLOYMENT)
"""What a plan may set rates for."""

UNITS: Final[Mapping[str, str]] = {BYTES_IN: "content-bytes", BYTES_OUT: "content-bytes"}
"""Quota units of policies that do not count requests or records."""

MIB = 1024 * 1024
STANDARD_RATES: Final[Mapping[str, Rate]] = {
    REQUESTS: Rate(100, 200),
    BYTES_IN: Rate(10 * MIB, 20 * MIB),
    RECORDS_IN: Rate(10_000, 20_000),
    BYTES_OUT: Rate(50 * MIB, 64 * MIB),
    RECORDS_OUT: Rate(50_000, 50_000),
    CONTROL: Rate(10, 50),
}
"""Rates of one key without a plan."""
STANDARD_STREAMS: Final[Mapping[str, int]] = {KEY: 100, PARTNER: 1_000, ADDRESS: 100}
"""Streams that may be open at once, by whom they are counted for."""
ANONYMOUS_RATE = Rate(20, 100)
"""Of one address, for requests without a credential that is accepted."""


class Rule(NamedTuple):
    """One line of a plan; of ``open-streams`` only ``burst`` counts, as the cap."""

    scope: str
    policy: str
    per_s: float
    burst: int


@dataclass(frozen=True, slots=True, eq=False)
class Limits:
    """Everything one principal is held to; equal rules give the same object.

    rates    by scope, then policy
    streams  caps on open streams by scope
    """

    rates: Mapping[str, Mapping[str, Rate]]
    streams: Mapping[str, int]


class Limited(Protocol):
    """Whoever pays: a principal, by what this package needs of it."""

    @property
    def id(self) -> str: ...

    @property
    def partner(self) -> str: ...

    @property
    def limits(self) -> Limits: ...


def limits(rules: Iterable[Rule] = ()) -> Limits:
    """Return the standard values with these rules over them; a later rule wins."""
    return _compiled(tuple(rules))


@functools.lru_cache(maxsize=1_000)
def _compiled(rules: tuple[Rule, ...]) -> Limits:
    rates: dict[str, dict[str, Rate]] = {KEY: dict(STANDARD_RATES)}
    streams = dict(STANDARD_STREAMS)
    for rule in rules:
        if rule.policy == OPEN_STREAMS:
            streams[rule.scope] = rule.burst
        else:
            rates.setdefault(rule.scope, {})[rule.policy] = Rate(rule.per_s, rule.burst)
    return Limits(rates, streams)


@functools.lru_cache(maxsize=100)
def slowed(held: Limits, part: float) -> Limits:
    """Return these limits with this part of each rate of the key itself; bursts shrink too."""
    rates = {
        policy: Rate(rate.per_s * part, max(1, int(rate.burst * part)))
        for policy, rate in held.rates.get(KEY, {}).items()
    }
    return Limits({**held.rates, KEY: rates}, held.streams)


STANDARD: Final = limits()
"""What holds without any plan."""


NOBODY: Final = Limits({ADDRESS: {ANONYMOUS: ANONYMOUS_RATE}}, {})
"""What a request without an accepted credential is held to."""


@dataclass(frozen=True, slots=True)
class Cost:
    """What one thing uses up: units by policy, and the topic it is about, or ""."""

    charges: tuple[tuple[str, int], ...]
    topic: str = ""


def cost(
    *,
    requests: int = 0,
    bytes_in: int = 0,
    records_in: int = 0,
    bytes_out: int = 0,
    records_out: int = 0,
    topic: str = "",
) -> Cost:
    """Return a cost; what is 0 is not charged."""
    units = (
        (REQUESTS, requests),
        (BYTES_IN, bytes_in),
        (RECORDS_IN, records_in),
        (BYTES_OUT, bytes_out),
        (RECORDS_OUT, records_out),
    )
    return Cost(tuple(pair for pair in units if pair[1]), topic)


ONE_REQUEST: Final = cost(requests=1)
"""The commonest one, made once."""
