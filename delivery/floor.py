"""Which offsets are settled: the floor of a partition, or of a lane that is behind (pure)."""

from collections import deque


class Owed:
    """One record that somebody is still owed; shared by all deliveries of that record.

    offset   its Kafka offset
    pending  deliveries of it that are not settled yet
    """

    __slots__ = ("offset", "pending")

    def __init__(self, offset: int, pending: int) -> None:
        self.offset = offset
        self.pending = pending


class Floor:
    """The offset below which nothing is owed.

    Offsets are told in rising order, settled in any. The floor stands at the oldest record that is
    still owed, or behind the last one read when nothing is. Offsets that Kafka never hands out
    (compacted, aborted) need no entry: they are passed with the next one that is read.
    """

    __slots__ = ("_owed", "next_offset")

    def __init__(self, next_offset: int) -> None:
        self.next_offset = next_offset
        """The offset that will be read next."""
        self._owed: deque[Owed] = deque()

    def read(self, owed: Owed) -> None:
        """Note a record that is owed to somebody; its offset is at or above ``next_offset``."""
        self._owed.append(owed)
        self.next_offset = owed.offset + 1

    def skip_to(self, next_offset: int) -> None:
        """Note that everything below ``next_offset`` has been read; never goes back."""
        self.next_offset = max(self.next_offset, next_offset)

    def position(self) -> int:
        """Return the floor: everything below it is settled."""
        owed = self._owed
        while owed and owed[0].pending <= 0:
            owed.popleft()
        return owed[0].offset if owed else self.next_offset

    @property
    def is_settled(self) -> bool:
        """Whether nothing that was read is still owed."""
        return self.position() == self.next_offset
