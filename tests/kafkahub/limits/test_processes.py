"""Four real processes on a real Redis are held to one limit."""

import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from kafkahub.limits.buckets import CHUNK_S
from tests.kafkahub.limits.conftest import OwnRedis

ROOT = Path(__file__).parents[3]
PROCESSES = 4
PER_S = 2_000
BURST = 400
SECONDS = 6.0


@dataclass(frozen=True)
class Spent:
    """What the processes had together, and what the limit allowed in their time."""

    accepted: int
    allowed: float
    are_away: list[bool]


class Spenders:
    """The processes; each stands ready until ``go``."""

    def __init__(self, url: str, requests: int) -> None:
        arguments = [url, PER_S, BURST, requests // PROCESSES, SECONDS, PROCESSES]
        command = [sys.executable, "-m", "tests.kafkahub.limits.spender", *map(str, arguments)]
        self.processes = [
            subprocess.Popen(
                command,
                cwd=ROOT,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            for _ in range(PROCESSES)
        ]

    def go(self) -> None:
        for process in self.processes:
            assert process.stdout
            assert process.stdout.readline() == "ready\n"
        for process in self.processes:
            assert process.stdin
            process.stdin.write("go\n")
            process.stdin.flush()

    def results(self) -> Spent:
        said = [process.communicate(timeout=60) for process in self.processes]
        assert [process.returncode for process in self.processes] == [0] * PROCESSES, said
        assert not any("Traceback" in errors for _, errors in said), said
        told = [json.loads(out) for out, _ in said]
        passed_s = max(one[2] for one in told) - min(one[1] for one in told)
        allowed = BURST + PER_S * passed_s
        return Spent(sum(one[0] for one in told), allowed, [one[3] for one in told])

    def kill(self) -> None:
        for process in self.processes:
            process.kill()
            process.communicate()


@pytest.fixture
def spenders(own_redis: OwnRedis) -> Iterator[Callable[[int], Spenders]]:
    """Return what makes the processes, for so many requests together."""
    made: list[Spenders] = []

    def make(requests: int) -> Spenders:
        made.append(Spenders(own_redis.url, requests))
        return made[-1]

    yield make
    for one in made:
        one.kill()


def test_requests_over_the_quota_are_accepted_within_a_hundredth_of_the_limit(
    spenders: Callable[[int], Spenders],
) -> None:
    four = spenders(100_000)

    four.go()
    spent = four.results()

    chunks = PROCESSES * PER_S * CHUNK_S
    assert spent.are_away == [False] * PROCESSES
    assert abs(spent.accepted - spent.allowed) <= 0.01 * spent.allowed, spent
    assert spent.accepted <= spent.allowed + chunks


def test_a_redis_killed_half_way_changes_little(
    own_redis: OwnRedis, spenders: Callable[[int], Spenders]
) -> None:
    four = spenders(40_000)

    four.go()
    threading.Event().wait(SECONDS / 2)  # half-way is a time here
    own_redis.kill()
    spent = four.results()

    assert spent.are_away == [True] * PROCESSES
    assert abs(spent.accepted - spent.allowed) <= 0.2 * spent.allowed, spent
