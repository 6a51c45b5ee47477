"""Idle transfers of endpoints that are met with TLS material of their own."""

from collections.abc import Callable

from kafkahub.certificates import ClientTls
from kafkahub.egress.curl import Transfer

MAX_IDLE = 512
"""Transfers kept of all endpoints together; each holds its material, some 20 KB."""


class OwnTransfers:
    """Transfers by the material they show; libcurl shares no connection between different ones.

    Owns   what was given back, until it is taken again or ``close``
    """

    def __init__(self, make: Callable[[ClientTls], Transfer], max_idle: int = MAX_IDLE) -> None:
        self._make = make
        self._max_idle = max_idle
        self._idle: dict[ClientTls, list[Transfer]] = {}
        self._count = 0

    def take(self, tls: ClientTls) -> Transfer:
        """Return a transfer that shows this material."""
        idle = self._idle.get(tls)
        if not idle:
            return self._make(tls)
        self._count -= 1
        return idle.pop()

    def give_back(self, tls: ClientTls, transfer: Transfer) -> None:
        """Keep a transfer for later; those of the material least lately used make room."""
        idle = self._idle.pop(tls, [])
        idle.append(transfer)
        self._idle[tls] = idle  # the newest of the dictionary now
        self._count += 1
        while self._count > self._max_idle:
            self._drop_oldest()

    def close(self) -> None:
        """Free all of them."""
        while self._idle:
            self._drop_oldest()

    def _drop_oldest(self) -> None:
        for transfer in self._idle.pop(next(iter(self._idle))):
            transfer.close()
            self._count -= 1
