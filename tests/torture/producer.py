"""Writes a tenant's records with acks=all, and notes each only after its answer.

Run as ``python -m tests.torture.producer FILE``; the file is JSON, see ``Plan``. A record whose
answer came is a line of ``acked``; one whose fate is not known is a line of ``unknown``.
"""

import functools
import json
import random
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from confluent_kafka import KafkaError, Message
from confluent_kafka import Producer as Client

OPTIONS = {
    "enable.idempotence": True,
    "acks": "all",
    "message.timeout.ms": 60_000,
    "linger.ms": 5,
    "log_level": 0,
}
ROUND_S = 0.02
FLUSH_S = 90.0


@dataclass(frozen=True, slots=True)
class Plan:
    """What a producer is told.

    tenants  topic and canary of each tenant
    least    records of all tenants together; then it ends as soon as the file ``stop`` is there
    most     it ends then in any case
    per_s    records a second, of all together
    keys     different keys a tenant
    """

    seed: int
    bootstrap: str
    tenants: dict[str, tuple[str, str]]
    least: int
    most: int
    stop: str
    per_s: float
    keys: int
    acked: str
    unknown: str

    @classmethod
    def read(cls, path: Path) -> "Plan":
        given: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return cls(**given)


class Producer:
    """Produces at a steady pace until all records have been handed over and answered."""

    def __init__(self, plan: Plan, acked: TextIO, unknown: TextIO) -> None:
        self._plan = plan
        self._random = random.Random(plan.seed)  # noqa: S311 - a repeatable run, no secret
        self._client = Client({**OPTIONS, "bootstrap.servers": plan.bootstrap})
        self._acked, self._unknown = acked, unknown

    def run(self) -> None:
        begun, made, stop = time.monotonic(), 0, Path(self._plan.stop)
        while made < self._plan.least or (made < self._plan.most and not stop.exists()):
            due = min(self._plan.most, int((time.monotonic() - begun) * self._plan.per_s))
            for seq in range(made, due):
                self._produce(seq)
            made = max(made, due)
            self._client.poll(ROUND_S)
            self._acked.flush()
        self._client.flush(FLUSH_S)

    def _produce(self, seq: int) -> None:
        tenant = self._random.choice(sorted(self._plan.tenants))
        topic, canary = self._plan.tenants[tenant]
        key = f"{tenant}-{self._random.randrange(self._plan.keys)}"
        record = {
            "tenant": tenant,
            "key": key,
            "seq": seq,
            "half": self._random.randrange(2),
            "canary": canary,
            "pad": "x" * self._random.randrange(400),
        }
        line = f"{topic}\t{tenant}\t{key}\t{seq}"
        while True:
            try:
                self._client.produce(
                    topic,
                    json.dumps(record).encode(),
                    key.encode(),
                    on_delivery=functools.partial(self._answered, line),
                )
            except BufferError:
                self._client.poll(ROUND_S)
            else:
                return

    def _answered(self, line: str, error: KafkaError | None, record: Message) -> None:
        if error is not None:
            self._unknown.write(f"{line}\t{error.name()}\n")
        else:
            self._acked.write(f"{line}\t{record.partition()}\t{record.offset()}\n")


def main(plan: Plan) -> None:
    with Path(plan.acked).open("a") as acked, Path(plan.unknown).open("a") as unknown:
        Producer(plan, acked, unknown).run()


if __name__ == "__main__":
    main(Plan.read(Path(sys.argv[1])))
