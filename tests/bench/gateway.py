"""``make bench-gateway``: what a record costs through REST and gRPC, on a real Kafka.

Prints one JSON line last. CPU is that of the web or gRPC process, user and system; a rate is that
of one core: what was done over the CPU seconds it took. Clients are processes of their own, in C
where they would be the bottleneck, and are not counted. Keys are checked and limits charged.
"""

import argparse
import base64
import json
import os
import subprocess
import tempfile
import time
from collections.abc import Callable
from http.client import HTTPConnection  # noqa: TID251 - the bench asks a server of ours
from pathlib import Path
from typing import Any, NamedTuple

import django
from django.core.management import call_command

from tests.bench.streams import Web, web_process

HERE = Path(__file__).resolve().parent
PARTITIONS = 4
CONNECTIONS = 32
WARM_UP = 500
HUNDRED = 100
POLL_RECORDS = 1_000
V2 = "application/vnd.kafka.v2+json"
JSON_V2 = "application/vnd.kafka.json.v2+json"


class Own(NamedTuple):
    """A partner's key, and the topics it may use."""

    key: str
    produced: str
    consumed: str
    admin: Any

    def stored(self, topic: str) -> int:
        """Return how many records a topic has."""
        return sum(high - low for low, high in self.admin.watermarks(topic).values())


def prepare(records: int) -> Own:
    """Make topics, one of them full, and a partner with a key and wide limits."""
    from kafkahub import config  # noqa: PLC0415
    from kafkahub.kafka.admin import Admin  # noqa: PLC0415
    from kafkahub.kafka.options import admin_options  # noqa: PLC0415
    from subscriptions import models  # noqa: PLC0415
    from tests import factories  # noqa: PLC0415
    from tests.gateway import grpc_rig  # noqa: PLC0415

    name = f"bench-gateway-{os.getpid()}-{int(time.time())}"
    admin = Admin(admin_options(config.load()))
    wide = {"per_s": 10_000_000, "burst": 1_000_000_000}
    kinds = ("requests", "bytes-in", "records-in", "bytes-out", "records-out", "control")
    plan = models.Plan.objects.create(name=name, rules={"key": dict.fromkeys(kinds, wide)})
    partner = models.Partner.objects.create(name=f"Bench {name}", plan=plan)
    topics = (f"{name}-in", f"{name}-out")
    for topic in topics:
        admin.create_topic(topic, PARTITIONS, deadline_s=15)
        grpc_rig.entitle(partner, topic, "read", "write")
    fill(topics[1], records)
    scopes = frozenset({"topic:*:read", "topic:*:write"})
    return Own(factories.caller(partner, scopes=scopes).key, *topics, admin)


def fill(topic: str, records: int) -> None:
    """Write records past our doors."""
    from kafkahub import config  # noqa: PLC0415
    from kafkahub.kafka.options import producer_options  # noqa: PLC0415
    from kafkahub.kafka.producer import NotWritten, Producer  # noqa: PLC0415
    from tests.bench.grpc_calls import VALUE  # noqa: PLC0415

    producer = Producer(producer_options(config.load()))
    for number in range(records):
        while True:
            try:
                producer.produce(topic, VALUE, b"key-%d" % (number % 1_000))
                break
            except NotWritten:  # the queue is full
                time.sleep(0.05)
    producer.flush(60)
    producer.close()


def build(folder: Path) -> Path:
    """Compile the client into a folder; return the program."""
    program = folder / "requests"
    subprocess.run(["cc", "-O2", "-o", str(program), str(HERE / "requests.c")], check=True)
    return program


class Producing(NamedTuple):
    """What produce requests of one kind came to; ``acknowledged`` counts records."""

    cpu_us: float
    requests_per_second: float
    acknowledged: int


