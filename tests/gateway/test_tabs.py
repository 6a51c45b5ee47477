"""Writes are charged together, and whoever is over its rate waits."""

import asyncio
from dataclasses import replace

from gateway.frames import Sse
from gateway.hub.log import Entry
from gateway.hub.place import Place, Tokens
from gateway.hub.tabs import ENOUGH_BYTES, ENOUGH_RECORDS, Tab, Tabs, put
from gateway.hub.tape import Batch, Tape, Write
from kafkahub.kafka.record import Record
from kafkahub.limits import policies
from subscriptions.cursor import NO_EPOCH, tag
from subscriptions.grants import Principal
from tests.gateway import stream_makers as makers

ALICE = Principal(
    partner="ptn_1",
    kind="key",
    id="key_1",
    name="alice",
    mode="live",
    scopes=frozenset(),
    topics=None,
    expires_at_ms=2**50,
)


class Cashier:
    """Notes what is charged, and lets everybody wait for ``wait_s``."""

    def __init__(self, wait_s: float = 0.0) -> None:
        self.charged: list[tuple[str, str, str, int, int]] = []
        self.paying: list[Principal] = []
        self.held: list[tuple[Tab, float]] = []
        self.wait_s = wait_s
        self.tabs = Tabs(self._charge, lambda tab, wait_s: self.held.append((tab, wait_s)))

    def _charge(
        self, principal: Principal, transport: str, topic: str, records: int, size: int
    ) -> float:
        self.paying.append(principal)
        self.charged.append((principal.id, transport, topic, records, size))
        return self.wait_s

    def tab(self, principal: Principal = ALICE) -> Tab:
        return self.tabs.of(principal, "sse", makers.spec())[0]


def test_small_writes_are_charged_as_one() -> None:
    cashier = Cashier()
    tab = cashier.tab()
    for _ in range(10):
        tab.add(3, 100)
    assert cashier.charged == []

    asyncio.run(cashier.tabs.settle_all())
    asyncio.run(cashier.tabs.settle_all())

    assert cashier.charged == [("key_1", "sse", "orders", 30, 1_000)]


def test_what_is_much_is_charged_at_once() -> None:
    cashier = Cashier()
    tab = cashier.tab()

    tab.add(ENOUGH_RECORDS, 10)
    tab.add(1, ENOUGH_BYTES)

    assert [charged[3:] for charged in cashier.charged] == [(ENOUGH_RECORDS, 10), (1, ENOUGH_BYTES)]


def test_streams_of_one_credential_share_a_tab_while_there_is_one() -> None:
    cashier = Cashier()
    first, second = cashier.tab(), cashier.tab()
    other = cashier.tab(replace(ALICE, id="key_2"))

    assert first is second
    assert other is not first


def test_who_is_over_the_rate_is_held_once() -> None:
    cashier = Cashier(wait_s=1.5)
    tab = cashier.tab()

    tab.add(ENOUGH_RECORDS, 10)
    tab.add(ENOUGH_RECORDS, 10)

    assert tab.is_held
    assert cashier.held == [(tab, 1.5)]


def test_a_changed_plan_holds_for_streams_that_are_open() -> None:
    cashier = Cashier()
    tab = cashier.tab()
    rule = policies.Rule(policies.KEY, policies.RECORDS_OUT, 1, 1)
    now = replace(ALICE, limits=policies.limits([rule]))

    cashier.tabs.renew({"key_1": now})
    tab.add(ENOUGH_RECORDS, 1)

    assert cashier.paying == [now]


def test_a_write_of_several_topics_is_charged_to_each() -> None:
    cashier = Cashier()
    spec = replace(makers.spec(), topics=("invoices", "orders"))
    write = mixed(invoices=2, orders=3)

    put(write, cashier.tabs.of(ALICE, "sse", spec))
    asyncio.run(cashier.tabs.settle_all())

    charged = {topic: (records, size) for _, _, topic, records, size in cashier.charged}
    assert charged["invoices"][0] == 2
    assert charged["orders"][0] == 3
    assert sum(size for _, size in charged.values()) == len(write.payload)


def mixed(**counts: int) -> Write:
    """Return one write with so many records of each topic."""
    tags = {topic: (tag(topic), NO_EPOCH) for topic in counts}
    start = Place({(topic, 0): 0 for topic in counts}, 0)
    end = Place({(topic, 0): count for topic, count in counts.items()}, 0)
    entries = []
    for topic, count in counts.items():
        for offset in range(count):
            entry = Entry(Record(topic, 0, offset, 1, b"k", b"1"), 0)
            entry.frames[makers.ENVELOPE] = b"data: 1\n\n"
            entries.append(entry)
    tape = Tape(start, Tokens(tag("cluster"), tags))
    tape.extend([Batch(entries, makers.ENVELOPE, start, end)], end)
    return tape.write(0, 0, Sse())
