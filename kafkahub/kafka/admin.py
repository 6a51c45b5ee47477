"""Questions to the cluster: its name, its topics, where partitions begin and end.

The in-memory cluster has no controller and knows no times, so a few questions have no answer
there; that is normal and said as NoAdminApi.
"""

import logging
import time
from collections.abc import Mapping
from concurrent.futures import Future
from typing import cast

from confluent_kafka import (
    ConsumerGroupTopicPartitions,
    KafkaError,
    KafkaException,
    TopicCollection,
    TopicPartition,
)
from confluent_kafka.admin import (
    AdminClient,
    ClusterMetadata,
    ConfigEntry,
    ConfigResource,
    ListOffsetsResultInfo,
    NewTopic,
    OffsetSpec,
    TopicDescription,
)

from kafkahub.kafka.faults import (
    ALL_DOWN,
    KafkaUnavailable,
    Kind,
    NoAdminApi,
    UnknownTopic,
    kind_of,
)
from kafkahub.kafka.options import Options

DEADLINE_S = 5.0
"""Longest wait for an answer, unless the caller says otherwise."""

LEADER_POLL_S = 0.05
"""Between two questions whether a new topic can be used; it takes a few of them."""

IN_MEMORY = "mockCluster"
"""How the ids of librdkafka's in-memory clusters begin; nothing else tells them apart."""

_log = logging.getLogger(__name__)


