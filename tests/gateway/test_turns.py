import asyncio
from itertools import groupby

import pytest

from gateway.turns import PER_ROUND, Rounds

CROWD = 5 * PER_ROUND


async def crowd(rounds: Rounds, seen: list[str]) -> list[asyncio.Task[None]]:
    """Return callers who have all come, and note their turns."""

    async def one() -> None:
        await rounds.next()
        seen.append("open")

    return [asyncio.create_task(one()) for _ in range(CROWD)]


async def beside(seen: list[str], callers: list[asyncio.Task[None]]) -> None:
    """Do something small each time that the loop comes round."""
    while not all(caller.done() for caller in callers):
        seen.append("else")
        await asyncio.sleep(0)


def test_others_are_served_between_the_openings_of_a_crowd() -> None:
    async def run() -> list[str]:
        seen: list[str] = []
        callers = await crowd(Rounds(), seen)
        await beside(seen, callers)
        return seen

    seen = asyncio.run(run())
    runs = [len(list(same)) for kind, same in groupby(seen) if kind == "open"]

    assert sum(runs) == CROWD
    assert max(runs) <= PER_ROUND


def test_a_crowd_is_let_through_in_its_order() -> None:
    async def run() -> list[int]:
        rounds, seen = Rounds(), list[int]()

        async def one(number: int) -> None:
            await rounds.next()
            seen.append(number)

        await asyncio.gather(*(one(number) for number in range(CROWD)))
        return seen

    assert asyncio.run(run()) == list(range(CROWD))


@pytest.mark.parametrize("gone", [0, PER_ROUND, CROWD - 1])
def test_who_has_gone_away_takes_nobodys_turn(gone: int) -> None:
    async def run() -> int:
        rounds, seen = Rounds(), list[str]()
        callers = await crowd(rounds, seen)
        await asyncio.sleep(0)
        callers[gone].cancel()
        await asyncio.gather(*callers, return_exceptions=True)
        await rounds.next()  # it still lets through
        return len(seen)

    assert asyncio.run(run()) >= CROWD - 1
