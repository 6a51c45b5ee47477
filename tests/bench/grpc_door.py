"""What gRPC costs: CPU of the gRPC process by call and by record, on real Kafka.

Needs settings; the last line is JSON. The client is a process of its own and is not counted.
"""

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from uuid import uuid4

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "kafkahub.settings")
import django

django.setup()

# ruff: noqa: E402 - what follows imports models, so Django is set up first
import psutil

from gateway.proto.kafkahub.v1 import kafkahub_pb2 as pb
from kafkahub import config
from kafkahub.kafka.admin import Admin
from kafkahub.kafka.options import admin_options, producer_options
from kafkahub.kafka.producer import Producer
from subscriptions.models import Plan
from tests import factories
from tests.gateway import grpc_rig
from tests.gateway.grpc_rig import Client, Server

RECORDS = int(os.environ.get("BENCH_RECORDS", "500000"))
CALLS = int(os.environ.get("BENCH_CALLS", "6000"))
VALUE = b'{"order":"o-1234567","total":12.5,"currency":"EUR","items":[{"sku":"a-1","n":2}]}'
CREDIT = 20_000


def main() -> None:
    """Measure, and print one line of JSON last."""
    topic = f"bench-{uuid4().hex[:8]}"
    Admin(admin_options(config.load())).create_topic(topic, 4, deadline_s=15)
    owner = factories.partner()
    if not Plan.objects.filter(is_default=True).exists():
        _wide_plan()
    grpc_rig.entitle(owner, topic, "read", "write")
    key = grpc_rig.caller(owner, "bench").key
    with TemporaryDirectory() as folder, grpc_rig.serving(Path(folder), log_level="warning") as own:
        own_process = psutil.Process(own.process.pid if own.process else 0)
        figures: dict[str, object] = {"unary": _unary(own, own_process, key, topic)}
        _fill(topic)
        figures["stream"] = _stream(own, own_process, key, topic)
        figures["publish_stream"] = _batches(own, own_process, key, topic)
    print(json.dumps(figures))


def _wide_plan() -> None:
    wide = {"per_s": 10_000_000, "burst": 1_000_000_000}
    names = ("requests", "bytes-in", "records-in", "bytes-out", "records-out", "control")
    rules = {"key": dict.fromkeys(names, wide)}
    Plan.objects.create(name=f"bench-{uuid4().hex[:6]}", is_default=True, rules=rules)


def _fill(topic: str) -> None:
    producer = Producer(producer_options(config.load()))
    for number in range(RECORDS):
        while True:
            try:
                producer.produce(topic, VALUE, b"key-%d" % (number % 1_000))
                break
            except Exception:  # noqa: BLE001 - the queue is full
                time.sleep(0.05)
    producer.flush(60)
    producer.close()


def _cpu(process: psutil.Process) -> float:
    times = process.cpu_times()
    return times.user + times.system


UNARY = """
import asyncio, sys, grpc, time
sys.path.insert(0, sys.argv[4])
from gateway.proto.kafkahub.v1 import kafkahub_pb2 as pb
async def main():
    async with grpc.aio.insecure_channel(sys.argv[1]) as channel:
        invoke = channel.unary_unary("/kafkahub.v1.KafkaHub/Publish",
            pb.PublishRequest.SerializeToString, pb.PublishResponse.FromString)
        record = pb.Record(value=b'{"n":1}', key=b"k")
        request = pb.PublishRequest(topic=sys.argv[3], records=[record])
        metadata = (("authorization", "Bearer " + sys.argv[2]),)
        async def some(count):
            for _ in range(count):
                answer = await invoke(request, metadata=metadata)
                assert answer.results[0].HasField("written"), answer
        await asyncio.gather(*[some(int(sys.argv[5]) // 50) for _ in range(50)])
asyncio.run(main())
"""


def _unary(own: Server, process: psutil.Process, key: str, topic: str) -> dict[str, float]:
    root = str(Path(__file__).resolve().parents[2])

    def run(calls: int) -> None:
        arguments = [own.target, key, topic, root, str(calls)]
        subprocess.run([sys.executable, "-c", UNARY, *arguments], check=True)

    run(500)
    before, begun = _cpu(process), time.perf_counter()
    run(CALLS)
    spent, length = _cpu(process) - before, time.perf_counter() - begun
    return {"cpu_us": round(spent / CALLS * 1e6, 1), "per_second": round(CALLS / length)}


class Reader:
    """A client with credits; ``seen`` are the places of all that came, over all its lives."""

    def __init__(self, own: Server, key: str, topic: str) -> None:
        self.seen: set[tuple[int, int]] = set()
        self.copies = self.messages = 0
        self._own, self._key, self._topic = own, key, topic
        self._cursor = ""

    def read(self, stop: int) -> None:
        """Read on until so many records were seen, then vanish."""
        client, more, spent = Client(self._own.target, self._key), threading.Semaphore(0), 0
        talk = client.stream("Subscribe", self._says(more))
        for answer in talk:
            records = answer.events.records
            self._note(answer.events)
            spent += len(records)
            while spent >= CREDIT // 2:
                spent -= CREDIT // 2
                more.release()
            if len(self.seen) >= stop:
                break
        talk.cancel()
        more.release()
        client.close()

    def _says(self, more: threading.Semaphore) -> Iterator[pb.SubscribeRequest]:
        position = pb.Position(cursor=self._cursor) if self._cursor else grpc_rig.EARLIEST
        yield grpc_rig.start(self._topic, position=position, credit=pb.Credit(records=CREDIT))
        while more.acquire():
            yield pb.SubscribeRequest(credit=pb.Credit(records=CREDIT // 2))

    def _note(self, events: pb.Events) -> None:
        if not events.records:
            return
        self.messages += 1
        self._cursor = events.cursor
        for one in events.records:
            place = (one.partition, one.offset)
            self.copies += place in self.seen
            self.seen.add(place)


def _stream(own: Server, process: psutil.Process, key: str, topic: str) -> dict[str, float]:
    """Stream everything from the beginning, with credits; the client vanishes once."""
    reader = Reader(own, key, topic)
    before, begun = _cpu(process), time.perf_counter()
    reader.read(RECORDS // 2)
    reader.read(RECORDS)
    spent, length = _cpu(process) - before, time.perf_counter() - begun
    count = len(reader.seen)
    return {
        "records": count,
        "copies": reader.copies,
        "a_message": round(count / reader.messages, 1),
        "cpu_us": round(spent / count * 1e6, 2),
        "per_second_and_core": round(count / spent),
        "per_second": round(count / length),
    }


def _batches(own: Server, process: psutil.Process, key: str, topic: str) -> dict[str, float]:
    client = Client(own.target, key)
    records = [pb.Record(value=VALUE, key=b"k%d" % number) for number in range(100)]
    count = 1_000
    batches = (
        pb.PublishStreamRequest(seq=seq, batch=pb.PublishRequest(topic=topic, records=records))
        for seq in range(count)
    )
    before, begun = _cpu(process), time.perf_counter()
    answers = sum(1 for _ in client.stream("PublishStream", batches))
    spent, length = _cpu(process) - before, time.perf_counter() - begun
    written = answers * len(records)
    client.close()
    return {
        "records": written,
        "cpu_us": round(spent / written * 1e6, 2),
        "per_second_and_core": round(written / spent),
        "per_second": round(written / length),
    }


if __name__ == "__main__":
    main()