class Admin:
    """A client for questions. Every answer has a deadline in seconds.

    Runs   in any thread, after fork
    Owns   one librdkafka client

    Every method raises KafkaUnavailable when there is no answer in time.
    """

    def __init__(self, options: Options) -> None:
        self._reason = ""
        self._client = AdminClient({**options}, error_cb=self._note, logger=_log)

    def cluster_id(self, deadline_s: float = DEADLINE_S) -> str:
        """Return the cluster's own id."""
        return str(self._metadata(deadline_s).cluster_id)

    def is_in_memory(self, deadline_s: float = DEADLINE_S) -> bool:
        """Return whether this is the in-memory cluster, which cannot answer everything."""
        return self.cluster_id(deadline_s).startswith(IN_MEMORY)

    def topics(self, deadline_s: float = DEADLINE_S) -> dict[str, int]:
        """Return the number of partitions by topic, Kafka's internal topics included."""
        topics = self._metadata(deadline_s).topics
        return {name: len(topic.partitions) for name, topic in topics.items()}

    def partitions(self, topic: str, deadline_s: float = DEADLINE_S) -> int:
        """Return how many partitions the topic has.

        All topics are asked for, because a question for one by name can create it.
        Raises UnknownTopic.
        """
        count = self.topics(deadline_s).get(topic, 0)
        if not count:
            raise UnknownTopic(topic)
        return count

    def topic_id(self, topic: str, deadline_s: float = DEADLINE_S) -> str:
        """Return the id that tells a topic from a later one of the same name.

        Raises UnknownTopic, and NoAdminApi on the in-memory cluster.
        """
        self._need_admin_api(deadline_s)
        answer = self._client.describe_topics(TopicCollection([topic]), request_timeout=deadline_s)
        description = cast("TopicDescription", self._answer(answer[topic], topic, deadline_s))
        return str(description.topic_id)

    def watermarks(self, topic: str, deadline_s: float = DEADLINE_S) -> dict[int, tuple[int, int]]:
        """Return by partition the first offset there is, and the one the next record gets.

        Raises UnknownTopic.
        """
        count = self.partitions(topic, deadline_s)
        lows = self._offsets(topic, count, OffsetSpec.earliest(), deadline_s)
        highs = self._offsets(topic, count, OffsetSpec.latest(), deadline_s)
        return {partition: (low, highs[partition]) for partition, low in lows.items()}

    def offsets_at(
        self, topic: str, unix_ms: int, deadline_s: float = DEADLINE_S
    ) -> dict[int, int]:
        """Return by partition the first offset whose record is of that time or later.

        Where there is none yet it is the offset the next record gets.
        Raises UnknownTopic, and NoAdminApi on the in-memory cluster, which knows no times.
        """
        self._need_admin_api(deadline_s)
        count = self.partitions(topic, deadline_s)
        # Asked before the times: a record that comes between is then read, not passed over.
        highs = self._offsets(topic, count, OffsetSpec.latest(), deadline_s)
        found = self._offsets(topic, count, OffsetSpec.for_timestamp(unix_ms), deadline_s)
        return {number: highs[number] if at < 0 else at for number, at in found.items()}

    def configs(self, topic: str, deadline_s: float = DEADLINE_S) -> dict[str, str]:
        """Return the topic's settings as Kafka has them, those without a value left out.

        Raises UnknownTopic, and NoAdminApi on the in-memory cluster.
        """
        self._need_admin_api(deadline_s)
        resource = ConfigResource(ConfigResource.Type.TOPIC, topic)
        answer = self._client.describe_configs([resource], request_timeout=deadline_s)
        told = self._answer(answer[resource], topic, deadline_s)
        entries = cast("dict[str, ConfigEntry]", told)
        return {
            name: str(entry.value) for name, entry in entries.items() if entry.value is not None
        }

    def committed(self, group: str, deadline_s: float = DEADLINE_S) -> dict[tuple[str, int], int]:
        """Return the offsets that a consumer group has committed, by topic and partition.

        A group that Kafka does not know has none.
        Raises NoAdminApi on the in-memory cluster.
        """
        self._need_admin_api(deadline_s)
        wanted = ConsumerGroupTopicPartitions(group)
        asked = self._client.list_consumer_group_offsets([wanted], request_timeout=deadline_s)
        answer = self._answer(asked[group], group, deadline_s)
        places = cast("ConsumerGroupTopicPartitions", answer).topic_partitions or ()
        return {(one.topic, one.partition): one.offset for one in places if one.offset >= 0}

    def commit(
        self,
        group: str,
        offsets: Mapping[tuple[str, int], int],
        deadline_s: float = DEADLINE_S,
    ) -> None:
        """Commit offsets for a consumer group in which nobody is.

        Partitions that Kafka does not have are passed over.
        Raises NoAdminApi on the in-memory cluster.
        """
        self._need_admin_api(deadline_s)
        places = [TopicPartition(*part, offset) for part, offset in sorted(offsets.items())]
        wanted = ConsumerGroupTopicPartitions(group, places)
        asked = self._client.alter_consumer_group_offsets([wanted], request_timeout=deadline_s)
        self._answer(asked[group], group, deadline_s)

    def create_topic(self, topic: str, partitions: int, deadline_s: float = DEADLINE_S) -> int:
        """Make a topic unless it is there; return how many partitions it has.

        For development and tests. The in-memory cluster makes a topic when it is first asked
        for by name, with a number of partitions of its own.
        """
        if self.is_in_memory(deadline_s):
            self._metadata(deadline_s, topic)
            return self.partitions(topic, deadline_s)
        wanted = NewTopic(topic, num_partitions=partitions)
        answer = self._client.create_topics([wanted], request_timeout=deadline_s)
        try:
            answer[topic].result(timeout=deadline_s + 1)
        except (KafkaException, TimeoutError) as error:
            if _code(error) == KafkaError.TOPIC_ALREADY_EXISTS:
                return self.partitions(topic, deadline_s)
            raise self._unavailable(error) from error
        self._wait_for_leaders(topic, deadline_s)
        return partitions

    def _wait_for_leaders(self, topic: str, deadline_s: float) -> None:
        """Return once the brokers answer for a new topic: the controller knows it before they do.

        Raises what the last question raised when they do not in time.
        """
        deadline = time.monotonic() + deadline_s
        while True:
            try:
                self.watermarks(topic, deadline_s)
            except (UnknownTopic, KafkaUnavailable):
                if time.monotonic() > deadline:
                    raise
                time.sleep(LEADER_POLL_S)
            else:
                return

    def _metadata(self, deadline_s: float, topic: str | None = None) -> ClusterMetadata:
        try:
            metadata = self._client.list_topics(topic, timeout=deadline_s)
        except KafkaException as error:
            raise self._unavailable(error) from error
        self._reason = ""
        return metadata

    def _need_admin_api(self, deadline_s: float) -> None:
        if self.is_in_memory(deadline_s):
            raise NoAdminApi("The in-memory cluster cannot answer this; a real broker can.")

    def _offsets(
        self, topic: str, count: int, spec: OffsetSpec, deadline_s: float
    ) -> dict[int, int]:
        wanted = {TopicPartition(topic, number): spec for number in range(count)}
        asked = self._client.list_offsets(wanted, request_timeout=deadline_s)
        offsets = {}
        for place, future in asked.items():
            found = cast("ListOffsetsResultInfo", self._answer(future, topic, deadline_s))
            offsets[place.partition] = found.offset
        return offsets

    def _answer(self, future: Future[object], topic: str, deadline_s: float) -> object:
        try:
            return future.result(timeout=deadline_s + 1)
        except (KafkaException, TimeoutError) as error:
            if _kind(error) is Kind.UNKNOWN_TOPIC:
                raise UnknownTopic(topic) from error
            raise self._unavailable(error) from error

    def _unavailable(self, error: BaseException) -> KafkaUnavailable:
        """Return our form of a failure, with the reason that the client met underneath."""
        self._client.poll(0)  # the client tells its reason only when it is asked
        text = error.args[0].str() if isinstance(error, KafkaException) else "no answer in time"
        return KafkaUnavailable(f"Kafka did not answer: {self._reason or text}")

    def _note(self, error: KafkaError) -> None:
        if error.code() != ALL_DOWN:  # that says no more than the failure itself
            self._reason = error.str()


def _code(error: BaseException) -> int | None:
    return error.args[0].code() if isinstance(error, KafkaException) else None


def _kind(error: BaseException) -> Kind | None:
    return kind_of(error.args[0]) if isinstance(error, KafkaException) else None
