"""A consumer whose partitions are assigned by its owner; it is in no group and commits nothing."""

from collections.abc import Callable, Iterable, Mapping, Sequence

from kafkahub.kafka.faults import OnError, OutOfRange, log_trouble
from kafkahub.kafka.intake import WATERMARKS_S, Intake, Part
from kafkahub.kafka.record import Position, Record


class Reader:
    """Reads given partitions from given offsets.

    Runs   in the thread that made it, after fork
    Owns   one librdkafka consumer: 2.4 MB and 6 threads, so few of these
    Ends   ``close``

    on_error         told of trouble that the client mends by itself
    on_out_of_range  told of a partition that stands still until ``seek`` or ``assign``
    """

    def __init__(
        self,
        options: Mapping[str, object],
        *,
        on_out_of_range: Callable[[OutOfRange], None],
        on_error: OnError = log_trouble,
    ) -> None:
        self._intake = Intake(options, on_error=on_error, on_out_of_range=on_out_of_range)

    def assign(self, positions: Sequence[Position]) -> None:
        """Read these partitions and no others.

        One that stands at its position already is left alone, with what is prefetched of it, so
        that taking up or dropping one partition costs the others nothing.
        """
        wanted = {(position.topic, position.partition): position for position in positions}
        present = self._intake.parts()
        if gone := present - wanted.keys():
            self._intake.remove(gone)
        if fresh := [position for part, position in wanted.items() if part not in present]:
            self._intake.add(fresh)
        for part in present & wanted.keys():
            if self._intake.position(part) != wanted[part].offset:
                self._intake.seek(wanted[part])

    def read(self, max_records: int, wait_s: float) -> list[Record]:
        """Return up to ``max_records`` records, after waiting ``wait_s`` for the first at most.

        The list may be empty before the time is up, when only the end of a partition was found.
        Raises ConsumerBroken when a new reader must be made.
        """
        return self._intake.read(max_records, wait_s)

    def seek(self, position: Position) -> None:
        """Go on at another offset. Raises NotAssigned when the partition is not read here."""
        self._intake.seek(position)

    def pause(self, parts: Iterable[Part]) -> None:
        """Return nothing of these partitions until ``resume``."""
        self._intake.pause(parts)

    def resume(self, parts: Iterable[Part]) -> None:
        """Go on with paused partitions where they stood."""
        self._intake.resume(parts)

    def position(self, topic: str, partition: int) -> int:
        """Return the offset the next record can have at the least.

        It passes what is never shown: transaction marks and aborted records.
        Raises NotAssigned when the partition is not read here.
        """
        return self._intake.position((topic, partition))

    def is_at_end(self, topic: str, partition: int) -> bool:
        """Return whether all that the partition held at the last look has been read."""
        return self._intake.is_at_end((topic, partition))

    def watermarks(
        self, topic: str, partition: int, deadline_s: float = WATERMARKS_S
    ) -> tuple[int, int]:
        """Return the first offset there is and the one after the last stable record.

        Raises UnknownTopic, or KafkaUnavailable when nobody answers in time.
        """
        return self._intake.watermarks((topic, partition), deadline_s)

    def close(self) -> None:
        """Give everything up."""
        self._intake.close()
