"""What credentials got of topics and have not paid for yet.

Charging costs more than writing a frame, so writes are gathered and charged together: as soon as
there is something to speak of, and each second. Whoever got more than its rate is held for a while.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from weakref import WeakValueDictionary

from gateway.hub.audience import Spec
from gateway.hub.tape import Write
from subscriptions.grants import Principal

ENOUGH_RECORDS = 500
ENOUGH_BYTES = 256 * 1024
"""Charged at once from here on: the hundredth part of what a second of the standard rate gives, so
that many streams of one credential cannot run far ahead of it."""
AT_ONCE = 200
"""Tabs charged in one piece, some 5 µs each; then others have their turn on the event loop."""

Charge = Callable[[Principal, str, str, int, int], float]
"""Given principal, transport, topic, records and bytes: the seconds to wait before more."""


def free(_: Principal, __: str, ___: str, ____: int, _____: int) -> float:
    """Charge nothing."""
    return 0.0


class Tab:
    """What one credential got of one topic by one transport since it was charged last.

    is_held  it has to wait: nobody on this tab is written to
    is_due   it is charged with the next second
    """

    __slots__ = (
        "__weakref__",
        "_settle",
        "_wanted",
        "is_due",
        "is_held",
        "principal",
        "records",
        "size",
        "topic",
        "transport",
    )

    def __init__(
        self,
        principal: Principal,
        transport: str,
        topic: str,
        *,
        wanted: "Callable[[Tab], None]",
        settle: "Callable[[Tab], None]",
    ) -> None:
        self.principal = principal
        self.transport = transport
        self.topic = topic
        self.records = self.size = 0
        self.is_held = self.is_due = False
        self._wanted = wanted
        self._settle = settle

    def add(self, records: int, size: int) -> None:
        """Put a write on it."""
        self.records += records
        self.size += size
        if not self.is_due:
            self.is_due = True
            self._wanted(self)
        if self.records >= ENOUGH_RECORDS or self.size >= ENOUGH_BYTES:
            self._settle(self)


class Tabs:
    """The tabs of one process; lives on the event loop.

    charge   says how long who was charged has to wait
    on_held  told of a tab that has to, and the seconds; the hub then calls ``let_go``
    """

    def __init__(self, charge: Charge, on_held: Callable[[Tab, float], None]) -> None:
        self._charge = charge
        self._on_held = on_held
        self._tabs: WeakValueDictionary[tuple[str, str, str], Tab] = WeakValueDictionary()
        self._due: list[Tab] = []

    def of(self, principal: Principal, transport: str, spec: Spec) -> tuple[Tab, ...]:
        """Return the tabs of a listener, one a topic in their order."""
        return tuple(self._tab(principal, transport, topic) for topic in spec.topics)

    def renew(self, alive: Mapping[str, Principal]) -> None:
        """Hold credentials to the limits that they have now, by id."""
        for tab in list(self._tabs.values()):
            tab.principal = alive.get(tab.principal.id, tab.principal)

    async def settle_all(self) -> None:
        """Charge whatever is on tabs."""
        due, self._due = self._due, []
        for number, tab in enumerate(due, 1):
            tab.is_due = False
            self._settle(tab)
            if number % AT_ONCE == 0:
                await asyncio.sleep(0)

    def _tab(self, principal: Principal, transport: str, topic: str) -> Tab:
        name = (principal.id, transport, topic)
        tab = self._tabs.get(name)
        if tab is None:
            tab = Tab(principal, transport, topic, wanted=self._mark, settle=self._settle)
            self._tabs[name] = tab
        tab.principal = principal
        return tab

    def _mark(self, tab: Tab) -> None:
        self._due.append(tab)

    def _settle(self, tab: Tab) -> None:
        records, size = tab.records, tab.size
        if not (records or size):
            return
        tab.records = tab.size = 0
        wait_s = self._charge(tab.principal, tab.transport, tab.topic, records, size)
        if wait_s and not tab.is_held:
            tab.is_held = True
            self._on_held(tab, wait_s)


def put(write: Write, tabs: Sequence[Tab]) -> None:
    """Put one write on the tabs of a listener; 0.2 µs, for it is done for each."""
    if not write.shares:
        tabs[0].add(write.records, len(write.payload))
        return
    for tab, (records, size) in zip(tabs, write.shares, strict=True):
        if size:
            tab.add(records, size)
