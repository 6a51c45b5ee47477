"""``RateLimit`` and ``RateLimit-Policy``: what a client is told of its limits (pure).

Source: draft-ietf-httpapi-ratelimit-headers-10; both values are lists of RFC 9651 items.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from kafkahub.errors import RateLimited
from kafkahub.limits.gcra import Rate
from kafkahub.limits.policies import UNITS

TIGHTEST = 2
"""Policies that ``RateLimit`` tells of: the ones that will be met first."""


@dataclass(frozen=True, slots=True)
class Standing:
    """How one policy stands for one principal, to the best of this process's knowledge.

    left  units that may be used now, not below 0
    """

    policy: str
    rate: Rate
    left: int

    @property
    def whole_in_s(self) -> int:
        """Whole seconds, rounded up, until the burst is whole again."""
        return math.ceil((self.rate.burst - self.left) / self.rate.per_s)


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why something may not be done now.

    wait_s    seconds until it may
    policies  names of all that are used up
    """

    wait_s: float
    policies: tuple[str, ...]

    @property
    def retry_after_s(self) -> int:
        """``Retry-After``: whole seconds, rounded up, at least 1."""
        return max(1, math.ceil(self.wait_s))

    def error(self) -> RateLimited:
        """Return the error that says so at every door."""
        names = ", ".join(self.policies)
        text = f"Over the limit of {names}; come again in {self.retry_after_s} s."
        return RateLimited(text, retry_after_s=self.retry_after_s, violated=self.policies)


def policy_value(rates: Iterable[tuple[str, Rate]]) -> str:
    """Return the ``RateLimit-Policy`` of these policies: quota, window in s, unit."""
    return ", ".join(_policy_item(name, rate) for name, rate in rates)


def _policy_item(name: str, rate: Rate) -> str:
    unit = f';qu="{UNITS[name]}"' if name in UNITS else ""
    return f'"{name}";q={rate.burst};w={max(1, math.ceil(rate.window_s))}{unit}'


def limit_value(standings: Sequence[Standing]) -> str:
    """Return the ``RateLimit`` of the tightest policies: units left, seconds until all are."""
    tightest = sorted(standings, key=lambda each: each.left / each.rate.burst)[:TIGHTEST]
    return ", ".join(f'"{each.policy}";r={each.left};t={each.whole_in_s}' for each in tightest)
