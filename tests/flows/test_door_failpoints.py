"""A web process dies at each crash point of its doors in turn: nothing is lost or written twice."""

import contextlib
import signal
from collections.abc import Iterator
from http.client import HTTPException  # noqa: TID251 - what a client meets when a server dies

import pytest
from django.db import connection

from kafkahub import config
from kafkahub.kafka.options import producer_options
from kafkahub.kafka.producer import Producer
from subscriptions.models import Grant
from tests import factories
from tests.conformance.client import V2, V2_JSON, Answer, Client
from tests.conformance.conftest import wait_for
from tests.conftest import MakeTopic
from tests.streams.reading import Reading
from tests.streams.web import Web, running

pytestmark = [
    pytest.mark.kafka,
    pytest.mark.django_db(transaction=True),
    pytest.mark.timeout(180),
]

WRITING = ("produce.after_send", "produce.after_ack", "idempotency.after_claim")
STREAMING = ("hub.before_append", "stream.mid_write")
PULLING = ("pull.before_hand_out", "pull.after_hand_out")
LOST = (OSError, HTTPException)
INSTANCE = "/consumers/g/instances/i"


class Partner:
    """Whoever writes, follows a stream and reads as a consumer, over any number of deaths."""

    def __init__(self, web: Web, key: str, topic: str) -> None:
        self.topic = topic
        self.web = web
        self._client = Client(web.url, key)
        self._producer = Producer(producer_options(config.load()))
        self._last_id = ""
        self.streamed: list[str] = []

    def topics(self) -> Answer:
        return self._client.get("/topics")

    def write(self, name: str) -> Answer:
        """Ask the REST door to write a record; always under the same Idempotency-Key."""
        body = {"records": [{"value": name}]}
        return self._client.post(f"/topics/{self.topic}", body, V2_JSON, Idempotency_Key=name)

    def append(self, name: str) -> None:
        """Write a record past our doors."""
        written = self._producer.produce(self.topic, b'"%b"' % name.encode(), None)
        self._producer.flush(30)
        written.result(0)

    def stream(self, until: str) -> None:
        """Follow the stream from where it was, until a record comes."""
        headers = {"authorization": f"Bearer {self._client.key}", "accept": "text/event-stream"}
        if self._last_id:
            headers["last_event_id"] = self._last_id
        path = f"/streams/{self.topic}?from=earliest&id=every"
        with Reading(self.web, path, headers) as opened:
            for frame in opened.frames():
                if frame.event == "message":
                    self.streamed.append(frame.json["value"])
                self._last_id = frame.id or self._last_id
                if until in self.streamed:
                    return

    def join(self) -> None:
        settings = {"name": "i", "format": "json", "auto.offset.reset": "earliest"}
        assert self._client.post("/consumers/g", settings, V2).status == 200
        wanted = {"topics": [self.topic]}
        assert self._client.post(f"{INSTANCE}/subscription", wanted, V2).status == 204

    def pull(self) -> list[str]:
        answer = self._client.get(f"{INSTANCE}/records?timeout=1000")
        return [one["value"] for one in answer.json] if answer.status == 200 else []

    def close(self) -> None:
        self._producer.close()


@pytest.fixture
def partner(tmp_path_factory: pytest.TempPathFactory, topic: MakeTopic) -> Iterator[Partner]:
    """Return a partner whose web process is not started yet."""
    factories.roomy_plan()
    name, owner = topic(1), factories.partner()
    for action in Grant.Action.values:
        Grant.objects.create(partner=owner, topic=factories.topic(name), action=action)
    key = factories.caller(owner, scopes=frozenset({"topic:*:read", "topic:*:write"})).key
    with running(tmp_path_factory.mktemp("web")) as web:
        made = Partner(web, key, name)
        yield made
        made.close()


def begin(partner: Partner, **settings: str) -> None:
    """Start the web process anew, and return once it knows the topic."""
    partner.web.kill()
    partner.web.settings = settings
    partner.web.start()
    wait_for(partner.topics, lambda told: partner.topic in str(told.body))


@contextlib.contextmanager
def dying(partner: Partner, name: str) -> Iterator[None]:
    """Start the web process so that it dies at a failpoint in what the caller does."""
    begin(partner, failpoints=f"{name}=kill", test_hooks="true")
    with contextlib.suppress(*LOST):
        yield
    assert partner.web.process is not None
    assert partner.web.process.wait(30) == -signal.SIGKILL, name


def test_whatever_a_door_dies_at_nothing_is_lost_or_written_twice(partner: Partner) -> None:
    begin(partner)
    partner.join()
    for name in WRITING:
        with dying(partner, name):
            partner.write(name)
    for name in STREAMING:
        with dying(partner, name):
            partner.append(name)
            partner.stream(until=name)
    for name in PULLING:
        with dying(partner, name):
            for _ in range(30):
                partner.pull()
    begin(partner)

    with connection.cursor() as cursor:  # nobody waits 45 s for the leases of the dead
        cursor.execute("UPDATE produce_receipt SET lease_until = now()")
    for name in WRITING:
        assert partner.write(name).json["offsets"][0]["error_code"] is None
    partner.append("end")

    wanted = {*WRITING, *STREAMING, "end"}
    partner.stream(until="end")
    assert set(partner.streamed) == wanted
    pulled: list[str] = []
    wait_for(partner.topics, lambda _: has_all(partner, pulled, wanted))
    assert sorted(pulled) == sorted(wanted)


def has_all(partner: Partner, pulled: list[str], wanted: set[str]) -> bool:
    pulled += partner.pull()
    return set(pulled) >= wanted
