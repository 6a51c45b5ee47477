"""Credits of one stream: what may still be sent."""

import asyncio
from contextlib import suppress

from gateway.grpc_service.asked import MAX_CREDIT_BYTES, MAX_CREDIT_RECORDS, wrong
from gateway.hub.reads import Bounds
from gateway.proto.kafkahub.v1 import kafkahub_pb2 as pb
from kafkahub.errors import Fault, Invalid


def overflow(field: str) -> Fault:
    """Return the fault of a balance that would be too high."""
    text = f"A balance is up to {MAX_CREDIT_RECORDS} records and {MAX_CREDIT_BYTES} bytes."
    return wrong(field, text)


def check_credit(start: pb.Start) -> None:
    """Raise Invalid for a first balance that is too high."""
    given = start.credit
    if given.records > MAX_CREDIT_RECORDS or given.bytes > MAX_CREDIT_BYTES:
        raise Invalid([overflow("start/credit")])


def counted(start: pb.Start) -> tuple[int | None, int | None]:
    """Return the first balances of records and bytes; None for what is not counted.

    Without credits nothing is; a balance that is 0 beside one that is not is not counted either.
    """
    if not start.HasField("credit"):
        return None, None
    given = start.credit
    records = given.records if given.records or not given.bytes else None
    size = given.bytes if given.bytes or not given.records else None
    return records, size


def raised(
    records: int | None, size: int | None, given: pb.Credit
) -> tuple[int | None, int | None]:
    """Return balances with a credit. Raises Invalid where none are counted, or too many."""
    if records is None and size is None:
        raise Invalid([wrong("credit", "Credits are counted where the start has some.")])
    more_records = None if records is None else records + given.records
    more_size = None if size is None else size + given.bytes
    if (more_records or 0) > MAX_CREDIT_RECORDS or (more_size or 0) > MAX_CREDIT_BYTES:
        raise Invalid([overflow("credit")])
    return more_records, more_size


class Balance:
    """The balances of a stream that is fed by reads. Lives on the event loop."""

    def __init__(self, records: int | None, size: int | None) -> None:
        self.records = records
        self.bytes = size
        self._added = asyncio.Event()

    @classmethod
    def of(cls, start: pb.Start) -> "Balance":
        return cls(*counted(start))

    def add(self, given: pb.Credit) -> None:
        """Raise the balances. Raises Invalid."""
        self.records, self.bytes = raised(self.records, self.bytes, given)
        self._added.set()

    def spend(self, records: int, size: int) -> None:
        """Take what was sent off the balances; the last record may overdraw the bytes."""
        if self.records is not None:
            self.records -= records
        if self.bytes is not None:
            self.bytes -= size

    async def room(self, most_records: int, most_bytes: int, wait_s: float) -> Bounds | None:
        """Return what may be sent, after waiting for credits; None where none came in time."""
        with suppress(TimeoutError):
            async with asyncio.timeout(wait_s):
                while self._is_empty():
                    self._added.clear()
                    await self._added.wait()
        if self._is_empty():
            return None
        records = most_records if self.records is None else min(most_records, self.records)
        size = most_bytes if self.bytes is None else min(most_bytes, self.bytes)
        return Bounds(max_records=records, max_bytes=size)

    def _is_empty(self) -> bool:
        return self.records == 0 or (self.bytes is not None and self.bytes <= 0)
