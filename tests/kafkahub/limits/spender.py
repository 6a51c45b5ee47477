"""One of several processes that spend from the same limit; run as ``python -m`` by the tests.

Arguments: Redis URL, units a second, burst, requests, seconds, processes assumed. Says ``ready``
once it shares the limits, begins with the first line it is sent, asks evenly over the seconds, and
ends with one line of JSON.
"""

import json
import sys
import threading
import time
from dataclasses import dataclass

import structlog

from kafkahub.limits import policies
from kafkahub.limits.limiter import Limiter
from kafkahub.limits.policies import ONE_REQUEST, Limits, Rule

TICK_S = 0.004


@dataclass(frozen=True)
class Principal:
    """Whoever pays, by what the limiter needs."""

    id: str
    partner: str
    limits: Limits


def main() -> None:
    url, per_s, burst, requests, seconds, processes = sys.argv[1:]
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    together = threading.Event()
    limiter = Limiter(
        url,
        processes=int(processes),
        on_away=lambda is_away: together.clear() if is_away else together.set(),
    )
    limiter.start()
    if not together.wait(10):
        sys.exit("Redis did not answer")
    rules = [Rule(policies.KEY, policies.REQUESTS, float(per_s), int(burst))]
    principal = Principal("key_spender", "ptn_spender", policies.limits(rules))
    say("ready")
    sys.stdin.readline()
    begun_s = time.monotonic()
    accepted = spend(limiter, principal, int(requests), float(seconds))
    ended_s = time.monotonic()
    is_away = limiter.is_away
    limiter.stop()
    say(json.dumps([accepted, begun_s, ended_s, is_away]))


def spend(limiter: Limiter, principal: Principal, requests: int, seconds: float) -> int:
    """Return how many of the requests were accepted, asked evenly over the time."""
    accepted = asked = 0
    begun_s = time.monotonic()
    pause = threading.Event()
    while asked < requests:
        due = min(requests, int(requests * (time.monotonic() - begun_s) / seconds) + 1)
        for _ in range(due - asked):
            accepted += limiter.admit(principal, "192.0.2.1", ONE_REQUEST) is None
        asked = due
        pause.wait(TICK_S)  # the load, not a wait for something: requests come spread in time
    return accepted


def say(line: str) -> None:
    print(line, flush=True)  # noqa: T201 - how the test is told


if __name__ == "__main__":
    main()
