"""Two partners on one topic with other rows and masks: each sees exactly its own, by every door."""

import contextlib
import html
import json
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db.models import QuerySet
from django.test import Client as Browser
from websockets.sync.client import connect

from delivery.models import ParkedDelivery
from delivery.tasks import keep_replays, make_parked_anew
from gateway.proto.kafkahub.v1 import kafkahub_pb2 as pb
from subscriptions.actions.topics import update_grant
from subscriptions.audit import Actor, ActorKind
from subscriptions.models import Grant, Subscription
from tests import factories
from tests.api import Caller, json_of
from tests.conformance.client import Client
from tests.fakes.endpoint import Endpoint, ok, status
from tests.flows.conftest import Hub, wait_for
from tests.gateway import grpc_rig
from tests.gateway.grpc_rig import EARLIEST, Server, Subscriber, serving, start
from tests.streams.web import Web, running

pytestmark = [pytest.mark.kafka, pytest.mark.django_db(transaction=True)]

CANARY = "CANARY"
PARKED_PAGE = "/admin/delivery/parkeddelivery/"
LISTEN_S = 4
DEADLINE_S = 20.0
GERMAN: dict[str, object] = {
    "row_filter": {"value": {"country": "german-land"}},
    "fields": ["/country", "/n", "/card", "/items/*/price"],
    "masks": {"/card": "last4"},
}
FRENCH: dict[str, object] = {
    "key_rule": {"prefix": "francais:"},
    "masks": {"/email": "hash", "/card": "drop", "/secret": "null", "/items/*/cost": "drop"},
    "key_visible": False,
}


def order(country: str, number: int) -> bytes:
    """Return a value in which everything that somebody must not see is marked."""
    return json.dumps(
        {
            "country": country,
            "n": number,
            "email": f"{CANARY}-mail-{number}",
            "card": f"411111111110{number:04}",
            "secret": f"{CANARY}-secret-{number}",
            "items": [{"price": 1.5, "cost": f"{CANARY}-cost-{number}"}],
        }
    ).encode()


RECORDS = (
    (b"deutsch:1", order("german-land", 1)),
    (b"francais:2", order("french-land", 2)),
    (b"francais:3", b'{"broken": "%b' % CANARY.encode()),
    (b"deutsch:4", b"\xff" + CANARY.encode()),
    (b"deutsch:5", order("german-land", 5)),
    (b"francais:6", order("french-land", 6)),
)


@dataclass
class Side:
    """One partner, what it may see, and what it got by each door.

    own      numbers of its records
    foreign  what is the other's
    """

    caller: Caller
    key: str
    own: tuple[int, ...]
    foreign: tuple[bytes, ...]
    got: dict[str, bytes] = field(default_factory=dict)

    def leaks(self) -> dict[str, list[bytes]]:
        """Return by door what came through that must not."""
        never = (CANARY.encode(), b"4111111111", b'"offset"', b'"partition"', *self.foreign)
        found = {door: [one for one in never if one in blob] for door, blob in self.got.items()}
        return {door: leaked for door, leaked in found.items() if leaked}

    def lacks(self, doors: set[str]) -> dict[str, list[int]]:
        """Return by door the numbers of own records that did not come."""
        missing = {
            door: [one for one in self.own if b'"n":%d' % one not in self.got[door]]
            for door in doors
        }
        return {door: numbers for door, numbers in missing.items() if numbers}


@pytest.fixture
def parts(hub: Hub, tmp_path: Path) -> Iterator[tuple[Hub, Web, Server]]:
    folders = [tmp_path / name for name in ("web", "grpc")]
    for folder in folders:
        folder.mkdir()
    with running(folders[0], stream_drain="1") as web, serving(folders[1]) as server:
        yield hub, web, server


@pytest.fixture
def olga(transactional_db: None) -> Browser:
    """An operator with all rights, signed in."""
    browser = Browser()
    browser.force_login(User.objects.create_superuser("olga", password="correct horse"))
    return browser


def granted(topic: str, rules: Mapping[str, object], own: tuple[int, ...], *foreign: bytes) -> Side:
    owner = factories.partner()
    Grant.objects.create(partner=owner, topic=factories.topic(topic), **rules)
    scopes = frozenset({*factories.ALL_SCOPES, "topic:*:read"})
    caller = factories.caller(owner, "side", scopes=scopes)
    return Side(caller, caller.key, own, foreign)


