"""What doors ask Kafka about topics, without waiting twice: partitions, ends, ids, settings.

Partners see one virtual broker; of the real ones nothing is told.
"""

import asyncio
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

from kafkahub.kafka.faults import KafkaUnavailable, NoAdminApi

ENDS_S = 5.0
"""How long the ends of partitions count as known, as promised for lag."""
TOPICS_S = 10.0
"""How long numbers of partitions are kept: new ones are seen within 30 s."""
EPOCHS_S = 3.0
"""How long a topic counts as the same one: whoever reads is told within seconds that it is not."""
UNKNOWN_S = 1.0
"""The same for a topic that is not among those: somebody may ask for it on and on."""
FIXED_S = 300.0
ASK_S = 4.0
"""Longest wait for Kafka: every answer is out within 20 s, and some need two questions."""
THREADS = 4

DEFAULT_CONFIGS: Mapping[str, str] = {
    "cleanup.policy": "delete",
    "retention.ms": "604800000",
    "retention.bytes": "-1",
    "max.message.bytes": "1048588",
    "message.timestamp.type": "CreateTime",
}
"""The settings that partners see, with Kafka's own defaults for a cluster that tells none."""

Value = TypeVar("Value")
Marks = Mapping[int, tuple[int, int]]
"""By partition: the first offset there is, and the one the next record gets."""


class Questions(Protocol):
    """What is asked, see ``kafkahub.kafka.admin``; every call may block."""

    def cluster_id(self, deadline_s: float) -> str: ...
    def topics(self, deadline_s: float) -> dict[str, int]: ...
    def topic_id(self, topic: str, deadline_s: float) -> str: ...
    def watermarks(self, topic: str, deadline_s: float) -> dict[int, tuple[int, int]]: ...
    def offsets_at(self, topic: str, unix_ms: int, deadline_s: float) -> dict[int, int]: ...
    def configs(self, topic: str, deadline_s: float) -> dict[str, str]: ...


@dataclass(slots=True)
class _Memory(Generic[Value]):
    """Answers by question, each for ``life_s``; one question at a time is under way."""

    life_s: float
    known: dict[str, tuple[Value, float]] = field(default_factory=dict)
    asked: dict[str, "asyncio.Future[Value]"] = field(default_factory=dict)

    def get(self, name: str, *, young_s: float | None = None) -> Value | None:
        found = self.known.get(name)
        age_s = self.life_s if young_s is None else young_s
        if found is None or time.monotonic() - found[1] > age_s:
            return None
        return found[0]


class Topology:
    """Asks Kafka about topics and remembers the answers.

    Runs   on one event loop, the questions in threads of its own
    Ends   ``close``
    """

    def __init__(self, questions: Questions) -> None:
        self._questions = questions
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="topology")
        self._topics: _Memory[dict[str, int]] = _Memory(TOPICS_S)
        self._marks: _Memory[Marks] = _Memory(ENDS_S)
        self._cluster: _Memory[str] = _Memory(FIXED_S)
        self._epochs: _Memory[str] = _Memory(EPOCHS_S)
        self._configs: _Memory[dict[str, str]] = _Memory(FIXED_S)

    async def partitions(self, topic: str) -> int:
        """Return how many partitions a topic has; 0 where Kafka has none of the name.

        One that is not known may have been made just now, so Kafka is asked again for it.
        """
        topics = await self._ask(self._topics, "", self._count)
        if topic not in topics:
            topics = await self._ask(self._topics, "", self._count, young_s=UNKNOWN_S)
        return topics.get(topic, 0)

    async def marks(self, topic: str, *, fresh: bool = False) -> Marks:
        """Return first and end offsets, at most ``ENDS_S`` old; ``fresh``: asked now."""
        return await self._ask(
            self._marks,
            topic,
            lambda: self._questions.watermarks(topic, ASK_S),
            young_s=0.0 if fresh else None,
        )

    async def cluster(self) -> str:
        """Return Kafka's own cluster id."""
        return await self._ask(self._cluster, "", lambda: self._questions.cluster_id(ASK_S))

    @property
    def known_cluster(self) -> str:
        """The cluster id for those who cannot wait; somebody has asked ``cluster`` before them."""
        return self._cluster.known[""][0]

    async def epoch(self, topic: str) -> str:
        """Return what tells a topic from a later one of its name; ``""`` where nothing does."""
        return await self._ask(self._epochs, topic, lambda: self._epoch(topic))

    async def offsets_at(self, topic: str, unix_ms: int) -> Mapping[int, int]:
        """Return by partition the first offset of that time or later, the end where none is.

        Raises NoAdminApi where the cluster cannot seek by time.
        """
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(
            self._pool, lambda: self._questions.offsets_at(topic, unix_ms, ASK_S)
        )

    async def configs(self, topic: str) -> Mapping[str, str]:
        """Return the five settings that partners may see."""
        return await self._ask(self._configs, topic, lambda: self._public_configs(topic))

    def forget(self, topic: str) -> None:
        """Ask anew about a topic, whose offsets were found to mean other records."""
        self._marks.known.pop(topic, None)
        self._epochs.known.pop(topic, None)

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)

    async def _ask(
        self,
        memory: _Memory[Value],
        name: str,
        question: Callable[[], Value],
        *,
        young_s: float | None = None,
    ) -> Value:
        known = memory.get(name, young_s=young_s)
        if known is not None:
            return known
        asked = memory.asked.get(name)
        if asked is None or young_s is not None:
            loop = asyncio.get_running_loop()
            asked = memory.asked[name] = loop.run_in_executor(self._pool, question)
        try:
            # Shielded: others wait for the same answer.
            answer = await asyncio.shield(asked)
        finally:
            if asked.done() and memory.asked.get(name) is asked:
                del memory.asked[name]
        memory.known[name] = (answer, time.monotonic())
        return answer

    def _count(self) -> dict[str, int]:
        return self._questions.topics(ASK_S)

    def _epoch(self, topic: str) -> str:
        try:
            return self._questions.topic_id(topic, ASK_S)
        except NoAdminApi:
            return ""

    def _public_configs(self, topic: str) -> dict[str, str]:
        try:
            told = self._questions.configs(topic, ASK_S)
        except (NoAdminApi, KafkaUnavailable):
            told = {}
        return {name: told.get(name, default) for name, default in DEFAULT_CONFIGS.items()}
