"""What gRPC costs, for ``gateway.py``. The clients are processes of their own."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, Self

from gateway.proto.kafkahub.v1 import kafkahub_pb2 as pb
from tests.gateway.grpc_rig import Client, Server

ROOT = Path(__file__).resolve().parents[2]
VALUE = b'{"order":"o-1234567","total":12.5,"currency":"EUR","items":[{"sku":"a-1","n":2}]}'
CONCURRENT = 50
BATCH = 100
DEADLINE_S = 600

Spent = Callable[[], float]
"""Returns the CPU seconds of the gRPC process so far, user and system."""

UNARY = """
import asyncio, sys, grpc
sys.path.insert(0, sys.argv[4])
from gateway.proto.kafkahub.v1 import kafkahub_pb2 as pb
async def main():
    async with grpc.aio.insecure_channel(sys.argv[1]) as channel:
        invoke = channel.unary_unary("/kafkahub.v1.KafkaHub/Publish",
            pb.PublishRequest.SerializeToString, pb.PublishResponse.FromString)
        record = pb.Record(value=b'{"foo":"bar"}', key=b"k")
        request = pb.PublishRequest(topic=sys.argv[3], records=[record])
        metadata = (("authorization", "Bearer " + sys.argv[2]),)
        async def some(count):
            for _ in range(count):
                answer = await invoke(request, metadata=metadata)
                assert answer.results[0].HasField("written"), answer
        await asyncio.gather(*[some(int(sys.argv[5])) for _ in range(int(sys.argv[6]))])
asyncio.run(main())
"""


class Target(NamedTuple):
    """A gRPC process, a key, and a topic that the key may read and write."""

    server: Server
    key: str
    topic: str
    spent: Spent


def unary(target: Target, calls: int) -> float:
    """Return the CPU microseconds of a ``Publish`` with one record."""
    _run_unary(target, CONCURRENT)
    before = target.spent()
    _run_unary(target, calls)
    return (target.spent() - before) / calls * 1e6


def _run_unary(target: Target, calls: int) -> None:
    given = [target.server.target, target.key, target.topic, str(ROOT)]
    given += [str(calls // CONCURRENT), str(CONCURRENT)]
    subprocess.run([sys.executable, "-c", UNARY, *given], check=True)


def batches(target: Target, count: int) -> float:
    """Return the records a CPU second of ``PublishStream`` takes, 100 a batch."""
    client = Client(target.server.target, target.key)
    records = [pb.Record(value=VALUE, key=b"k%d" % number) for number in range(BATCH)]
    given = (
        pb.PublishStreamRequest(
            seq=seq, batch=pb.PublishRequest(topic=target.topic, records=records)
        )
        for seq in range(count)
    )
    before = target.spent()
    answers = list(client.stream("PublishStream", given))
    spent = target.spent() - before
    client.close()
    written: int = sum(one.HasField("written") for each in answers for one in each.result.results)
    if written != count * BATCH:
        raise SystemExit(f"only {written} of {count * BATCH} records were written")
    return written / spent


class Life:
    """One life of the client; ``known`` is what it told last. Use as a context manager."""

    def __init__(self, target: Target, group: str, stop: int, known: dict[str, Any]) -> None:
        given = [target.server.target, target.key, target.topic, group, str(stop)]
        self.known = known
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.bench.grpc_reader", *given, json.dumps(known)],
            cwd=ROOT,
            stdout=subprocess.PIPE,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()

    def follow(self, until: int) -> None:
        """Take in what it tells, until it has seen so many records."""
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self.known = json.loads(line)
            if self.known["seen"] >= until:
                return
        raise SystemExit(f"the client ended early: {self.known}")


def stream(target: Target, records: int, group: str = "-") -> dict[str, Any]:
    """Stream a topic from its beginning with credits; its client is killed half-way.

    The next one goes on with what the first told last, or with what its group acknowledged.
    """
    before = target.spent()
    with Life(target, group, records, {}) as first:
        first.follow(records // 2)
    with Life(target, group, records, first.known) as second:
        second.follow(records)
    spent, known = target.spent() - before, second.known
    return {
        "records": known["seen"],
        "lost": known["holes"],
        "copies": known["copies"],
        "a_message": round(known["seen"] / known["messages"], 1),
        "cpu_us": round(spent / known["seen"] * 1e6, 2),
        "records_per_second": round(known["seen"] / spent),
    }
