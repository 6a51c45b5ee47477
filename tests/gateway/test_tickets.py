"""Pages that come back together ask once; verdicts are believed for seconds."""

import asyncio
from collections.abc import Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace

import pytest

from gateway.tickets import KEPT_S, TicketDesk
from kafkahub.errors import Unauthenticated, Unavailable
from subscriptions.authentication import tickets
from subscriptions.authentication.tickets import Ticket, Use
from subscriptions.grants import Principal

NOW_MS = 1_767_225_600_000
USE = Use(topics=("orders",), transport="sse")
TEXTS = ["kht_" + letter * 43 for letter in "abcdefgh"]


def ticket(text: str) -> Ticket:
    return Ticket(
        id=f"tkt_{text[-1]}",
        principal=Principal(
            partner="ptn_1",
            kind="key",
            id="key_1",
            name="key",
            mode="live",
            scopes=frozenset({"topic:orders:read"}),
            topics=frozenset({"orders"}),
            expires_at_ms=NOW_MS + 3_600_000,
        ),
        topics=("orders",),
        filter=None,
        format="",
        transports=frozenset({"sse"}),
        origin="",
        produce=False,
        max_connections=2,
        open_before_ms=NOW_MS + 60_000,
        opened=True,
    )


@dataclass
class Table:
    """What look-ups find, and how they were asked."""

    rows: dict[bytes, Ticket] = field(default_factory=dict)
    asked: list[set[bytes]] = field(default_factory=list)
    is_away: bool = False

    def look_up(self, digests: Collection[bytes]) -> dict[bytes, Ticket]:
        self.asked.append(set(digests))
        if self.is_away:
            raise Unavailable("away")
        return {digest: self.rows[digest] for digest in digests if digest in self.rows}


@pytest.fixture
def table() -> Table:
    return Table({tickets.digest(text): ticket(text) for text in TEXTS})


@pytest.fixture
def executor() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(2) as threads:
        yield threads


class Clock:
    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def test_pages_that_come_together_are_one_query(table: Table, executor: ThreadPoolExecutor) -> None:
    async def run() -> list[str]:
        desk = TicketDesk(executor, table.look_up)
        found = await asyncio.gather(*(desk.admit(text, USE, NOW_MS) for text in TEXTS * 3))
        return [each.id for each in found]

    found = asyncio.run(run())

    assert found == [f"tkt_{text[-1]}" for text in TEXTS * 3]
    assert len(table.asked) == 1


def test_a_verdict_is_believed_for_some_seconds_and_then_asked_again(
    table: Table, executor: ThreadPoolExecutor
) -> None:
    async def run() -> None:
        clock = Clock()
        desk = TicketDesk(executor, table.look_up, clock)
        await desk.admit(TEXTS[0], USE, NOW_MS)
        clock.now_s = KEPT_S - 0.1
        await desk.admit(TEXTS[0], USE, NOW_MS)
        assert len(table.asked) == 1
        clock.now_s = KEPT_S
        await desk.admit(TEXTS[0], USE, NOW_MS)
        assert len(table.asked) == 2

    asyncio.run(run())


def test_a_revoked_ticket_is_forgotten_at_once(table: Table, executor: ThreadPoolExecutor) -> None:
    async def run() -> None:
        desk = TicketDesk(executor, table.look_up)
        known = await desk.admit(TEXTS[0], USE, NOW_MS)
        digest = tickets.digest(TEXTS[0])
        table.rows[digest] = replace(known, refusal="The stream ticket was revoked.")

        desk.forget(known.id)

        with pytest.raises(Unauthenticated, match="revoked"):
            await desk.admit(TEXTS[0], USE, NOW_MS)

    asyncio.run(run())


def test_an_unknown_ticket_is_refused_and_no_longer_asked_for(
    table: Table, executor: ThreadPoolExecutor
) -> None:
    async def run() -> None:
        desk = TicketDesk(executor, table.look_up)
        for _ in range(3):
            with pytest.raises(Unauthenticated):
                await desk.admit("kht_" + "z" * 43, USE, NOW_MS)

    asyncio.run(run())

    assert len(table.asked) == 1


def test_while_postgresql_is_away_everybody_is_told_and_nothing_is_remembered(
    table: Table, executor: ThreadPoolExecutor
) -> None:
    async def run() -> None:
        desk = TicketDesk(executor, table.look_up)
        table.is_away = True
        told = await asyncio.gather(
            *(desk.admit(text, USE, NOW_MS) for text in TEXTS), return_exceptions=True
        )
        assert all(isinstance(each, Unavailable) for each in told)

        table.is_away = False
        assert (await desk.admit(TEXTS[0], USE, NOW_MS)).id == "tkt_a"

    asyncio.run(run())


def test_one_who_leaves_does_not_spoil_the_answer_for_the_others(
    table: Table, executor: ThreadPoolExecutor
) -> None:
    async def run() -> None:
        desk = TicketDesk(executor, table.look_up)
        leaving = asyncio.create_task(desk.admit(TEXTS[0], USE, NOW_MS))
        staying = asyncio.create_task(desk.admit(TEXTS[0], USE, NOW_MS))
        await asyncio.sleep(0)
        leaving.cancel()

        assert (await staying).id == "tkt_a"

    asyncio.run(run())
