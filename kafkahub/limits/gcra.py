"""How fast something may be done: the generic cell rate algorithm on plain numbers (pure).

One float per name, the time at which its burst is whole again; no counters that start anew, so
nobody gets two bursts around the turn of a window, and the wait that is told is exact.
"""

from collections import OrderedDict
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Rate:
    """So many a second for ever, and ``burst`` of them at once after a rest."""

    per_s: float
    burst: int


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
        whole_at_s = max(self._whole_at_s.get(name, now_s), now_s) + count / self.rate.per_s
        wait_s = whole_at_s - now_s - self.rate.burst / self.rate.per_s
        if wait_s > EPSILON_S:
            return wait_s
        self._whole_at_s[name] = whole_at_s
        self._whole_at_s.move_to_end(name)
        while len(self._whole_at_s) > self.names:
            self._whole_at_s.popitem(last=False)
        return 0.0


EPSILON_S = 1e-9
"""Rounding of float sums: the last of a burst must not be refused for it."""