def test_each_of_two_partners_sees_exactly_its_own(
    parts: tuple[Hub, Web, Server], olga: Browser, tmp_path: Path
) -> None:
    hub, web, server = parts
    topic = hub._make_topic(partitions=1)
    german = granted(topic, GERMAN, (1, 5), b"french-land", b"francais:")
    french = granted(
        topic, FRENCH, (2, 6), b"german-land", b"deutsch:", b"francais:2", b"francais:6"
    )
    sides = (german, french)
    for key, value in RECORDS:
        hub.producer.produce(topic, value, key, headers=[("trace", CANARY.encode())])
    hub.producer.flush(30)

    with contextlib.ExitStack() as stack:
        receivers = [stack.enter_context(Endpoint(status(500), ok())) for _ in sides]
        subscriptions = [
            subscribed(hub, side, topic, receiver.url)
            for side, receiver in zip(sides, receivers, strict=True)
        ]
        hub.engine()
        for side, receiver, made in zip(sides, receivers, subscriptions, strict=True):
            by_webhook(side, receiver, made)
            by_admin(side, made, olga)
            by_resend(side, receiver, made)
            by_preview(side, topic)
            by_replay(side, receiver, made)
    for side in sides:
        client = Client(web.url, side.key)
        wait_until_known(client, topic)
        by_rest(side, client, topic)
        by_streams(side, web, topic, tmp_path)
        by_websocket(side, web, topic)
        by_grpc(side, server, topic)

    carries = {"webhook", "resend", "replay", "preview", "rest", "ndjson", "events", "sse", "lines"}
    carries |= {"websocket"}
    for side in sides:
        assert side.leaks() == {}
        assert side.lacks(carries | {"grpc", "grpc group"}) == {}
        assert all(b'"n":%d' % one not in side.got["rest"] for one in (3, 4))


def wait_until_known(client: Client, topic: str) -> None:
    wait_for(lambda: topic in client.get("/topics").body.decode(), lambda: topic)


def subscribed(hub: Hub, side: Side, topic: str, url: str) -> Subscription:
    """Return a subscription of a side, from the first record, with all that may be included."""
    hub.partner = side.caller.partner
    endpoint, _ = hub.endpoint(url)
    everything = ["id", "record", "topic", "key", "headers", "position"]
    return hub.subscribe(topic, endpoint, include=everything, retry_schedule_s=[600])


def by_webhook(side: Side, receiver: Endpoint, made: Subscription) -> None:
    """Take what is pushed, and what was parked by a first failure."""
    requests = receiver.wait_for(len(side.own))
    shown = b"".join(one.body + json.dumps(dict(one.headers)).encode() for one in requests)
    side.got["webhook"] = shown
    wait_for(lambda: ParkedDelivery.objects.filter(subscription=made).exists(), lambda: "parked")
    [row] = ParkedDelivery.objects.filter(subscription=made)
    side.got["parked in the table"] = (row.content or b"") + bytes(row.key or b"")
    for name, path in {
        "parked": "/parked",
        "payload": f"/parked/{row.pk}/payload",
        "deliveries": "/deliveries",
        "position": f"/subscriptions/{made.pk}/position",
        "subscription": f"/subscriptions/{made.pk}",
        "topics": "/topics",
    }.items():
        side.got[name] = _members(side.caller.get(path).content)


def by_resend(side: Side, receiver: Endpoint, made: Subscription) -> None:
    """Have the parked record sent again, the last way its row is seen."""
    row = parked_of(made).get()
    assert side.caller.post(f"/deliveries/{row.pk}/resend").status_code == 202
    again = receiver.wait_for(len(side.own) + 1)
    side.got["resend"] = b"".join(one.body for one in again)


def by_preview(side: Side, topic: str) -> None:
    """Try a filter on the newest records."""
    asked = {"filter": {"value": {"n": {"$gte": 0}}}, "topic": topic, "last": 10}
    answer = side.caller.post("/filters/explain", asked)
    assert json_of(answer)["tested"] == json_of(answer)["matched"] == len(side.own)
    shown = (one["record"] for one in json_of(answer)["records"])
    side.got["preview"] = "".join(f"{one['key']}{one['value']}" for one in shown).encode()
    side.got["preview whole"] = _members(answer.content)


