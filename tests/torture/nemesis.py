"""Which faults come, when, and to whom: drawn from one seed."""

import random
from collections.abc import Callable, Sequence

from tests.torture import faults
from tests.torture.run import Run, Track, pause, wait

Step = Callable[[Run], Track]

MODES = ("refuse", "down", "hang")
QUIET_S = 6.0
"""Before the first fault: connections and lanes come up, and resources are measured."""
LAST_OUTAGE_S = 12.0
DEATHS = 2
"""Failpoints that a run draws; tests/flows/test_failpoints.py dies at each of them."""


def processes_and_stores(seed: int, repeat: int = 1) -> list[Step]:
    """Return the first track: one fault after the other, in an order of the seed's.

    repeat  how often each comes; more than once is the long profile, with faults of its own
    """
    chance = random.Random(f"{seed}-processes")  # noqa: S311 - a repeatable run
    steps: list[Step] = []
    for _ in range(repeat):
        batch = _batch(chance) + (LONG_ONLY if repeat > 1 else [])
        chance.shuffle(batch)
        steps += batch
    return steps


LONG_ONLY: list[Step] = [
    lambda run: faults.rebalance_storm(run, 3),
    faults.redis_half_open,
]


def _batch(chance: random.Random) -> list[Step]:
    """Return one of each, as many as the quick profile has."""
    drawn = chance.sample(faults.FAILPOINTS, DEATHS)
    return [
        lambda run: faults.engines_killed(run, 10),
        faults.parent_killed,
        faults.everything_killed,
        _death("F03", "send.after_2xx", chance),
        _death("F04", "checkpoint.before_commit", chance),
        *(_death("F05", failpoint, chance) for failpoint in drawn),
        faults.stopped,
        faults.rolling_deploy,
        faults.drained_while_hanging,
        faults.redis_lost,
        faults.postgres_restarted,
        faults.postgres_restarted,
        faults.postgres_black,
        faults.broker_killed,
    ]


def _death(fault: str, failpoint: str, chance: random.Random) -> Step:
    nth = chance.randint(1, 3) if failpoint == "consume.after_claim" else chance.randint(2, 12)
    return lambda run: faults.death_at(run, fault, failpoint, nth)


def play(run: Run, steps: Sequence[Step]) -> Track:
    """Let faults come one after the other, while there are records to be delivered."""
    yield from pause(QUIET_S)
    for step in steps:
        if run.is_produced:
            run.unplayed += 1
            continue
        yield from step(run)


def endpoints(run: Run, is_over: Callable[[], bool]) -> Track:
    """Let one tenant's endpoints after the other be down for a while, and jobs be away once."""
    chance = random.Random(f"{run.seed}-endpoints")  # noqa: S311 - a repeatable run
    yield from pause(QUIET_S + chance.uniform(2.0, 6.0))
    yield from faults.control_away(run)
    while not is_over():
        tenant, mode = chance.choice(sorted(run.sinks)), chance.choice(MODES)
        yield from faults.endpoint_down(run, tenant, mode, chance.uniform(8.0, 15.0))
        yield from wait(is_over, chance.uniform(8.0, 15.0))


def last_outage(run: Run) -> Track:
    """One more endpoint down, with nothing else going on: its recovery is measured for sure."""
    tenant = run.random.choice(sorted(run.sinks))
    mode = run.random.choice(MODES)
    yield from faults.endpoint_down(run, tenant, mode, LAST_OUTAGE_S)


def keeper(run: Run, is_over: Callable[[], bool]) -> Track:
    """Replace workers that ended although nobody killed them, and remember their last words."""
    while not is_over():
        yield from wait(
            lambda: is_over() or any(not one.is_alive for one in run.product.workers), 3_600.0
        )
        for worker in [one for one in run.product.workers if not one.is_alive]:
            run.product.stop_worker(worker)
            run.deaths.append(worker.logged()[-2_000:])
            worker.child.finish(0.0)
            run.product.start_worker()
