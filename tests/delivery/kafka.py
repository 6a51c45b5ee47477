"""A topic with records in it, and a list that notes are posted to, for what reads from Kafka."""

import threading
import time
from collections.abc import Callable
from dataclasses import replace

from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient, NewPartitions

from delivery.inbox import Fed, Note
from kafkahub import config
from kafkahub.kafka.admin import Admin
from kafkahub.kafka.faults import KafkaUnavailable, UnknownTopic
from kafkahub.kafka.options import admin_options, producer_options
from kafkahub.kafka.producer import Producer
from subscriptions.grants import Grant
from subscriptions.live import LiveSubscription, Snapshot
from tests.delivery import makers

DEADLINE_S = 40.0


class Notes:
    """What was posted, in order; ``wait_for`` wakes with each note."""

    def __init__(self) -> None:
        self.all: list[Note] = []
        self._posted = threading.Condition()

    def post(self, note: Note) -> None:
        with self._posted:
            self.all.append(note)
            self._posted.notify_all()

    def wait_for(self, holds: Callable[[], bool]) -> None:
        with self._posted:
            if not self._posted.wait_for(holds, DEADLINE_S):
                raise AssertionError(f"posted so far: {self.all}")

    def fed(self, live: str) -> list[int]:
        """Return the offsets that the shared reader brought for a subscription."""
        return [
            offset
            for note in list(self.all)
            if isinstance(note, Fed)
            for offset, hits in note.hits
            if live in {name for name, _, _ in hits}
        ]


def produce(topic: str, count: int, *, partition: int = 0, start: int = 0) -> None:
    """Write records whose values count up; all are acknowledged when this returns."""
    producer = Producer(producer_options(config.load()))
    futures = [
        producer.produce(topic, b'{"id":%d}' % number, partition=partition)
        for number in range(start, start + count)
    ]
    producer.flush(30)
    for future in futures:
        future.result(0)
    producer.close()


def delete_before(topic: str, offset: int, *, partition: int = 0) -> None:
    """Let the log begin at ``offset``, as retention does."""
    client = AdminClient({**admin_options(config.load())})
    [deleted] = client.delete_records([TopicPartition(topic, partition, offset)]).values()
    deleted.result(DEADLINE_S)


def add_partitions(topic: str, count: int) -> None:
    """Let a topic have ``count`` partitions in all."""
    client = AdminClient({**admin_options(config.load())})
    [added] = client.create_partitions([NewPartitions(topic, count)]).values()
    added.result(DEADLINE_S)
    _wait_until(lambda: Admin(admin_options(config.load())).watermarks(topic)[count - 1])


def recreate(topic: str) -> None:
    """Delete a topic and make another of the same name."""
    client = AdminClient({**admin_options(config.load())})
    [deleted] = client.delete_topics([topic]).values()
    deleted.result(DEADLINE_S)
    _wait_until(lambda: Admin(admin_options(config.load())).create_topic(topic, 1))


def _wait_until(ask: Callable[[], object]) -> None:
    """Ask the cluster until all its brokers know; it gives no signal."""
    deadline = time.monotonic() + DEADLINE_S
    while True:
        try:
            ask()
        except (KafkaUnavailable, UnknownTopic, KeyError):
            if time.monotonic() > deadline:
                raise
        else:
            return


def reading(live: LiveSubscription, topic: str) -> LiveSubscription:
    """Return the subscription as one of this topic."""
    grant = Grant("grt_1", live.partner, topic, "read", 1)
    return replace(live, topics=(topic,), grants={topic: grant})


def snapshot(topic: str, *lives: LiveSubscription, version: int = 1) -> Snapshot:
    """Return what engines know: these subscriptions, all of one topic."""
    subscriptions = tuple(reading(live, topic) for live in lives)
    return Snapshot(
        version=version,
        subscriptions={live.id: live for live in subscriptions},
        by_topic={topic: subscriptions} if subscriptions else {},
        topics={topic: makers.topic(topic)},
        endpoints={live.endpoint.id: live.endpoint for live in subscriptions},
        grants={},
        stale_at_ms=None,
    )
