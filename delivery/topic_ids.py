"""Kafka's ids of topics: they tell a topic from a later one of the same name."""

import time

from kafkahub.kafka.admin import Admin
from kafkahub.kafka.faults import KafkaUnavailable, NoAdminApi, UnknownTopic

RETENTION = "retention.ms"
KEPT_S = 30.0
"""How long an id is believed; a topic recreated meanwhile is mostly found by its offsets."""


class TopicIds:
    """Ids as they were told last; "" where the cluster gives none.

    Runs  in any thread: what is kept is replaced as a whole
    """

    def __init__(self, admin: Admin) -> None:
        self._admin = admin
        self._told: dict[str, tuple[str, float]] = {}
        self._kept_ms: dict[str, int] = {}

    def ask(self, topic: str) -> str:
        """Return the id of now. Raises KafkaUnavailable and UnknownTopic."""
        try:
            found = self._admin.topic_id(topic)
        except NoAdminApi:
            found = ""
        self._told[topic] = (found, time.monotonic())
        return found

    def known(self, topic: str) -> str:
        """Return the id that was told last, without asking; "" before that."""
        return self._told.get(topic, ("", 0.0))[0]

    def refresh(self, topic: str) -> str:
        """Return the id, asked for again when it is old; the last one while nobody answers."""
        told = self._told.get(topic)
        if told is None or time.monotonic() - told[1] >= KEPT_S:
            try:
                found = self.ask(topic)
                if found:  # else it has no admin API, which would tell its settings
                    self._kept_ms[topic] = int(self._admin.configs(topic).get(RETENTION, "-1"))
            except (KafkaUnavailable, UnknownTopic):
                # Not asked again at once: a topic that is gone is gone for more than a moment.
                self._told[topic] = (self.known(topic), time.monotonic())
        return self.known(topic)

    def kept_ms(self, topic: str) -> int | None:
        """Return how long the topic keeps records; None for ever, or where it was not told."""
        kept_ms = self._kept_ms.get(topic, -1)
        return kept_ms if kept_ms >= 0 else None
