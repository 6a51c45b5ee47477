"""What a request pays for its limits: ``python -m tests.bench.limits``, one JSON line a case.

Needs the Redis that ``KAFKAHUB_REDIS_URL`` names. Every case is the best of seven runs, so that
other load on the machine counts little.
"""

import json
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

import structlog

from kafkahub import config
from kafkahub.limits import policies
from kafkahub.limits.limiter import Limiter
from kafkahub.limits.policies import Cost, Limits, Rule

RUNS = 7
TIMES = 50_000
WIDE = 10**9
"""Units a second and at once: nothing is ever refused here."""
PRODUCE = policies.cost(requests=1, bytes_in=1_000, records_in=10, topic="orders")
CASES: dict[str, tuple[tuple[str, ...], Cost]] = {
    "a request, key": ((policies.KEY,), policies.ONE_REQUEST),
    "a request, all four scopes": (policies.SCOPES, policies.ONE_REQUEST),
    "a produce of three policies, key": ((policies.KEY,), PRODUCE),
    "a produce of three policies, all four scopes": (policies.SCOPES, PRODUCE),
}


@dataclass(frozen=True)
class Principal:
    """Whoever pays."""

    id: str
    partner: str
    limits: Limits


def main() -> None:
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    for is_shared in (True, False):
        for name, (scopes, cost) in CASES.items():
            measure(name, scopes, cost, is_shared=is_shared)


def measure(name: str, scopes: tuple[str, ...], cost: Cost, *, is_shared: bool) -> None:
    """Print the microseconds of one case, with Redis or without."""
    together = threading.Event()
    limiter = Limiter(
        config.load().redis_url.get_secret_value(),
        processes=4,
        on_away=lambda is_away: None if is_away else together.set(),
    )
    if is_shared:
        limiter.start()
        together.wait(10)
    rules = [Rule(scope, policy, WIDE, WIDE) for scope in scopes for policy in policies.POLICIES]
    payer = Principal(f"key_{len(scopes)}", f"ptn_{len(scopes)}", policies.limits(rules))
    admit_us = best(lambda: limiter.admit(payer, "192.0.2.1", cost))
    headers_us = best(lambda: limiter.headers(payer, cost))
    limiter.stop()
    line = {"case": name, "redis": is_shared, "admit_us": admit_us, "headers_us": headers_us}
    print(json.dumps(line))


def best(act: Callable[[], object]) -> float:
    """Return the microseconds of one call in the best of some runs."""
    found = float("inf")
    for _ in range(RUNS):
        begun_s = time.perf_counter()
        for _ in range(TIMES):
            act()
        found = min(found, time.perf_counter() - begun_s)
    return round(found / TIMES * 1e6, 2)


if __name__ == "__main__":
    main()
