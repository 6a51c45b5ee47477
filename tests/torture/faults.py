"""The faults of processes and stores: each injects, heals, and notes what it may cost.

Their ids are those of the catalogue in docs/promises.md.
"""

import os
import signal
import time
from typing import Final

import psutil

from tests.torture import probe
from tests.torture.history import Fault
from tests.torture.product import Running
from tests.torture.run import Run, Steps, Track, moved, pause, wait

FAILPOINTS: Final = (
    "consume.after_poll",
    "consume.after_claim",
    "send.after_2xx",
    "send.after_failure",
    "park.claimed",
    "checkpoint.before_commit",
    "checkpoint.after_commit",
)
"""Those that every healthy worker meets; each of the others has a test in tests/flows."""
DIE_S = 25.0
ORPHAN_S = 10.0
STOPPED_S = 10.0
"""Longer than the session (6 s) and than a lease (5 s)."""
EXIT_S = 30.0
AWAY_S = 15.0
BLACK_S = 15.0
START_S = 40.0


def engines_killed(run: Run, times: int) -> Track:
    """F01: single engines killed at random; Celery replaces each."""
    numbers = []
    for _ in range(times):
        found = run.engines()
        if found:
            at = time.monotonic()
            _, pid = run.random.choice(found)
            os.kill(pid, signal.SIGKILL)
            numbers.append(run.note(Fault("F01", at, at, at, run.size.crash, limit_s=10.0)))
        yield from pause(run.random.uniform(1.5, 4.0))
    yield from run.lasted(*numbers)


def engine_killed_at_work(run: Run, tenant: str) -> Track:
    """F01: an engine killed while a tenant gives no answers, so that it has records in hand."""
    yield from moved(run)
    run.order(tenant, "hang")
    yield from pause(1.0)
    at = time.monotonic()
    for _, pid in run.engines():
        os.kill(pid, signal.SIGKILL)
    run.order(tenant, "ok")
    number = run.note(Fault("F01", at, at, at, run.size.crash))
    yield from run.lasted(number)


def parent_killed(run: Run) -> Track:
    """F02: a worker's parent killed; its engine must not outlive it."""
    worker = run.random.choice(run.product.workers)
    engines = worker.engines()
    run.product.stop_worker(worker)
    at = time.monotonic()
    os.kill(worker.child.pid, signal.SIGKILL)
    is_gone = yield from wait(lambda: not any(map(psutil.pid_exists, engines)), ORPHAN_S)
    worker.kill()
    yield from pause(run.random.uniform(0.0, 3.0))
    run.product.start_worker()
    notes = {"orphans": 0 if is_gone else len(engines)}
    number = run.note(Fault("F02", at, at, at, run.size.crash, limit_s=15.0, notes=notes))
    yield from run.lasted(number)


def everything_killed(run: Run) -> Track:
    """F02: all our processes at once."""
    at = time.monotonic()
    doomed, workers = run.product.everything(), list(run.product.workers)
    for worker in workers:
        run.product.stop_worker(worker)
    for one in doomed:
        one.kill()
    yield from pause(run.random.uniform(0.0, 3.0))
    for _ in workers:
        run.product.start_worker()
    run.product.restart_others()
    healed = time.monotonic()
    doubles = run.size.crash * len(workers)
    number = run.note(Fault("F02", at, healed, healed, doubles, limit_s=15.0))
    yield from run.lasted(number)


def death_at(run: Run, fault: str, failpoint: str, nth: int) -> Track:
    """F03, F04, F05: a further engine joins, dies at a failpoint, and is not replaced."""
    at = time.monotonic()
    worker = run.product.start_worker(f"{failpoint}=kill@{nth}")
    yield from wait(lambda: worker.has_engine, DIE_S)
    engines = worker.engines()
    has_died = yield from wait(
        lambda: bool(engines) and not any(map(psutil.pid_exists, engines)), DIE_S
    )
    run.product.stop_worker(worker)
    worker.kill()
    notes = {"failpoint": failpoint, "nth": nth, "has_died": has_died}
    # A worker that never reached its failpoint was killed all the same.
    number = run.note(Fault(fault, at, time.monotonic(), at, run.size.crash, notes=notes))
    yield from run.lasted(number)


def stopped(run: Run) -> Track:
    """F06: an engine stopped past its session and leases, which then goes on as if nothing was."""
    found = run.engines()
    if not found:
        return
    _, pid = run.random.choice(found)
    at = time.monotonic()
    os.kill(pid, signal.SIGSTOP)
    yield from pause(STOPPED_S)
    if psutil.pid_exists(pid):
        os.kill(pid, signal.SIGCONT)
    number = run.note(Fault("F06", at, time.monotonic(), at, run.size.crash, limit_s=10.0))
    yield from run.lasted(number)


def control_away(run: Run) -> Track:
    """F09: no jobs and no beat for a while; deliveries do not notice."""
    at = time.monotonic()
    run.product.kill_control()
    yield from pause(AWAY_S)
    run.product.start_control()
    now = time.monotonic()
    run.note(Fault("F09", at, at, now, 0, limit_s=5.0))


