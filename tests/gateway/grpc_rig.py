"""The gRPC process as operators start it, and partners that call it."""

import contextlib
import os
import queue
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
from django.db import connection
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc

from gateway.proto.kafkahub.v1 import kafkahub_pb2 as pb
from kafkahub import config
from kafkahub.kafka.options import producer_options
from kafkahub.kafka.producer import Producer
from subscriptions.models import Grant, Partner, Plan
from tests import factories
from tests.api import Caller
from tests.conftest import MakeTopic
from tests.streams.web import ROOT, free_port, wait_for

DEADLINE_S = 30.0
HUB, PROXY = "/kafkahub.v1.KafkaHub/", "/kafkahub.v1.KafkaProxy/"
DETAILS: Mapping[str, type[Message]] = {
    kind.DESCRIPTOR.full_name: kind
    for kind in (
        error_details_pb2.ErrorInfo,
        error_details_pb2.BadRequest,
        error_details_pb2.RetryInfo,
        error_details_pb2.QuotaFailure,
        error_details_pb2.ResourceInfo,
    )
}


@dataclass
class Server:
    """One gRPC process; ``settings`` are ours, without their prefix."""

    folder: Path
    settings: Mapping[str, str] = field(default_factory=dict)
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None

    @property
    def target(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def log(self) -> Path:
        return self.folder / "grpc.log"

    def start(self) -> None:
        """Start it, and return once it says that it serves."""
        self.launch()
        serving = health_pb2.HealthCheckResponse.SERVING
        wait_for(lambda: self.health() == serving, lambda: self.log.read_text()[-3_000:])

    def launch(self) -> None:
        """Start it, and return at once."""
        command = [sys.executable, "manage.py", "rungrpc", "--port", str(self.port)]
        with self.log.open("ab") as out:
            self.process = subprocess.Popen(
                command,
                cwd=ROOT,
                env=self._environment(),
                stdout=out,
                stderr=subprocess.STDOUT,
                process_group=0,
            )

    def signal(self, number: int) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def stop(self) -> int:
        """End it as a deployment does; return its exit status."""
        self.signal(signal.SIGTERM)
        assert self.process is not None
        return self.process.wait(DEADLINE_S)

    def kill(self) -> None:
        """End it as a lost machine does."""
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait(DEADLINE_S)

    def health(self, service: str = "") -> int | None:
        """Return what it says of a service; None where nobody answers."""
        with grpc.insecure_channel(self.target) as channel:
            stub = health_pb2_grpc.HealthStub(channel)
            try:
                asked = health_pb2.HealthCheckRequest(service=service)
                return int(stub.Check(asked, timeout=2).status)
            except grpc.RpcError:
                return None

    def _environment(self) -> dict[str, str]:
        base = config.load().database_url.get_secret_value()
        name = str(connection.settings_dict["NAME"])
        wanted = {"database_url": base.rsplit("/", 1)[0] + "/" + name, **self.settings}
        return {**os.environ, **{f"KAFKAHUB_{key.upper()}": text for key, text in wanted.items()}}


@contextlib.contextmanager
def serving(folder: Path, **settings: str) -> Iterator[Server]:
    """Yield a gRPC process."""
    server = Server(folder, settings)
    try:
        server.start()
        yield server
    finally:
        server.kill()


class Failure(Exception):
    """A call that ended with an error: its code, text and details by name."""

    def __init__(self, error: Any) -> None:
        self.code: grpc.StatusCode = error.code()
        self.text: str = error.details()
        self.trailing = dict(error.trailing_metadata() or ())
        raw = self.trailing.get("grpc-status-details-bin", b"")
        self.details = details_of(status_pb2.Status.FromString(raw))
        super().__init__(f"{self.code.name} {self.text} {self.details}")

    @property
    def reason(self) -> str:
        return str(self.details["ErrorInfo"].reason)

    @property
    def fields(self) -> list[str]:
        return [one.field for one in self.details["BadRequest"].field_violations]


def details_of(status: status_pb2.Status) -> dict[str, Any]:
    """Return the details of a status by the last part of their type."""
    found = {}
    for packed in status.details:
        full = packed.type_url.rsplit("/", 1)[1]
        found[full.rsplit(".", 1)[1]] = DETAILS[full].FromString(packed.value)
    return found


class Client:
    """One connection of a caller; methods as in the contract, requests by their members."""

    def __init__(self, target: str, key: str | None, **options: int) -> None:
        given = [(name.replace("__", "."), value) for name, value in options.items()]
        own = [("grpc.use_local_subchannel_pool", 1), *given]
        self.channel = grpc.insecure_channel(target, options=own)
        self.metadata = () if key is None else (("authorization", f"Bearer {key}"),)

    def close(self) -> None:
        self.channel.close()

    def call(self, method: str, request: Message, timeout_s: float = DEADLINE_S) -> Any:
        """Return the answer of a method with one. Raises Failure."""
        path = (PROXY if method == "SendMessage" else HUB) + method
        answer = getattr(pb, f"{method}Response")
        invoke = self.channel.unary_unary(path, type(request).SerializeToString, answer.FromString)
        try:
            return invoke(request, timeout=timeout_s, metadata=self.metadata)
        except grpc.RpcError as error:
            raise Failure(error) from None

    def publish(self, topic: str, *values: bytes, **members: Any) -> pb.PublishResponse:
        records = [pb.Record(value=value) for value in values]
        answer: pb.PublishResponse = self.call(
            "Publish", pb.PublishRequest(topic=topic, records=records, **members)
        )
        return answer

    def healths(self) -> Any:
        """Return what the server says of its health, each time that it changes."""
        stub = health_pb2_grpc.HealthStub(self.channel)
        return stub.Watch(health_pb2.HealthCheckRequest(), timeout=DEADLINE_S)

    def stream(self, method: str, requests: Iterable[Message]) -> "Talk":
        """Open a method that streams both ways."""
        kind = getattr(pb, f"{method}Request")
        answer = getattr(pb, f"{method}Response")
        invoke = self.channel.stream_stream(HUB + method, kind.SerializeToString, answer.FromString)
        return Talk(invoke(iter(requests), timeout=DEADLINE_S, metadata=self.metadata))

    def messages(self, **members: Any) -> "Talk":
        """Open ``ReceiveMessages``."""
        kind = pb.ReceiveMessagesRequest
        invoke = self.channel.unary_stream(
            PROXY + "ReceiveMessages",
            kind.SerializeToString,
            pb.ReceiveMessagesResponse.FromString,
        )
        return Talk(invoke(kind(**members), timeout=DEADLINE_S, metadata=self.metadata))


class Talk:
    """Answers of a stream as they come."""

    def __init__(self, answers: Any) -> None:
        self.answers = answers

    def __iter__(self) -> "Talk":
        return self

    def __next__(self) -> Any:
        try:
            return next(self.answers)
        except StopIteration:
            raise
        except grpc.RpcError as error:
            raise Failure(error) from None

    def cancel(self) -> None:
        self.answers.cancel()


@dataclass
class Stage:
    """A server, a topic that alice may read and write, and a writer past our doors."""

    server: Server
    alice: Caller
    topic: str
    producer: Producer
    clients: list[Client] = field(default_factory=list)

    def client(self, key: str | None = "", **options: int) -> Client:
        """Return a client with alice's key, with another, or with None."""
        made = Client(self.server.target, self.alice.key if key == "" else key, **options)
        self.clients.append(made)
        return made

    def write(
        self, *values: bytes, key: bytes | None = b"key", partition: int | None = None
    ) -> None:
        """Write values past our doors, and wait until Kafka has them."""
        for value in values:
            self.producer.produce(self.topic, value, key, partition=partition)
        self.producer.flush(30)


def caller(owner: Partner, name: str) -> Caller:
    """Return a caller with a key that may read and write records."""
    return factories.caller(owner, name, scopes=frozenset({"topic:*:read", "topic:*:write"}))


def entitle(owner: Partner, topic: str, *actions: str) -> None:
    """Grant a partner actions on a topic."""
    for action in actions:
        Grant.objects.create(partner=owner, topic=factories.topic(topic), action=action)


@contextlib.contextmanager
def staged(server: Server, make_topic: MakeTopic, partitions: int = 1) -> Iterator[Stage]:
    """Yield a stage with a topic and partner of its own; the log is shown when the test fails."""
    before = server.log.stat().st_size
    topic = make_topic(partitions=partitions)
    owner = factories.partner()
    if not Plan.objects.exists():
        factories.roomy_plan()
    entitle(owner, topic, "read", "write")
    producer = Producer(producer_options(config.load()))
    stage = Stage(server, caller(owner, "alice"), topic, producer)
    try:
        stage_is_known(stage)
        yield stage
    finally:
        for client in stage.clients:
            client.close()
        producer.close()
        with server.log.open("rb") as log:
            log.seek(before)
            sys.stdout.write(log.read().decode()[-4_000:])


def stage_is_known(stage: Stage) -> None:
    """Wait until the server has seen the stage's grants."""

    def names() -> list[str]:
        client = Client(stage.server.target, stage.alice.key)
        try:
            topics = client.call("ListTopics", pb.ListTopicsRequest()).topics
            return [one.name for one in topics if one.can_read and one.can_write]
        except Failure as failure:
            return [str(failure)]
        finally:
            client.close()

    wait_for(lambda: stage.topic in names(), names)


def failing(work: Callable[[], object]) -> Failure:
    """Return how a call fails; it must."""
    try:
        answer = work()
    except Failure as failure:
        return failure
    raise AssertionError(f"it did not fail: {answer}")


def start(topic: str, **members: Any) -> pb.SubscribeRequest:
    """Return the first message of a Subscribe."""
    position = members.pop("position", None)
    made = pb.Start(topics=[topic], **members)
    if position is not None:
        getattr(made, "from").CopyFrom(position)
    return pb.SubscribeRequest(start=made)


EARLIEST = pb.Position(edge=pb.EDGE_EARLIEST)


class Subscriber:
    """A client that says something more when it wants to."""

    def __init__(self, client: Client, first: pb.SubscribeRequest) -> None:
        self._says: queue.SimpleQueue[pb.SubscribeRequest | None] = queue.SimpleQueue()
        self._says.put(first)
        self.talk: Talk = client.stream("Subscribe", iter(self._says.get, None))
        self.cursor = ""

    def say(self, **kind: Any) -> None:
        self._says.put(pb.SubscribeRequest(**kind))

    def hear(self, kind: str) -> Any:
        """Return the next message of a kind; heartbeats are passed over."""
        for message in self.talk:
            found = message.WhichOneof("kind")
            if found == "heartbeat" and kind != "heartbeat":
                continue
            assert found == kind, message
            heard = getattr(message, kind)
            self.cursor = getattr(heard, "cursor", self.cursor)
            return heard
        raise AssertionError("the stream ended")

    def records(self, count: int) -> list[pb.ReceivedRecord]:
        """Return so many records, and no fewer."""
        found: list[pb.ReceivedRecord] = []
        while len(found) < count:
            found += self.hear("events").records
        return found

    def values(self, count: int) -> list[bytes]:
        return [one.value for one in self.records(count)]

    def close(self) -> None:
        self._says.put(None)
        self.talk.cancel()


def subscriber(play: Stage, **members: Any) -> Subscriber:
    made = Subscriber(play.client(), start(play.topic, **members))
    made.hear("ready")
    return made


def numbers(count: int, first: int = 0) -> list[bytes]:
    return [b"%d" % number for number in range(first, first + count)]
