"""A deployment, a lost machine and a change of rights under open streams."""

import threading
from itertools import pairwise
from typing import Any
from urllib.parse import urlencode

import pytest
from django.test import Client

from subscriptions.actions.clients import revoke_client
from subscriptions.actions.keys import revoke_key
from subscriptions.audit import Actor, ActorKind
from subscriptions.models import Grant, Partner
from tests import factories
from tests.streams.reading import Reading, numbers, reading
from tests.streams.web import Stage

pytestmark = [pytest.mark.kafka, pytest.mark.django_db(transaction=True)]

CLIENTS = 8
ALL = 400
ACTOR = Actor(kind=ActorKind.SYSTEM, id="tests")


class Follower:
    """A client that comes back with its last id until it has seen ``count`` records."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.seen: list[int] = []
        self.ended_at: list[int] = []
        self.reasons: list[str] = []
        self.thread = threading.Thread(target=self._run)
        self._last_id: str | None = None
        self._between = threading.Event()
        self.is_ready = threading.Event()

    def _run(self) -> None:
        while len(self.seen) < ALL or self.seen[-1] < ALL - 1:
            try:
                self._follow()
            except OSError:
                self._between.wait(0.1)

    def _follow(self) -> None:
        headers = {
            "authorization": f"Bearer {self.stage.alice.key}",
            "last_event_id": self._last_id or "",
            "sec_fetch_mode": "cors",
        }
        with Reading(self.stage.web, f"/streams/{self.stage.topic}", headers) as opened:
            batch: list[int] = []
            for frame in opened.frames():
                self.is_ready.set()
                if frame.event == "message":
                    batch.append(frame.json["value"]["n"])
                elif frame.event == "closing":
                    self.reasons.append(frame.json["reason"])
                    self.ended_at.append(len(self.seen))
                if frame.id:
                    self._last_id = frame.id
                    self.seen += batch
                    batch = []
                if self.seen and self.seen[-1] >= ALL - 1:
                    return


def follow(stage: Stage) -> list[Follower]:
    followers = [Follower(stage) for _ in range(CLIENTS)]
    for one in followers:
        one.thread.start()
    for one in followers:
        assert one.is_ready.wait(30)
    return followers


def finish(stage: Stage, followers: list[Follower]) -> None:
    while stage.written < ALL:
        stage.write(min(20, ALL - stage.written))
    for one in followers:
        one.thread.join(60)
        assert not one.thread.is_alive(), one.seen[-5:]


def test_across_a_deployment_each_record_comes_once(stage: Stage) -> None:
    followers = follow(stage)
    writer = threading.Thread(target=write_slowly, args=(stage,))
    writer.start()

    assert stage.web.stop() in {0, -15}
    stage.web.start()
    writer.join()

    finish(stage, followers)
    for one in followers:
        assert one.seen == list(range(ALL))
        assert set(one.reasons) <= {"drain"}
        assert one.reasons


def write_slowly(stage: Stage) -> None:
    between = threading.Event()
    while stage.written < ALL // 2:
        stage.write(10)
        between.wait(0.1)


def test_after_a_lost_machine_at_most_a_batch_comes_again(stage: Stage) -> None:
    followers = follow(stage)
    writer = threading.Thread(target=write_slowly, args=(stage,))
    writer.start()

    stage.web.kill()
    stage.web.start()
    writer.join()

    finish(stage, followers)
    for one in followers:
        assert sorted(set(one.seen)) == list(range(ALL))
        assert all(later > earlier for earlier, later in pairwise(one.seen))


def test_old_streams_are_rotated_each_at_its_time_and_each_record_comes_once(stage: Stage) -> None:
    with stage.web.changed(stream_max_age="3"):
        stage.web.settle()
        followers = follow(stage)
        between = threading.Event()
        while not all(one.reasons for one in followers) and stage.written < ALL - CLIENTS:
            stage.write(1)
            between.wait(0.05)
        finish(stage, followers)

    for one in followers:
        assert one.seen == list(range(ALL))
        assert set(one.reasons) == {"rotation"}
    assert len({one.ended_at[0] for one in followers}) > 1


def test_a_revoked_key_ends_its_streams_and_the_next_request_stops_for_good(
    stage: Stage,
) -> None:
    with reading(stage) as opened:
        revoke_key(ACTOR, stage.alice.row, "test")

        closing = opened.until("closing")
        rest = opened.rest()

    assert closing.json["reason"] == "revoked"
    assert closing.json["action"] == "stop"
    assert rest == []


@pytest.mark.parametrize("end", ["token", "client"])
def test_an_oauth_token_that_ends_ends_its_streams_but_no_others(stage: Stage, end: str) -> None:
    client, secret = factories.oauth_client(stage.alice.partner)
    given = {"client_id": client.client_id, "client_secret": secret}
    asked: Any = Client().post(
        "/oauth/token/",
        urlencode({**given, "grant_type": "client_credentials", "scope": "topic:*:read"}),
        content_type="application/x-www-form-urlencoded",
    )
    token = asked.json()["access_token"]

    with reading(stage) as other, reading(stage, authorization=f"Bearer {token}") as opened:
        if end == "client":
            revoke_client(ACTOR, client, "test")
        else:
            Client().post(
                "/oauth/revoke_token/",
                urlencode({**given, "token": token}),
                content_type="application/x-www-form-urlencoded",
            )
        closing = opened.until("closing")
        stage.write(1)

        assert numbers(other.records(1)) == [0]

    assert (closing.json["reason"], closing.json["action"]) == ("revoked", "stop")


def test_a_removed_grant_ends_its_streams_and_no_record_comes_after(stage: Stage) -> None:
    with reading(stage) as opened:
        Grant.objects.filter(topic_id=stage.topic).delete()

        frames = opened.rest()
        stage.write(1)

    assert [one.event for one in frames] == ["closing"]
    assert frames[0].json["reason"] == "revoked"


def test_a_suspended_partner_reads_nothing_any_more(stage: Stage) -> None:
    with reading(stage) as opened:
        Partner.objects.filter(pk=stage.alice.partner.pk).update(status="suspended")

        assert opened.until("closing").json["reason"] == "revoked"


def test_a_grant_that_changes_lets_the_client_come_again(stage: Stage) -> None:
    with reading(stage) as opened:
        Grant.objects.filter(topic_id=stage.topic).update(version=7)

        closing = opened.until("closing")

    assert (closing.json["reason"], closing.json["action"]) == ("grant_changed", "reconnect")
    stage.write(1)
    with reading(stage, last_event_id=closing.id or "") as again:
        assert numbers(again.records(1)) == [0]
