"""WebSocket on a real Kafka: records both ways on one connection, and what bounds them."""

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed

from gateway.register import row
from subscriptions import grant_rules
from subscriptions.grant_rules import KeyRule, Rules
from subscriptions.projection import Projection, TopicForm
from tests.conftest import MakeTopic
from tests.streams.talk import Talking, client, eventually, serving

pytestmark = pytest.mark.kafka


@pytest.fixture(scope="module")
def server() -> Iterator[Talking]:
    with serving() as made:
        yield made


def values(events: list[dict[str, Any]]) -> list[object]:
    return [event["value"] for event in events]


def numbers(count: int, start: int = 0) -> list[dict[str, object]]:
    """Return records with numbers as their values, in one partition."""
    return [{"value": number, "partition": 0} for number in range(start, start + count)]


def test_records_go_both_ways_on_one_connection(server: Talking, topic: MakeTopic) -> None:
    name = topic(1)
    with client(server.expose(name)) as alice:
        assert alice.subscribe("a", name)["sub"] == "a"

        alice.produce("p", name, numbers(100))
        heard = {one["type"]: one for one in (alice.hear(), alice.hear())}

    assert heard["produced"]["written"] == 100
    assert [one["offset"] for one in heard["produced"]["records"]] == list(range(100))
    assert values(heard["events"]["events"]) == list(range(100))


def test_a_value_comes_back_byte_for_byte(server: Talking, topic: MakeTopic) -> None:
    name = topic(1)
    with client(server.expose(name)) as alice:
        alice.subscribe("a", name)
        alice.line.send(
            f'{{"type":"produce","id":"p","topic":"{name}",'
            '"records":[{"value": {"n": 1.50e0,"big":123456789012345678901} ,"key":"k"}]}'
        )
        texts = [alice.line.recv(), alice.line.recv()]

    assert any('"value":{"n": 1.50e0,"big":123456789012345678901}' in str(text) for text in texts)


def test_several_produces_are_written_in_their_order(server: Talking, topic: MakeTopic) -> None:
    name = topic(1)
    with client(server.expose(name)) as alice:
        for number in range(5):
            alice.produce(f"p{number}", name, numbers(20, start=20 * number))
        heard = [alice.hear() for _ in range(5)]
        alice.subscribe("a", name, **{"from": "earliest"})

        assert values(alice.events(100)) == list(range(100))

    assert {one["ref"] for one in heard} == {f"p{number}" for number in range(5)}


def test_a_report_tells_no_offset_where_a_grant_hides_records(
    server: Talking, topic: MakeTopic
) -> None:
    name = topic(1)
    port = server.expose(name)
    rules = Rules(key_rule=KeyRule(prefix=b"eu-"))
    projection = Projection(rules, TopicForm(name, "json", "constant", ""), b"k" * 32, "eu")
    grants = dict(server.snapshot.grants)
    grants["acme", name, "read"] = replace(grants["acme", name, "read"], projection=projection)
    server.snapshot = replace(server.snapshot, grants=grants)
    with client(port) as alice:
        alice.produce("p", name, numbers(2))
        records = alice.hear()["records"]

    told = {(one["partition"], one["offset"], one["cursor"]) for one in records}
    assert told == {(-1, -1, None)}


def test_one_bad_record_fails_alone(server: Talking, topic: MakeTopic) -> None:
    name = topic(1)
    with client(server.expose(name)) as alice:
        alice.produce("p", name, [{"id": "x", "value": 1}, {"id": "y", "value": 2, "partition": 9}])
        heard = alice.hear()

    good, bad = heard["records"]
    assert (heard["written"], heard["failed"]) == (1, 1)
    assert (good["id"], good["offset"]) == ("x", 0)
    assert (bad["id"], bad["error"]["code"]) == ("y", "partition_not_found")
    assert bad["error"]["outcome"] == "not_written"


def test_the_cursor_of_a_written_record_reads_on_after_it(
    server: Talking, topic: MakeTopic
) -> None:
    name = topic(2)
    with client(server.expose(name)) as alice:
        alice.produce("p", name, numbers(3))
        cursor = alice.hear()["records"][1]["cursor"]
        alice.subscribe("a", name, cursor=cursor)

        assert values(alice.events(1)) == [2]


