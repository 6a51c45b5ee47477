"""``/streams``: a partner sees what it has open, on all processes, and ends it."""

from collections.abc import Iterator
from typing import Any

import pytest
from django.db import connection

from kafkahub import ids
from kafkahub.limits.board import Board
from subscriptions import streams
from subscriptions.models import AuditEvent
from subscriptions.streams import Order
from tests import factories
from tests.api import Caller, json_of


@pytest.fixture
def orders() -> Iterator[Any]:
    """Yield what returns the orders that were given since."""
    with factories.connect() as listening:
        listening.execute(f"LISTEN {streams.CHANNEL}")
        yield lambda: [
            streams.read_order(each.payload) for each in listening.notifies(timeout=5, stop_after=1)
        ]


def test_a_partner_sees_its_streams_with_their_lag(alice: Caller, charlie: Caller) -> None:
    own = factories.open_stream(alice, lag_records=12, lag_seconds=3.5)
    factories.open_stream(charlie)

    answer = json_of(alice.get("/streams"))

    assert [row["id"] for row in answer["data"]] == [own.id]
    assert answer["complete"] is True
    assert answer["data"][0]["lag_records"] == 12
    assert answer["data"][0]["opened_at"] == "2026-01-01T00:00:00.000Z"
    assert "partner" not in answer["data"][0]
    assert "cursor" not in answer["data"][0]


def test_one_stream_is_shown_with_its_cursor(alice: Caller) -> None:
    own = factories.open_stream(alice)

    assert json_of(alice.get(f"/streams/{own.id}"))["cursor"] == own.cursor


def test_streams_are_found_by_topic_and_door_and_sorted_by_lag(alice: Caller) -> None:
    near = factories.open_stream(alice, lag_records=1)
    far = factories.open_stream(alice, lag_records=900, topics=("stock", "orders"))
    hidden = factories.open_stream(alice, lag_records=None, lag_seconds=None, transport="ws")

    def found(query: str) -> list[str]:
        return [row["id"] for row in json_of(alice.get(f"/streams?{query}"))["data"]]

    assert found("sort=lag") == [far.id, near.id, hidden.id]
    assert found("topic=stock") == [far.id]
    assert found("transport=ws") == [hidden.id]
    assert found("topic=nothing") == []


def test_a_long_list_has_pages(alice: Caller) -> None:
    made = {factories.open_stream(alice).id for _ in range(3)}

    first = json_of(alice.get("/streams?limit=2"))
    second = json_of(alice.get(f"/streams?limit=2&cursor={first['next_cursor']}"))

    assert {row["id"] for row in [*first["data"], *second["data"]]} == made
    assert second["next_cursor"] is None


def test_without_redis_the_list_is_this_process_own_and_says_so(
    alice: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = factories.open_stream(alice)
    monkeypatch.setattr(streams.here, "rows", [own])
    away = Board("redis://127.0.0.1:1/0", "streams")
    monkeypatch.setattr(streams, "board", lambda: away)

    answer = json_of(alice.get("/streams"))

    assert [row["id"] for row in answer["data"]] == [own.id]
    assert answer["complete"] is False


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(("action", "reason"), [("stop", "kicked"), ("reconnect", "moved")])
def test_closing_tells_every_process_and_is_audited(
    alice: Caller, orders: Any, action: str, reason: str
) -> None:
    own = factories.open_stream(alice)

    answer = alice.delete(f"/streams/{own.id}?action={action}")

    assert answer.status_code == 202
    assert orders() == [Order(stream=own.id, reason=reason)]
    event = AuditEvent.objects.get(verb="stream.closed")
    assert (event.object_id, event.partner) == (own.id, alice.partner.id)


@pytest.mark.django_db(transaction=True)
def test_revoking_a_ticket_ends_its_streams_everywhere(alice: Caller, orders: Any) -> None:
    row, _ = factories.ticket(alice)

    alice.delete(f"/stream-tickets/{row.pk}")

    assert orders() == [Order(ticket=row.pk, reason="revoked")]


def test_a_strangers_stream_is_the_404_of_nothing(alice: Caller, charlie: Caller) -> None:
    foreign = factories.open_stream(alice).id

    for stream in (foreign, ids.new("str")):
        assert charlie.get(f"/streams/{stream}").status_code == 404
        assert charlie.delete(f"/streams/{stream}").status_code == 404
    assert not AuditEvent.objects.filter(verb="stream.closed").exists()


def test_what_is_no_order_is_overheard() -> None:
    connection.close()

    assert streams.read_order("{") is None
    assert streams.read_order('{"stream": 1}') is None
