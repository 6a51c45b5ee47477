"""Sample records: three topics of a small shop, written at an even pace."""

import json
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from random import Random

from kafkahub.kafka.faults import KafkaUnavailable
from kafkahub.kafka.producer import Answer, Producer

TOPICS: Mapping[str, str] = {
    "orders": "Orders of the shop, from placed to delivered.",
    "stock": "How many pieces of an article a warehouse holds.",
    "payments": "Payments that came in, and how.",
}
"""Names and descriptions."""

OWN, OWN_DESCRIPTION = "jsontest", "Yours to try: the sample partner writes and reads it."
"""A topic without sample traffic."""
PARTITIONS = 3
STATES = ("placed", "packed", "shipped", "delivered")
WAREHOUSES = ("hamburg", "lyon", "porto")
METHODS = ("card", "transfer", "invoice")
CLOSE_S = 5.0


@dataclass(frozen=True, slots=True)
class Sample:
    """One record to be."""

    topic: str
    key: bytes
    value: bytes


def samples(chance: Random) -> Iterator[Sample]:
    """Yield records without end, the topics in turn."""
    number = 0
    while True:
        number += 1
        order = f"A-{1000 + chance.randrange(200)}"
        total = round(chance.uniform(5, 400), 2)
        yield _sample(
            "orders", order, order=order, state=chance.choice(STATES), total=total, currency="EUR"
        )
        article, place = f"sku-{chance.randrange(50):03}", chance.choice(WAREHOUSES)
        yield _sample(
            "stock", article, article=article, warehouse=place, pieces=chance.randrange(500)
        )
        method = chance.choice(METHODS)
        yield _sample(
            "payments", order, payment=f"P-{number}", order=order, amount=total, method=method
        )


def _sample(topic: str, key: str, **value: object) -> Sample:
    return Sample(topic, key.encode(), json.dumps(value).encode())


class Pace:
    """Writes samples until told to stop.

    Runs   in the caller's thread
    Ends   ``stop`` is set; the answers that are out are waited for
    """

    def __init__(self, producer: Producer, rate: float) -> None:
        self.stop = threading.Event()
        self.lost = 0
        self._producer = producer
        self._interval_s = 1 / rate

    def run(self) -> None:
        due = time.monotonic()
        for sample in samples(Random()):  # noqa: S311 - sample values are no secrets
            due += self._interval_s
            if self.stop.wait(max(0.0, due - time.monotonic())):
                break
            self._write(sample)
        self._producer.close()

    def _write(self, sample: Sample) -> None:
        """Give one record to Kafka; one that cannot be written is counted and said, not kept."""
        try:
            answer = self._producer.produce(sample.topic, sample.value, sample.key)
        except KafkaUnavailable as error:
            self._count(error)
        else:
            answer.add_done_callback(self._settle)

    def _settle(self, answer: Answer) -> None:
        error = answer.exception()
        if error is not None:
            self._count(error)

    def _count(self, error: BaseException) -> None:
        self.lost += 1
        print(f"a sample was not written ({self.lost} so far): {error}", flush=True)