def test_where_a_grant_hides_records_a_report_tells_no_place(
    server: Talking, topic: MakeTopic
) -> None:
    name = topic(1)
    server.expose(name)
    rules = grant_rules.read(
        {"key_rule": {"equals": "a"}}, topic_format="json", history_from_ms=None
    )
    shows = Projection(rules, TopicForm(name, "json", "constant", ""), b"", "rules")
    grants = server.snapshot.grants
    hiding = replace(grants["acme", name, "read"], projection=shows)
    server.snapshot = replace(server.snapshot, grants={**grants, ("acme", name, "read"): hiding})
    with client(server.port) as alice:
        alice.produce("p", name, numbers(1))
        (told,) = alice.hear()["records"]

    assert (told["partition"], told["offset"], told["cursor"]) == (-1, -1, None)


def test_a_cursor_of_events_resumes_behind_them(server: Talking, topic: MakeTopic) -> None:
    name = topic(1)
    server.expose(name)
    with client(server.port) as alice:
        alice.produce("p", name, numbers(10))
        alice.hear()
        alice.subscribe("a", name, credit=4, **{"from": "earliest"})
        first = alice.hear_until("events")
    with client(server.port) as alice:
        alice.subscribe("b", name, cursor=first["cursor"])

        rest = alice.events(6)

    assert values(first["events"]) + values(rest) == list(range(10))


def test_no_more_is_sent_than_the_credits_allow(server: Talking, topic: MakeTopic) -> None:
    name = topic(1)
    with client(server.expose(name)) as alice:
        alice.produce("p", name, numbers(100))
        alice.hear()
        alice.subscribe("a", name, credit=0, **{"from": "earliest"})

        seen: list[object] = []
        for grant in (1, 7, 20):
            alice.say("credit", sub="a", n=grant)
            seen += values(alice.events(grant))
            alice.say("ping", id="p")
            assert alice.hear_until("pong")["ref"] == "p"  # nothing came before it

    assert seen == list(range(28))


def test_a_balance_of_nothing_is_not_slowness(topic: MakeTopic) -> None:
    name = topic(1)
    with serving(name, write_deadline_s=0.2) as server, client(server.port) as alice:
        alice.subscribe("a", name, credit=0)
        alice.produce("p", name, numbers(100))
        alice.hear()

        # Two heartbeats are ten deadlines.
        beats = [alice.hear() for _ in range(2)]
        alice.say("credit", sub="a", n=100)

        assert [beat["type"] for beat in beats] == ["heartbeat"] * 2
        assert beats[1]["subs"]["a"]["lag_records"] == 100
        assert len(alice.events(100)) == 100


def unacked(server: Talking) -> list[int | None]:
    """Return what the list of streams tells."""
    return [row(server.hub, each, "here").unacked for each in server.hub.connections]


def test_what_is_out_without_an_ack_stays_in_the_window(server: Talking, topic: MakeTopic) -> None:
    name = topic(1)
    with client(server.expose(name)) as alice:
        alice.produce("p", name, numbers(10))
        alice.hear()
        alice.subscribe("a", name, ack_window=4, **{"from": "earliest"})
        first = alice.hear_until("events")
        alice.say("ping", id="p")
        alice.hear_until("pong")
        out = unacked(server)

        alice.say("ack", sub="a", cursor=first["cursor"])
        second = alice.hear_until("events")

    assert out == [4]
    assert values(first["events"]) == [0, 1, 2, 3]
    assert values(second["events"]) == [4, 5, 6, 7]


def test_an_ack_that_is_unknown_or_old_changes_nothing(server: Talking, topic: MakeTopic) -> None:
    name = topic(1)
    with client(server.expose(name)) as alice:
        alice.produce("p", name, numbers(4))
        alice.hear()
        alice.subscribe("a", name, ack_window=2, **{"from": "earliest"})
        first = alice.hear_until("events")
        alice.say("ack", sub="a", cursor=first["cursor"])
        alice.hear_until("events")

        for cursor in (first["cursor"], "AfK3kD"):
            alice.say("ack", sub="a", cursor=cursor)
            heard = alice.hear_until("error")
            assert (heard["code"], heard["sub"]) == ("invalid_cursor", "a")


