import queue
import threading
from collections.abc import Callable, Sequence
from typing import Any, cast

from gateway.hub.catchup import Catchup, Job
from gateway.hub.groups import Frames
from gateway.hub.tape import Tape
from kafkahub.kafka.reader import Reader
from kafkahub.kafka.record import Position, Record
from tests.gateway.stream_makers import TOKENS, place, record, spec

DEADLINE_S = 10.0


class Shelf:
    """Stands where a reader of Kafka does: every offset has a record.

    may_read  set while reads return
    """

    def __init__(self, may_read: threading.Event) -> None:
        self._may_read = may_read
        self._next = 0

    def assign(self, positions: Sequence[Position]) -> None:
        for position in positions:
            self._next = position.offset

    def read(self, max_records: int, wait_s: float) -> list[Record]:  # noqa: ARG002 - a reader's shape; nothing here is waited for in time
        assert self._may_read.wait(DEADLINE_S)
        self._next += 1
        return [record(self._next - 1)]

    def position(self, topic: str, partition: int) -> int:  # noqa: ARG002 - there is one partition
        return self._next

    def close(self) -> None:
        """Give nothing up: there is nothing."""


class Shelves:
    """Makes them, and tells of each."""

    def __init__(self) -> None:
        self.may_read = threading.Event()
        self.made = queue.SimpleQueue[None]()

    def make(self, **_: Any) -> Reader:
        self.made.put(None)
        return cast("Reader", Shelf(self.may_read))  # it has what a slice uses


def catchup(shelves: Shelves) -> Catchup:
    frames = Frames("https://hub.example", lambda *_: "")
    return Catchup(shelves.make, frames, readers=2)


def job(reply: Callable[[Tape | None], None], start: int = 0) -> Job:
    then = (Tape(place(100), TOKENS), 0)
    return Job(spec("protobuf"), TOKENS, place(start), place(start + 1), then, reply)


def test_one_who_is_behind_alone_is_served_by_one_reader() -> None:
    shelves, replies = Shelves(), queue.SimpleQueue[Tape | None]()
    shelves.may_read.set()
    pool = catchup(shelves)

    for number in range(20):  # as a listener does: the next slice once it has had this one
        pool.submit(job(replies.put, number))
        tape = replies.get(timeout=DEADLINE_S)
        assert tape is not None
        assert tape.place.offsets == {("orders", 0): number + 1}
    pool.stop()

    assert shelves.made.qsize() == 1


def test_two_who_are_behind_are_served_side_by_side() -> None:
    shelves, replies = Shelves(), queue.SimpleQueue[Tape | None]()
    pool = catchup(shelves)

    pool.submit(job(replies.put))
    pool.submit(job(replies.put))
    for _ in range(2):  # a second reader is made while the first still reads
        shelves.made.get(timeout=DEADLINE_S)
    shelves.may_read.set()
    found = [replies.get(timeout=DEADLINE_S) for _ in range(2)]
    pool.stop()

    assert None not in found
