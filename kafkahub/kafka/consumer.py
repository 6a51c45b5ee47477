"""The engines' consumer group: who reads which partition, and from where."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from kafkahub.kafka.faults import Kind, OnError, OutOfRange, log_trouble
from kafkahub.kafka.intake import WATERMARKS_S, Intake, Part
from kafkahub.kafka.record import Position, Record

OnAssigned = Callable[[list[Part]], Mapping[Part, int]]
OnGone = Callable[[list[Part]], None]


class GroupConsumer:
    """One member of a consumer group, whose positions are kept elsewhere.

    Runs   in the thread that made it, after fork; every callback is called inside ``read``
           or ``close``
    Owns   one librdkafka consumer
    Ends   ``close``, which leaves the group, so that others take over at once

    on_assigned      given the partitions that come, returns where each of them begins; when it
                     raises, ``read`` raises that and then ConsumerBroken for ever
    on_revoked       given the partitions that go; they are still ours until it returns
    on_lost          given partitions that somebody else may be reading already
    on_error         told of trouble that the client mends by itself
    on_out_of_range  told of a partition that stands still until ``seek``
    """

    def __init__(
        self,
        options: Mapping[str, object],
        *,
        group: str,
        on_assigned: OnAssigned,
        on_revoked: OnGone,
        on_lost: OnGone,
        on_out_of_range: Callable[[OutOfRange], None],
        on_error: OnError = log_trouble,
    ) -> None:
        self._on_assigned = on_assigned
        self._on_revoked = on_revoked
        self._on_lost = on_lost
        self._on_error = on_error
        self.commit_failures = 0
        own = {"group.id": group, "on_commit": self._note_commit}
        self._intake = Intake(
            {**options, **own}, on_error=on_error, on_out_of_range=on_out_of_range
        )

    @property
    def refused(self) -> Kind | None:
        """Why the brokers turn us away, where nothing has been read since; else None."""
        return self._intake.refused

    def subscribe(self, topics: Collection[str]) -> None:
        """Read these topics and no others; takes effect in one of the next ``read``."""
        consumer = self._intake.consumer
        if not topics:
            consumer.unsubscribe()
            return
        consumer.subscribe(
            sorted(topics),
            on_assign=self._assigned,
            on_revoke=self._revoked,
            on_lost=self._lost,
        )

    def read(self, max_records: int, wait_s: float) -> list[Record]:
        """Return up to ``max_records`` records, after waiting ``wait_s`` for the first at most.

        To be called at least every ``max.poll.interval.ms``, with all partitions paused if need
        be: else the group takes them away. The list may be empty before the time is up.
        Raises ConsumerBroken when a new consumer must be made, and whatever a callback raised.
        """
        return self._intake.read(max_records, wait_s)

    def assignment(self) -> frozenset[Part]:
        """Return the partitions that are ours."""
        return self._intake.parts()

    def position(self, topic: str, partition: int) -> int:
        """Return the offset the next record can have at the least.

        It passes what is never shown: transaction marks and aborted records.
        Raises NotAssigned when the partition is not ours.
        """
        return self._intake.position((topic, partition))

    def is_at_end(self, topic: str, partition: int) -> bool:
        """Return whether all that the partition held at the last look has been read."""
        return self._intake.is_at_end((topic, partition))

    def watermarks(
        self, topic: str, partition: int, deadline_s: float = WATERMARKS_S
    ) -> tuple[int, int]:
        """Return the first offset there is and the one after the last stable record.

        May be called in ``on_assigned``.
        Raises UnknownTopic, or KafkaUnavailable when nobody answers in time.
        """
        return self._intake.watermarks((topic, partition), deadline_s)

    def known_end(self, topic: str, partition: int) -> int | None:
        """Return the end of a partition as the client was told last, without asking; else None."""
        return self._intake.known_end((topic, partition))

    def pause(self, parts: Iterable[Part]) -> None:
        """Return nothing of these partitions until ``resume``; those not ours are passed over."""
        self._intake.pause(parts)

    def resume(self, parts: Iterable[Part]) -> None:
        """Go on with paused partitions where they stood; those not ours are passed over."""
        self._intake.resume(parts)

    def seek(self, position: Position) -> None:
        """Go on at another offset. Raises NotAssigned when the partition is not ours."""
        self._intake.seek(position)

    def commit_advisory(self, positions: Sequence[Position]) -> None:
        """Tell the brokers how far we are, for the sake of lag tools only.

        Nothing ever starts from there, so a failure is counted and told, no more.
        """
        offsets = [TopicPartition(*position) for position in positions]
        try:
            self._intake.consumer.commit(offsets=offsets, asynchronous=True)
        except KafkaException as error:
            self._note_commit(error.args[0], offsets)

    def close(self) -> None:
        """Leave the group; ``on_revoked`` is called for what is still ours."""
        self._intake.close()

    def _assigned(self, _: Consumer, places: list[TopicPartition]) -> None:
        parts = _parts(places)
        with self._intake.breaking("the place to begin was not found"):
            starts = self._on_assigned(parts) if parts else {}
            self._intake.add([Position(*part, starts[part]) for part in parts])

    def _revoked(self, _: Consumer, places: list[TopicPartition]) -> None:
        self._give_up(_parts(places), self._on_revoked)

    def _lost(self, _: Consumer, places: list[TopicPartition]) -> None:
        self._give_up(_parts(places), self._on_lost)

    def _give_up(self, parts: list[Part], tell: OnGone) -> None:
        with self._intake.breaking("giving partitions up failed"):
            try:
                tell(parts)
            finally:
                self._intake.remove(parts)

    def _note_commit(self, error: KafkaError | None, _: list[TopicPartition]) -> None:
        if error is not None:
            self.commit_failures += 1
            self._on_error(Kind.COMMIT, None, None, error.str())


def _parts(places: list[TopicPartition]) -> list[Part]:
    return [(place.topic, place.partition) for place in places]
