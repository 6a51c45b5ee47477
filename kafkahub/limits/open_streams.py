"""How many streams are open at once, by key, partner and address, over all processes."""

import threading
from collections.abc import Callable, Iterator, Mapping

from kafkahub.limits.buckets import Company
from kafkahub.limits.headers import Refusal
from kafkahub.limits.leases import STREAMS_S
from kafkahub.limits.policies import ADDRESS, KEY, OPEN_STREAMS, PARTNER, Limited

WAIT_S = 5.0
"""What a refused one is told to wait: nobody knows when a stream will end."""


class Count:
    """Streams under one name.

    others   of other processes, or None while that is not known
    told_s   when this process told its own last; -inf: it is to be told
    """

    __slots__ = ("others", "own", "told_s")

    def __init__(self) -> None:
        self.own = 0
        self.others: int | None = None
        self.told_s = float("-inf")


class OpenStreams:
    """Counts streams and refuses one too many. Shared by all threads of a process.

    What other processes have is some milliseconds old where streams are being opened, at most
    ``STREAMS_S`` elsewhere; so a cap may be passed by the streams opened within that time.
    """

    def __init__(self, company: Company, ring: Callable[[], None]) -> None:
        self._company = company
        self._ring = ring
        self._lock = threading.Lock()
        self._counts: dict[str, Count] = {}

    def open(self, principal: Limited, address: str) -> Refusal | None:
        """Count one more stream and return None; or return why not, and count nothing."""
        with self._lock:
            names = list(_names(principal, address))
            if any(self._is_full(name, cap) for name, cap in names):
                return Refusal(WAIT_S, (OPEN_STREAMS,))
            for name, _ in names:
                self._add(name, 1)
        self._ring()
        return None

    def close(self, principal: Limited, address: str) -> None:
        """Count one less; once for each ``open`` that was not refused, with the same arguments."""
        with self._lock:
            for name, _ in _names(principal, address):
                self._add(name, -1)
        self._ring()

    def _is_full(self, name: str, cap: int) -> bool:
        count = self._counts.get(name)
        own = 0 if count is None else count.own
        if count is None or count.others is None or self._company.is_away:
            return own >= max(1, cap // self._company.processes)
        return own + count.others >= cap

    def _add(self, name: str, step: int) -> None:
        count = self._counts.setdefault(name, Count())
        count.own += step
        count.told_s = float("-inf")
        if count.own <= 0 and self._company.is_away:
            del self._counts[name]  # nobody to tell

    def collect_open(self, now_s: float) -> Mapping[str, int]:
        """Return the counts that are due to be told; see ``leases.Streams``."""
        with self._lock:
            due = {
                name: count
                for name, count in self._counts.items()
                if now_s - count.told_s >= STREAMS_S
            }
            for count in due.values():
                count.told_s = now_s
            return {f"streams:{name}": count.own for name, count in due.items()}

    def settle_open(self, others: Mapping[str, int]) -> None:
        """Take over what the other processes have; forget what nobody here has any more."""
        with self._lock:
            for full, number in others.items():
                name = full.removeprefix("streams:")
                count = self._counts.get(name)
                if count is None:
                    continue
                count.others = number
                if count.own <= 0 and count.told_s != float("-inf"):
                    del self._counts[name]


def _names(principal: Limited, address: str) -> Iterator[tuple[str, int]]:
    """Yield what a stream counts for, with its cap."""
    names = {
        KEY: f"key:{principal.id}",
        PARTNER: f"partner:{principal.partner}",
        ADDRESS: f"address:{address}",
    }
    for scope, cap in principal.limits.streams.items():
        yield names[scope], cap