def rolling_deploy(run: Run) -> Track:
    """F10: every worker asked to end, one by one, and a new one started: nothing is doubled."""
    at = time.monotonic()
    statuses, seen = [], []
    for worker in list(run.product.workers):
        fresh = run.product.start_worker()
        yield from wait(lambda fresh=fresh: fresh.has_engine, START_S)  # type: ignore[misc]
        yield from moved(run)
        status, readiness = yield from _drained(run, worker)
        statuses.append(status)
        seen.append(503 in readiness)
    notes = {"exit": statuses, "unready_first": seen}
    number = run.note(Fault("F10", at, time.monotonic(), at, 0, notes=notes))
    yield from run.lasted(number)


def drained_while_hanging(run: Run) -> Track:
    """F11: a worker asked to end while an endpoint gives no answer."""
    tenant = run.random.choice(sorted(run.sinks))
    at = time.monotonic()
    run.order(tenant, "hang")
    yield from pause(2.0)
    worker = run.random.choice(run.product.workers)
    begun = time.monotonic()
    status, _ = yield from _drained(run, worker)
    taken = time.monotonic() - begun
    run.order(tenant, "ok")
    run.product.start_worker()
    notes = {"exit": status, "seconds": round(taken, 1), "is_late": taken > EXIT_S}
    number = run.note(Fault("F11", at, time.monotonic(), at, run.size.window, notes=notes))
    yield from run.lasted(number)


def rebalance_storm(run: Run, times: int) -> Track:
    """F13: workers join and are lost, one after the other; records go on being delivered."""
    at = time.monotonic()
    for _ in range(times):
        worker = run.product.start_worker()
        yield from wait(lambda worker=worker: worker.has_engine, START_S)  # type: ignore[misc]
        yield from pause(run.random.uniform(0.0, 3.0))
        run.product.stop_worker(worker)
        worker.kill()
    number = run.note(Fault("F13", at, time.monotonic(), at, times * run.size.crash, limit_s=10.0))
    yield from run.lasted(number)


def redis_lost(run: Run) -> Track:
    """R01: Redis killed, back empty after a while, then emptied again: nobody notices."""
    at = time.monotonic()
    run.parts.end("redis")
    yield from pause(run.random.uniform(2.0, 5.0))
    run.parts.launch_again("redis")
    yield from pause(5.0)
    run.note(Fault("R01", at, at, time.monotonic(), 0, limit_s=5.0))


def redis_half_open(run: Run) -> Track:
    """R02: connections to Redis stay open and nothing comes through them."""
    at = time.monotonic()
    run.parts.proxy("redis", "blackhole")
    yield from pause(BLACK_S)
    run.parts.proxy("redis", "pass")
    run.note(Fault("R02", at, at, time.monotonic(), 0, limit_s=5.0))


def postgres_restarted(run: Run) -> Track:
    """PG01: PostgreSQL stopped at once, without a checkpoint, and started again."""
    at = time.monotonic()
    run.parts.end("postgres", signal.SIGQUIT)
    yield from pause(run.random.uniform(0.0, 2.0))
    run.parts.launch_again("postgres")
    healed = time.monotonic()
    doubles = run.size.crash * len(run.product.workers)
    number = run.note(Fault("PG01", at, healed, healed, doubles, limit_s=10.0))
    yield from run.lasted(number)


def postgres_black(run: Run) -> Track:
    """PG02: packets to PostgreSQL vanish; sending stops when enough outcomes wait."""
    at = time.monotonic()
    run.parts.proxy("postgres", "blackhole")
    yield from pause(BLACK_S)
    run.parts.proxy("postgres", "pass")
    healed = time.monotonic()
    doubles = run.size.crash * len(run.product.workers)
    number = run.note(Fault("PG02", at, healed, healed, doubles, limit_s=15.0))
    yield from run.lasted(number)


def broker_killed(run: Run) -> Track:
    """K01: the broker killed and started again on its log."""
    at = time.monotonic()
    run.parts.end("kafka")
    yield from pause(run.random.uniform(0.0, 2.0))
    run.parts.launch_again("kafka")
    doubles = run.size.crash * len(run.product.workers)
    number = run.note(Fault("K01", at, time.monotonic(), at, doubles, limit_s=30.0))
    yield from run.lasted(number)


def endpoint_down(run: Run, tenant: str, mode: str, seconds: float) -> Track:
    """E21: one tenant's endpoints refuse, answer 503 or hang for a while."""
    at = time.monotonic()
    run.order(tenant, mode)
    yield from pause(seconds)
    run.order(tenant, "ok")
    healed = time.monotonic()
    yield from pause(5.0)
    limit_s, until = 5.0, time.monotonic()
    # A sink that breaks all connections off loses the answers that were on their way.
    doubles = run.size.window if mode == "refuse" else 0
    run.note(Fault("E21", at, healed, until, doubles, limit_s, (tenant,), {"mode": mode}))


def _drained(run: Run, worker: Running) -> Steps[tuple[int, list[int]]]:
    """Ask a worker to end; return its exit status and what ``/readyz`` said meanwhile."""
    statuses: list[int] = []

    def has_ended() -> bool:
        if not worker.is_alive:
            return True
        statuses.append(probe.status(worker.port, "/readyz"))
        return False

    run.product.stop_worker(worker)
    worker.child.ask_to_stop()
    yield from wait(has_ended, EXIT_S + 15.0)
    return worker.child.finish(0.0), statuses
