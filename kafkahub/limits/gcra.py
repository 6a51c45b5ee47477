"""How fast something may be done: the generic cell rate algorithm on plain numbers (pure).

One float per name, the time at which its burst is whole again; no counters that start anew, so
nobody gets two bursts around the turn of a window, and the wait that is told is exact.
"""

from collections import OrderedDict
from dataclasses import dataclass, field

EPSILON_S = 1e-6
"""Rounding of float sums: the last of a burst must not be refused for it."""


@dataclass(frozen=True, slots=True)
class Rate:
    """So many a second for ever, and ``burst`` of them at once after a rest."""

    per_s: float
    burst: int

    @property
    def window_s(self) -> float:
        """Seconds in which a burst that is used up becomes whole again."""
        return self.burst / self.per_s


def wait_s(whole_at_s: float, now_s: float, count: float, rate: Rate) -> float:
    """Return the seconds until ``count`` units may be taken; 0.0 when they may be now.

    More than a burst waits for a whole one: otherwise it could never be had.
    """
    wanted = min(count, rate.burst)
    begun_s = max(now_s, whole_at_s)
    wait = begun_s + (wanted - rate.burst) / rate.per_s - now_s
    return wait if wait > EPSILON_S else 0.0


def after(whole_at_s: float, now_s: float, count: float, rate: Rate) -> float:
    """Return when the burst is whole again once ``count`` units are taken at ``now_s``."""
    return max(whole_at_s, now_s) + count / rate.per_s


def left(whole_at_s: float, now_s: float, rate: Rate) -> float:
    """Return the units that may be taken now; below 0 when more than a burst was taken."""
    return rate.burst - max(0.0, whole_at_s - now_s) * rate.per_s


def share(rate: Rate, processes: int) -> Rate:
    """Return one process's part of a rate, where each must keep to its own.

    Each may do at least one thing at once, so that a burst smaller than their number closes none.
    """
    return Rate(rate.per_s / processes, max(1, rate.burst // processes))


@dataclass(slots=True)
class Meter:
    """Meters many names at one rate; the longest unused ones are forgotten.

    A forgotten name starts with a whole burst, so ``names`` is far above what is in use. Not for
    several threads at once: the caller holds a lock, or has one thread.
    """

    rate: Rate
    names: int = 20_000
    _whole_at_s: OrderedDict[str, float] = field(default_factory=OrderedDict)

    def take(self, name: str, now_s: float, count: int = 1) -> float:
        """Take ``count`` at monotonic time ``now_s``.

        Returns 0.0 when they were there; else the seconds until they will be, and takes nothing.
        """
        whole_at_s = self._whole_at_s.get(name, now_s)
        if refused_s := wait_s(whole_at_s, now_s, count, self.rate):
            return refused_s
        self._whole_at_s[name] = after(whole_at_s, now_s, count, self.rate)
        self._whole_at_s.move_to_end(name)
        while len(self._whole_at_s) > self.names:
            self._whole_at_s.popitem(last=False)
        return 0.0