def by_replay(side: Side, receiver: Endpoint, made: Subscription) -> None:
    """Have everything sent again, and look at what is told of it."""
    before = len(receiver.received)
    source = {"kafka": {"from": "earliest", "to": "latest"}}
    asked = {"subscription": made.pk, "source": source, "auto_start": True}
    replay = json_of(side.caller.post("/replays", asked))["id"]
    wait_for(lambda: _state_of(side, replay) == "done", lambda: _state_of(side, replay))
    again = [dict(one.headers) | {"": one.body} for one in receiver.received[before:]]
    assert {one.get("kafkahub-replay") for one in again} == {replay}
    side.got["replay"] = b"".join(one.body for one in receiver.received[before:])
    side.got["replay heads"] = str(again).encode()
    shown = side.caller.get(f"/replays/{replay}")
    assert json_of(shown)["dry_run"]["count"] == len(side.own)
    assert json_of(shown)["progress"]["scanned"] is None
    side.got["replay shown"] = shown.content


def _state_of(side: Side, replay: str) -> str:
    keep_replays()
    return str(json_of(side.caller.get(f"/replays/{replay}"))["state"])


def by_admin(side: Side, made: Subscription, olga: Browser) -> None:
    """Look at what operators see of the parked record: the partner's form of it, its place too."""
    [row] = parked_of(made)
    seen = olga.get(f"{PARKED_PAGE}{row.pk}/change/").content
    asked = {"action": "see_payload", "_selected_action": [row.pk]}
    why = {"confirmed": "yes", "reason": "asked by the partner"}
    body = html.unescape(olga.post(PARKED_PAGE, {**asked, **why}).content.decode()).encode()
    assert any(b'"n":%d' % one in body.replace(b'": ', b'":') for one in side.own), body
    side.got["admin payload"] = body.replace(b'"partition"', b"").replace(b'"offset"', b"")
    side.got["admin page"] = html.unescape(seen.decode()).encode()


def _members(content: bytes) -> bytes:
    """Return an answer without members that are null: a name alone tells nothing."""
    return content.replace(b'"partition":null', b"").replace(b'"offset":null', b"")


def by_rest(side: Side, client: Client, topic: str) -> None:
    path = f"/api/v1/topics/{topic}/records?from=earliest"
    kinds = {
        "rest": "application/json",
        "ndjson": "application/x-ndjson",
        "events": "application/cloudevents-batch+json",
    }
    for name, kind in kinds.items():
        answer = client.get(path, Accept=kind)
        assert answer.status == 200, answer
        side.got[name] = answer.body + str(answer.headers).encode()
    made = client.post("/consumers/g", {"format": "json", "auto.offset.reset": "earliest"})
    instance = f"/consumers/g/instances/{made.json['instance_id']}"
    assert client.post(f"{instance}/subscription", {"topics": [topic]}).status == 403
    assert client.get(f"/topics/{topic}/partitions/0/offsets").status == 403
    plain = client.get(f"{path}&filter=%7B%22partition%22:0%7D")
    assert plain.code == (400, "invalid_filter")


def by_streams(side: Side, web: Web, topic: str, folder: Path) -> None:
    """Listen with curl, in every form at once."""
    url = f"{web.url}/streams/{topic}?from=earliest"
    wishes = {
        "sse": (url, "text/event-stream"),
        "sse raw": (f"{url}&format=raw", "text/event-stream"),
        "sse events": (f"{url}&format=cloudevents", "text/event-stream"),
        "lines": (url, "application/x-ndjson"),
    }
    running_: dict[str, subprocess.Popen[bytes]] = {}
    for name, (address, kind) in wishes.items():
        head = ["-H", f"Authorization: Bearer {side.key}", "-H", f"Accept: {kind}"]
        command = ["curl", "-sN", "--max-time", str(LISTEN_S), *head, address]
        running_[name] = subprocess.Popen(command, stdout=subprocess.PIPE)
    for name, process in running_.items():
        side.got[name] = process.communicate(timeout=DEADLINE_S)[0]


def by_websocket(side: Side, web: Web, topic: str) -> None:
    address = f"{web.url.replace('http', 'ws')}/ws?topics={topic}&from=earliest"
    headers = {"Authorization": f"Bearer {side.key}"}
    heard = b""
    with (
        contextlib.suppress(TimeoutError),
        connect(address, additional_headers=headers, proxy=None) as talk,
    ):
        while not all(b'"n":%d' % one in heard for one in side.own):
            heard += str(talk.recv(timeout=LISTEN_S)).encode()
    side.got["websocket"] = heard


