"""Rates that partners set, kept by all engines together: each leases its part ahead."""

import math
import threading
from collections.abc import Callable, Mapping

from delivery.window import Pace, Paced
from kafkahub.limits.gcra import Rate
from kafkahub.limits.limiter import Limiter
from subscriptions.live import Snapshot

POLICY = "deliveries"
BURST_S = 0.25
"""What may go out at once after a rest, in seconds of the rate."""

LEAST_BURST = 2
"""With one alone a request that is some ms late, as all are, would make all later ones late."""


class Leased:
    """One rate; its units come from the limiter's leases, so nothing here waits for Redis."""

    __slots__ = ("_bucket", "_limiter")

    def __init__(self, limiter: Limiter, name: str, rate_per_s: float) -> None:
        self._limiter = limiter
        rate = Rate(rate_per_s, max(LEAST_BURST, math.ceil(rate_per_s * BURST_S)))
        self._bucket = limiter.bucket(POLICY, name, rate)

    def wait_s(self) -> float:
        return self._limiter.wait_s(self._bucket)

    def take(self) -> None:
        self._limiter.draw(self._bucket)


class Paces:
    """The rates of all endpoints and subscriptions of one engine.

    Runs   a limiter's thread, started with the first rate there is: most engines have none
    Owns   the limiter
    Ends   ``stop``

    Without Redis each engine keeps to its part: the rate by the number of engines last counted.
    """

    def __init__(self, limiter: Callable[[], Limiter]) -> None:
        self._make = limiter
        self._limiter: Limiter | None = None
        self._lock = threading.Lock()

    def of(self, snapshot: Snapshot) -> Mapping[str, Paced]:
        """Return the rates in force by endpoint; those without any are not in it."""
        endpoints = {
            one.id: one.rate_per_s
            for one in snapshot.endpoints.values()
            if one.rate_per_s is not None
        }
        of_lanes: dict[str, dict[str, Pace]] = {}
        for live in snapshot.subscriptions.values():
            if live.rate_per_s is not None:
                paces = of_lanes.setdefault(live.endpoint.id, {})
                paces[live.id] = self._leased(live.id, live.rate_per_s)
        for replay in snapshot.replays.values():
            live, rate_per_s = replay.live, replay.rate_per_s
            name = live.id if rate_per_s is None else replay.id
            if (rate := live.rate_per_s if rate_per_s is None else rate_per_s) is not None:
                paces = of_lanes.setdefault(live.endpoint.id, {})
                paces[replay.id] = self._leased(name, rate)
        return {
            endpoint: Paced(
                self._leased(endpoint, endpoints[endpoint]) if endpoint in endpoints else None,
                of_lanes.get(endpoint, {}),
            )
            for endpoint in endpoints.keys() | of_lanes.keys()
        }

    def stop(self) -> None:
        """End the limiter's thread, where there is one."""
        with self._lock:
            if self._limiter is not None:
                self._limiter.stop()

    def _leased(self, name: str, rate_per_s: float) -> Leased:
        with self._lock:
            if self._limiter is None:
                self._limiter = self._make()
                self._limiter.start()
            return Leased(self._limiter, name, rate_per_s)