def produce(web: Web, own: Own, program: Path, records: int, requests: int) -> Producing:
    """Send produce requests of so many records each, with an API key, on kept connections."""
    body = json.dumps({"records": [{"value": {"foo": "bar"}}] * records}).encode()
    head = (
        f"POST /topics/{own.produced} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: {JSON_V2}\r\n"
        f"Authorization: Bearer {own.key}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    request = program.parent / f"request-{records}"
    request.write_bytes(head.encode() + body)

    def run(count: int) -> dict[str, Any]:
        given = ["127.0.0.1", str(web.port), str(CONNECTIONS), str(count), str(request)]
        done = subprocess.run([str(program), *given], check=True, stdout=subprocess.PIPE)
        told: dict[str, Any] = json.loads(done.stdout)
        if told["bad"] or told["failed"]:
            raise SystemExit(f"not everything was written: {told}")
        return told

    run(WARM_UP)
    before = web.cpu_seconds()
    told = run(requests)
    spent = web.cpu_seconds() - before
    print(f"produce, {records} a request", told, f"{spent:.2f} s of CPU", flush=True)
    acknowledged = (requests + WARM_UP) * records
    return Producing(spent / requests * 1e6, requests / spent, acknowledged)


def consume(web: Web, own: Own, records: int) -> dict[str, float]:
    """Read a topic as a v2 consumer and by cursor; return records a CPU second of each."""
    return {
        "v2": _rate(web, lambda: read_v2(web, own, records)),
        "native": _rate(web, lambda: read_native(web, own, records)),
    }


def _rate(web: Web, read: Callable[[], int]) -> float:
    before = web.cpu_seconds()
    count = read()
    spent = web.cpu_seconds() - before
    print("consumed", count, f"{spent:.2f} s of CPU", flush=True)
    return count / spent


def read_v2(web: Web, own: Own, records: int) -> int:
    """Return how many records an instance of a group was given."""
    basic = base64.b64encode(f"{own.key}:".encode()).decode()
    asking = HTTPConnection("127.0.0.1", web.port, timeout=60)

    def ask(method: str, path: str, body: object = None) -> bytes:
        headers = {
            "Authorization": f"Basic {basic}",
            "Content-Type": "application/vnd.kafka.v2+json",
        }
        content = None if body is None else json.dumps(body)
        asking.request(method, path, content, headers)
        answer = asking.getresponse()
        if answer.status >= HTTP_ERROR:
            raise SystemExit(f"{method} {path}: {answer.status} {answer.read()!r}")
        return answer.read()

    settings = {"name": "i", "format": "json", "auto.offset.reset": "earliest"}
    ask("POST", "/consumers/bench", settings | {"max.poll.records": POLL_RECORDS})
    ask("POST", f"{INSTANCE}/subscription", {"topics": [own.consumed]})
    found = 0
    while found < records:
        found += ask("GET", f"{INSTANCE}/records").count(b'"offset":')
    ask("DELETE", INSTANCE)
    asking.close()
    return found


HTTP_ERROR = 400
INSTANCE = "/consumers/bench/instances/i"


def read_native(web: Web, own: Own, records: int) -> int:
    """Return how many records were read from the beginning, page by page."""
    asking, found, cursor = HTTPConnection("127.0.0.1", web.port, timeout=60), 0, ""
    while found < records:
        place = f"&cursor={cursor}" if cursor else ""
        path = f"/api/v1/topics/{own.consumed}/records?limit={POLL_RECORDS}{place}"
        asking.request("GET", path, headers={"Authorization": f"Bearer {own.key}"})
        answer = asking.getresponse()
        content = answer.read()
        if answer.status >= HTTP_ERROR:
            raise SystemExit(f"GET {path}: {answer.status} {content!r}")
        cursor = answer.headers["KafkaHub-Next-Cursor"]
        found += content.count(b'"offset":')
    asking.close()
    return found


def grpc_figures(own: Own, arguments: argparse.Namespace) -> tuple[dict[str, Any], int]:
    """Return what gRPC costs, and how many records it acknowledged."""
    from tests.bench import grpc_calls as calls  # noqa: PLC0415
    from tests.gateway import grpc_rig  # noqa: PLC0415

    with (
        tempfile.TemporaryDirectory() as folder,
        grpc_rig.serving(Path(folder), log_level="warning", test_hooks="false") as server,
    ):
        spent = Web(server.process.pid if server.process else 0, 0).cpu_seconds
        produced = calls.Target(server, own.key, own.produced, spent)
        consumed = calls.Target(server, own.key, own.consumed, spent)
        found: dict[str, Any] = {"unary_cpu_us": calls.unary(produced, arguments.calls)}
        print("gRPC, one record a call", found, flush=True)
        found["taken_per_second"] = calls.batches(produced, arguments.batches)
        found["stream"] = calls.stream(consumed, arguments.records)
        print("gRPC stream", found["stream"], flush=True)
        found["group"] = calls.stream(consumed, arguments.records, "bench-grpc")
        print("gRPC stream of a group", found["group"], flush=True)
    written = arguments.calls + calls.CONCURRENT + arguments.batches * calls.BATCH
    return found, written


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--records", type=int, default=1_000_000, help="of the topic that is read")
    parser.add_argument("--requests", type=int, default=30_000)
    parser.add_argument("--hundreds", type=int, default=3_000)
    parser.add_argument("--calls", type=int, default=6_000)
    parser.add_argument("--batches", type=int, default=1_000)
    arguments = parser.parse_args()
    django.setup()
    call_command("migrate", verbosity=0)
    own = prepare(arguments.records)
    with tempfile.TemporaryDirectory() as folder, web_process() as web:
        program = build(Path(folder))
        one = produce(web, own, program, 1, arguments.requests)
        hundred = produce(web, own, program, HUNDRED, arguments.hundreds)
        consumed = consume(web, own, arguments.records)
    grpc, written = grpc_figures(own, arguments)
    acknowledged = one.acknowledged + hundred.acknowledged + written
    print("records a CPU second", {**consumed, "PublishStream": grpc["taken_per_second"]})
    print(
        json.dumps(
            {
                "produce_1_cpu_us": round(one.cpu_us, 1),
                "produce_1_per_second": round(one.requests_per_second),
                "produce_100_records_per_second": round(hundred.requests_per_second * HUNDRED),
                "consume_records_per_second": round(consumed["v2"]),
                "grpc_records_per_second": grpc["stream"]["records_per_second"],
                "grpc_unary_cpu_us": round(grpc["unary_cpu_us"], 1),
                "acknowledged_minus_stored": acknowledged - own.stored(own.produced),
            }
        )
    )


if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "kafkahub.settings")
    main()