def test_subscriptions_share_a_connection_and_end_alone(server: Talking, topic: MakeTopic) -> None:
    name, other = topic(1), topic(1)
    with client(server.expose(name, other)) as alice:
        alice.subscribe("a", name)
        alice.subscribe("b", other)
        alice.say("unsubscribe", id="u", sub="a")
        ended = alice.hear_until("unsubscribed")

        alice.produce("p", name, numbers(1))
        alice.produce("q", other, numbers(1))
        heard = [alice.hear() for _ in range(3)]

    assert ended["cursor"]
    assert sorted(one["type"] for one in heard) == ["events", "produced", "produced"]
    assert next(one for one in heard if one["type"] == "events")["sub"] == "b"


def test_a_filter_lets_through_what_it_says(server: Talking, topic: MakeTopic) -> None:
    name = topic(1)
    with client(server.expose(name)) as alice:
        alice.subscribe("a", name, filter={"value": {"n": {"$gt": 1}}})
        alice.produce("p", name, [{"value": {"n": n}, "partition": 0} for n in range(4)])

        heard = {one["type"]: one for one in (alice.hear(), alice.hear())}

    assert values(heard["events"]["events"]) == [{"n": 2}, {"n": 3}]


def test_a_slow_client_without_credits_is_closed_and_others_are_not(topic: MakeTopic) -> None:
    name = topic(1)
    big = "x" * 100_000
    with (
        serving(name, write_deadline_s=1) as server,
        client(server.port) as slow,
        client(server.port) as quick,
    ):
        slow.subscribe("a", name)
        quick.subscribe("a", name)
        reader = threading.Thread(target=quick.events, args=(200,))
        reader.start()
        with client(server.port) as alice:
            for number in range(25):
                alice.produce(f"p{number}", name, [{"value": big, "partition": 0}] * 8)
                alice.hear()
        reader.join(15)

        eventually(lambda: len(server.hub.connections) == 1, "the slow one is still there")
        assert not reader.is_alive()


BAD = [
    ("not json", None, "invalid_message"),
    ('{"type":"shout","id":"7"}', "7", "invalid_message"),
    ('{"type":"ping","id":"7","x":1}', "7", "invalid_message"),
    ('{"type":"subscribe","id":"7","sub":"a","topics":["none"]}', "7", "topic_not_found"),
    (
        '{"type":"subscribe","id":"7","sub":"a","topics":["T"],"from":"-0"}',
        "7",
        "invalid_parameter",
    ),
    ('{"type":"subscribe","id":"7","sub":"a","topics":["T"],"cursor":"x"}', "7", "invalid_cursor"),
    (
        '{"type":"subscribe","id":"7","sub":"a","topics":["T"],"filter":{"x":1}}',
        "7",
        "invalid_filter",
    ),
    ('{"type":"unsubscribe","id":"7","sub":"b"}', "7", "invalid_message"),
    ('{"type":"credit","sub":"b","n":1}', None, "invalid_message"),
    ('{"type":"ack","sub":"b","cursor":"x"}', None, "invalid_message"),
    ('{"type":"produce","id":"7","topic":"none","records":[{}]}', "7", "topic_not_found"),
    ('{"type":"produce","id":"7","topic":"T","records":[{"valur":1}]}', "7", "unknown_field"),
    (
        '{"type":"produce","id":"7","topic":"T","records":[{"partition":-1}]}',
        "7",
        "invalid_parameter",
    ),
]


def test_what_is_wrong_gets_an_error_and_the_connection_stays(
    server: Talking, topic: MakeTopic
) -> None:
    name = topic(1)
    server.expose(name)
    for text, ref, code in BAD:
        with client(server.port) as alice:
            alice.line.send(text.replace('"T"', f'"{name}"'))
            heard = alice.hear()
            alice.say("ping", id="p")

            assert (heard["type"], heard.get("ref"), heard["code"]) == ("error", ref, code), text
            assert alice.hear()["type"] == "pong"


def test_an_unknown_topic_and_a_foreign_one_get_the_same_answer(
    server: Talking, topic: MakeTopic
) -> None:
    foreign = topic(1)
    with client(server.expose()) as alice:
        answers = [alice.subscribe("a", name) for name in (foreign, "none")]

    assert answers[0] == answers[1]


def test_a_binary_message_is_an_error(server: Talking, topic: MakeTopic) -> None:
    with client(server.expose(topic(1))) as alice:
        alice.line.send(b"{}")

        assert alice.hear()["code"] == "invalid_message"