def by_grpc(side: Side, server: Server, topic: str) -> None:
    client = grpc_rig.Client(server.target, side.key)
    try:
        listening = Subscriber(client, start(topic, position=EARLIEST))
        listening.hear("ready")
        records = listening.records(len(side.own))
        listening.close()
        side.got["grpc"] = _spelled(records)
        wish = start(topic, position=EARLIEST, group="g").start
        asked = pb.ReceiveRequest(start=wish, max_records=100, wait={"seconds": 5})
        side.got["grpc group"] = _spelled(client.call("Receive", asked).records)
    finally:
        client.close()


def _spelled(records: Any) -> bytes:
    """Return gRPC records as bytes in which a place would be found by its JSON name."""
    place = b'"offset"'
    shown = (
        one.SerializeToString() + (place if one.offset or one.partition else b"") for one in records
    )
    return b"".join(shown)


def test_a_narrowed_grant_lets_nothing_of_before_out(
    parts: tuple[Hub, Web, Server], tmp_path: Path
) -> None:
    hub, web, _ = parts
    topic = hub._make_topic(partitions=1)
    side = granted(topic, {}, (1, 2))
    secret = f"{CANARY}-secret".encode()

    with Endpoint(status(500), ok()) as receiver:
        made = subscribed(hub, side, topic, receiver.url)
        hub.engine()
        wait_until_known(Client(web.url, side.key), topic)
        heard = tmp_path / "heard"
        with listening(side, web, topic, heard):
            produced(hub, topic, b"deutsch:1", order("german-land", 1))
            wait_for(lambda: secret in heard.read_bytes(), heard.read_text)
            wait_for(parked_of(made).exists, lambda: "nothing parked")

            grant = Grant.objects.get(partner=side.caller.partner)
            masks = {"/secret": "drop", "/email": "null", "/items/*/cost": "drop", "/card": "hash"}
            update_grant(SYSTEM, grant, {"masks": masks})
            wait_for(lambda: b"grant_changed" in heard.read_bytes(), heard.read_text)

        answer = side.caller.get(f"/parked/{parked_of(made).get().pk}/payload")
        assert answer.status_code == 409
        make_parked_anew()
        row = parked_of(made).get()
        side.got["parked in the table"] = row.content or b""
        side.got["payload"] = side.caller.get(f"/parked/{row.pk}/payload").content
        before = len(receiver.received)
        produced(hub, topic, b"deutsch:2", order("german-land", 2))
        assert side.caller.post(f"/deliveries/{row.pk}/resend").status_code == 202
        came = receiver.wait_for(before + 2)[before:]
        side.got["webhook"] = b"".join(one.body for one in came)
    by_rest_alone(side, Client(web.url, side.key), topic)

    never = (CANARY.encode(), b"4111111111")
    assert {door: one for door, blob in side.got.items() for one in never if one in blob} == {}
    assert side.lacks({"webhook", "rest"}) == {}


SYSTEM = Actor(kind=ActorKind.SYSTEM, id="tests")


def parked_of(made: Subscription) -> QuerySet[ParkedDelivery]:
    return ParkedDelivery.objects.filter(subscription=made)


def produced(hub: Hub, topic: str, key: bytes, value: bytes) -> None:
    hub.producer.produce(topic, value, key).result(timeout=15)


def by_rest_alone(side: Side, client: Client, topic: str) -> None:
    answer = client.get(f"/api/v1/topics/{topic}/records?from=earliest")
    assert answer.status == 200, answer
    side.got["rest"] = answer.body


@contextlib.contextmanager
def listening(side: Side, web: Web, topic: str, heard: Path) -> Iterator[None]:
    """Keep a stream open; what it says is in the file."""
    command = ["curl", "-sN", "-H", f"Authorization: Bearer {side.key}"]
    with heard.open("wb") as out:
        client = subprocess.Popen([*command, f"{web.url}/streams/{topic}"], stdout=out)
        try:
            wait_for(lambda: b"heartbeat" in heard.read_bytes(), heard.read_text)
            yield
        finally:
            client.kill()
            client.wait(DEADLINE_S)
