"""The circuit breaker: when an endpoint is down, and when it is asked again (pure).

One for each endpoint in each engine, in memory: it opens on the engine's own outcomes. While it is
open nothing costs an attempt, so an outage makes no dead letters, and what is owed waits in the
lanes' positions instead of in rows.
"""

from collections import deque

from delivery.outcome import OutcomeClass

LAST = 20
FAILED_OF_LAST = 16
"""So many of the last outcomes not delivered open it: it is not one bad record in between."""
IN_A_ROW = 3
SILENCE_S = 5.0
"""So many failures in a row open it once nothing was delivered for so long."""
FIRST_PROBES_S = (1.0, 2.0, 4.0)
PROBE_S = 4.0
LATE_PROBE_S = 30.0
LATE_AFTER_S = 3_600.0
"""Seconds between two probes: the first ones, those of the first hour, and later ones."""
EARLY_SHARE = 0.2
"""A probe comes up to this share earlier, so that engines do not ask together."""

UNWELL = frozenset({OutcomeClass.FAILED, OutcomeClass.OVERLOADED})
AT_ONCE = frozenset({OutcomeClass.GONE, OutcomeClass.BLOCKED})
COUNTED = UNWELL | AT_ONCE | {OutcomeClass.DELIVERED, OutcomeClass.REJECTED}
"""Throttled and ours say nothing of whether the endpoint is up."""


class Breaker:
    """Closed while the endpoint is believed to be up.

    opened_at  monotonic time since which it is open, None while it is closed
    failing_since  monotonic time of the first failure after the last success, None after one
    """

    __slots__ = ("_failed", "_in_a_row", "_probes", "failing_since", "opened_at")

    def __init__(self) -> None:
        self.opened_at: float | None = None
        self.failing_since: float | None = None
        self._failed: deque[bool] = deque(maxlen=LAST)
        self._in_a_row = 0
        self._probes = 0

    @property
    def is_open(self) -> bool:
        return self.opened_at is not None

    def note(self, outcome_class: OutcomeClass, now: float) -> bool:
        """Take an outcome; return whether it opened or closed the breaker."""
        if outcome_class not in COUNTED:
            return False
        if outcome_class is OutcomeClass.DELIVERED:
            return self._succeeded()
        if self.failing_since is None:
            self.failing_since = now
        self._failed.append(True)
        if outcome_class is not OutcomeClass.REJECTED:
            self._in_a_row += 1
        if self.is_open or not self._is_down(outcome_class, now):
            return False
        self.opened_at = now
        self._probes = 0
        return True

    def presume(self, now: float, failing_since: float) -> None:
        """Open before any outcome: whoever had the endpoint's lanes before left it failing."""
        self.failing_since = min(failing_since, self.failing_since or failing_since)
        if not self.is_open:
            self.opened_at = now
            self._probes = 0

    def is_doubtful(self, now: float) -> bool:
        """Whether it is closed although what was sent last failed, for as long as it may."""
        if self.is_open or self._in_a_row == 0 or self.failing_since is None:
            return False
        return now - self.failing_since >= SILENCE_S

    def next_probe_s(self, now: float, chance: float) -> float:
        """Return the seconds to the next probe, counting this one as planned.

        chance  uniform in [0, 1)
        """
        open_s = now - (self.opened_at if self.opened_at is not None else now)
        if self._probes < len(FIRST_PROBES_S):
            wait = FIRST_PROBES_S[self._probes]
        else:
            wait = PROBE_S if open_s < LATE_AFTER_S else LATE_PROBE_S
        self._probes += 1
        return wait * (1 - EARLY_SHARE * chance)

    def _succeeded(self) -> bool:
        was_open = self.is_open
        self.opened_at = self.failing_since = None
        self._in_a_row = 0
        if was_open:
            self._failed.clear()
        self._failed.append(False)
        return was_open

    def _is_down(self, outcome_class: OutcomeClass, now: float) -> bool:
        if outcome_class in AT_ONCE or sum(self._failed) >= FAILED_OF_LAST:
            return True
        silent_s = now - (self.failing_since if self.failing_since is not None else now)
        return self._in_a_row >= IN_A_ROW and silent_s >= SILENCE_S


class Failed:
    """What failed at one endpoint since it took something last, for whoever tells of it.

    since, last  monotonic times of the first and the newest failure; 0.0 for none
    count        failures since ``since``; ``told`` of them are written
    """

    __slots__ = ("count", "last", "outcome", "since", "status", "told")

    def __init__(self) -> None:
        self.count = self.told = 0
        self.since = self.last = 0.0
        self.outcome = ""
        self.status: int | None = None

    def note(self, outcome: str, status: int | None, now: float, delivered_at: float) -> None:
        """Take a failure; the first after a success begins anew."""
        if self.count == 0 or delivered_at > self.last:
            self.count = self.told = 0
            self.since = now
        self.count += 1
        self.last, self.outcome, self.status = now, outcome, status