def test_the_eleventh_error_ends_the_connection_for_good(server: Talking) -> None:
    with client(server.expose()) as alice:
        for _ in range(11):
            alice.line.send("?")
        heard = [alice.hear() for _ in range(12)]

        assert heard[-1]["reason"] == "protocol_error"
        assert (heard[-1]["action"], heard[-1]["code"]) == ("stop", 4000)
        assert alice.code() == 4000


def test_who_sends_too_fast_is_sent_away_for_a_while(server: Talking) -> None:
    with client(server.expose()) as alice:
        with suppress(ConnectionClosed):
            for _ in range(2_000):
                alice.say("ping", id="p")

        assert alice.code() == 4102


def test_a_control_message_over_its_size_is_1009(server: Talking) -> None:
    with client(server.expose()) as alice:
        alice.say("ping", id="p" * 300_000)

        assert alice.hear()["code"] == 1009
        assert alice.code() == 1009


def test_a_connection_that_nothing_is_done_with_ends() -> None:
    with serving(idle_s=0.2) as server, client(server.port) as alice:
        assert alice.hear_until("closing")["reason"] == "idle"
        assert alice.code() == 4008


def test_a_subscription_keeps_a_connection(topic: MakeTopic) -> None:
    name = topic(1)
    with serving(name, idle_s=0.2) as server, client(server.port) as alice:
        alice.subscribe("a", name)

        # A heartbeat comes after ten times the time that an idle connection has.
        assert alice.hear()["type"] == "heartbeat"


def test_a_connection_has_no_more_than_20_subscriptions(server: Talking, topic: MakeTopic) -> None:
    name = topic(1)
    with client(server.expose(name)) as alice:
        answers = [alice.subscribe(f"s{number}", name) for number in range(21)]

    assert [one["type"] for one in answers] == ["subscribed"] * 20 + ["error"]
    assert answers[-1]["code"] == "limit_reached"


def test_a_name_is_used_once(server: Talking, topic: MakeTopic) -> None:
    name = topic(1)
    with client(server.expose(name)) as alice:
        alice.subscribe("a", name)

        assert alice.subscribe("a", name)["code"] == "conflict"


def test_no_more_than_8_produces_wait_for_their_report(server: Talking, topic: MakeTopic) -> None:
    name = topic(1)
    with client(server.expose(name)) as alice:
        one = json.dumps({"type": "produce", "id": "p", "topic": name, "records": numbers(100)})
        for _ in range(60):
            alice.line.send(one)
        heard = [alice.hear() for _ in range(20)]

    codes = {each.get("code") for each in heard}
    assert codes <= {None, "too_many_outstanding", 4000}


@pytest.mark.parametrize(("reason", "code"), [("drain", 4200), ("revoked", 4001), ("moved", 4203)])
def test_an_end_is_told_with_the_cursor_of_every_subscription(
    server: Talking, topic: MakeTopic, reason: str, code: int
) -> None:
    name = topic(1)
    server.expose(name)
    with client(server.port) as alice:
        alice.produce("p", name, numbers(10))
        alice.hear()
        alice.subscribe("a", name, credit=4, **{"from": "earliest"})
        first = alice.hear_until("events")
        server.end_all(reason)
        told = alice.hear_until("closing")

        assert (told["reason"], told["code"], alice.code()) == (reason, code, code)
    with client(server.port) as alice:
        alice.subscribe("a", name, cursor=told["cursors"]["a"])
        rest = alice.events(6)

    assert values(first["events"]) + values(rest) == list(range(10))


def test_records_given_before_a_drain_are_reported_before_the_close(
    server: Talking, topic: MakeTopic
) -> None:
    name = topic(1)
    with client(server.expose(name)) as alice:
        alice.produce("warm", name, numbers(1))
        alice.hear()
        alice.produce("p", name, numbers(100))
        server.end_all("drain")
        heard = alice.rest()

    assert {one["type"] for one in heard} <= {"closing", "produced"}
    written = [one for one in heard if one["type"] == "produced"]
    assert not written or written[0]["written"] == 100
    assert alice.line.protocol.close_code == 4200


def test_a_client_that_just_goes_leaves_nothing_behind(server: Talking, topic: MakeTopic) -> None:
    name = topic(1)
    server.expose(name)
    for _ in range(5):
        with client(server.port) as alice:
            alice.subscribe("a", name)
            alice.produce("p", name, numbers(1))
            alice.line.socket.shutdown(socket.SHUT_RDWR)

    eventually(lambda: len(server.hub.connections) == 0, "connections are still counted")
