"""RFC 6455, case by case, against the echo route on the server as it runs.

The published suite for this runs on Python 2 only, so its classes of cases are written here anew:
framing, control frames, reserved bits and opcodes, fragments, UTF-8, closing, sizes, handshake.
"""

import contextlib
import threading
from collections.abc import Iterator
from typing import Any

import pytest
import uvicorn

from gateway import server, websocket
from kafkahub.dispatch import Receive, Scope, Send
from tests.streams.raw_websocket import (
    BINARY,
    CLOSE,
    CONTINUATION,
    PING,
    PONG,
    TEXT,
    Frame,
    Raw,
    closing,
    frame,
)

MIB = 1024 * 1024
EURO = "€".encode()
REFUSED_CODES = (0, 999, 1004, 1005, 1006, 1016, 1100, 2000, 2999)
TAKEN_CODES = (1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 3999, 4000, 4999)
BAD_UTF8 = {
    "lone continuation": b"\x80",
    "cut sequence": EURO[:2],
    "overlong": b"\xc0\xaf",
    "overlong of three": b"\xe0\x80\xaf",
    "surrogate": b"\xed\xa0\x80",
    "beyond Unicode": b"\xf4\x90\x80\x80",
    "impossible byte": b"\xff",
    "in the middle": b"ok" + b"\xc3\x28" + b"ok",
}
GOOD_UTF8 = (
    "κόσμε",
    "\x00",
    "\x7f",
    "\u0080",
    "\u07ff",
    "\u0800",
    "\uffff",
    "\U0010ffff",
    "𐀀",
    "￾",
)


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    assert scope["type"] == "websocket"
    await receive()
    await websocket.echo(receive, send)


class Server(uvicorn.Server):
    """Tells when it listens."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.listens = threading.Event()

    async def startup(self, sockets: object = None) -> None:
        await super().startup(sockets)  # type: ignore[arg-type]  # passed on as is
        self.listens.set()


@contextlib.contextmanager
def serving(**more: float) -> Iterator[int]:
    """Give the port of a server with the options of the web process, and some others."""
    options: dict[str, Any] = {
        "port": 0,
        "loop": "uvloop",
        "http": server.GuardedProtocol,
        "ws": server.GuardedWebSocket,
        "ws_max_size": MIB,
        "ws_per_message_deflate": False,
        "lifespan": "off",
        "log_config": None,
    }
    made = Server(uvicorn.Config(echo, **(options | more)))
    thread = threading.Thread(target=made.run)
    thread.start()
    assert made.listens.wait(10)
    try:
        yield made.servers[0].sockets[0].getsockname()[1]
    finally:
        made.should_exit = True
        thread.join(20)


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with serving() as number:
        yield number


def exchange(port: int, *sent: bytes, answers: int = 1) -> list[Frame]:
    """Send bytes on a new connection, wait for so many answers, close it; return all frames."""
    with Raw(port) as client:
        for piece in sent:
            client.send(piece)
        received = [client.receive() for _ in range(answers)]
        client.send(closing(1000))
        return [*received, *client.everything()]


def fate(port: int, *sent: bytes) -> int | None:
    """Send what breaks a rule; return the code that the server closes with."""
    with Raw(port) as client:
        for piece in sent:
            client.send(piece)
        return client.everything()[-1].code


CLOSED = Frame(CLOSE, b"\x03\xe8")


# 5.2 Framing


@pytest.mark.parametrize("size", [0, 1, 125, 126, 127, 128, 65_535, 65_536, MIB])
@pytest.mark.parametrize("opcode", [TEXT, BINARY])
def test_a_message_of_any_size_comes_back(port: int, opcode: int, size: int) -> None:
    assert exchange(port, frame(opcode, b"*" * size)) == [Frame(opcode, b"*" * size), CLOSED]


@pytest.mark.parametrize("cut", [1, 2, 3, 5, 6, 7, 997])
def test_a_frame_may_arrive_in_any_pieces(port: int, cut: int) -> None:
    whole = frame(TEXT, b"*" * 1_000)
    pieces = [whole[at : at + cut] for at in range(0, len(whole), cut)]

    assert exchange(port, *pieces)[0] == Frame(TEXT, b"*" * 1_000)


def test_many_messages_in_one_segment_come_back_in_order(port: int) -> None:
    texts = [b"%d" % number for number in range(200)]

    found = exchange(port, b"".join(frame(TEXT, text) for text in texts), answers=200)

    assert [one.payload for one in found[:-1]] == texts


@pytest.mark.parametrize("mask", [b"\x00\x00\x00\x00", b"\xff\xff\xff\xff", b"\x37\xfa\x21\x3d"])
def test_every_mask_is_taken_off(port: int, mask: bytes) -> None:
    assert exchange(port, frame(TEXT, b"Hello", mask=mask))[0].payload == b"Hello"


@pytest.mark.parametrize("opcode", [TEXT, BINARY, PING, CLOSE])
def test_a_frame_without_a_mask_breaks_the_protocol(port: int, opcode: int) -> None:
    assert fate(port, frame(opcode, b"\x03\xe8", mask=None)) == 1002


@pytest.mark.parametrize("reserved", range(1, 8))
@pytest.mark.parametrize("opcode", [TEXT, BINARY, CONTINUATION, PING, CLOSE])
def test_a_reserved_bit_breaks_the_protocol(port: int, opcode: int, reserved: int) -> None:
    assert fate(port, frame(opcode, b"\x03\xe8", reserved=reserved)) == 1002


@pytest.mark.parametrize("opcode", [3, 4, 5, 6, 7, 11, 12, 13, 14, 15])
def test_a_reserved_opcode_breaks_the_protocol(port: int, opcode: int) -> None:
    assert fate(port, frame(opcode, b"x")) == 1002


def test_what_came_before_a_broken_frame_is_answered(port: int) -> None:
    with Raw(port) as client:
        client.send(frame(TEXT, b"first"))
        first = client.receive()
        client.send(frame(3))

        assert (first.payload, client.receive().code) == (b"first", 1002)


# 5.5 Control frames


@pytest.mark.parametrize("size", [0, 1, 125])
def test_a_ping_gets_its_payload_back(port: int, size: int) -> None:
    assert exchange(port, frame(PING, b"\xfe" * size))[0] == Frame(PONG, b"\xfe" * size)


def test_ten_pings_get_ten_pongs_in_order(port: int) -> None:
    pings = b"".join(frame(PING, b"%d" % number) for number in range(10))

    found = exchange(port, pings, answers=10)

    assert [one.payload for one in found[:-1]] == [b"%d" % number for number in range(10)]


def test_a_pong_that_nobody_asked_for_has_no_answer(port: int) -> None:
    assert exchange(port, frame(PONG, b"x"), frame(PING, b"y")) == [Frame(PONG, b"y"), CLOSED]


@pytest.mark.parametrize("opcode", [PING, PONG, CLOSE])
@pytest.mark.parametrize("wrong", ["too large", "cut"])
def test_a_control_frame_is_small_and_whole(port: int, opcode: int, wrong: str) -> None:
    payload = b"\x03\xe8" + b"x" * (124 if wrong == "too large" else 0)

    assert fate(port, frame(opcode, payload, is_final=wrong != "cut")) == 1002


# 5.4 Fragments


@pytest.mark.parametrize("opcode", [TEXT, BINARY])
def test_fragments_come_back_as_one_message(port: int, opcode: int) -> None:
    parts = [
        frame(opcode, b"a", is_final=False),
        frame(CONTINUATION, b"", is_final=False),
        frame(CONTINUATION, b"b", is_final=False),
        frame(CONTINUATION, b"c"),
    ]

    assert exchange(port, *parts)[0] == Frame(opcode, b"abc")


def test_a_ping_between_fragments_is_answered_first(port: int) -> None:
    parts = [
        frame(TEXT, b"a", is_final=False),
        frame(PING, b"p"),
        frame(CONTINUATION, b"b"),
    ]

    assert exchange(port, *parts, answers=2)[:2] == [Frame(PONG, b"p"), Frame(TEXT, b"ab")]


def test_a_continuation_of_nothing_breaks_the_protocol(port: int) -> None:
    assert fate(port, frame(CONTINUATION, b"a")) == 1002


def test_a_continuation_after_the_last_fragment_breaks_the_protocol(port: int) -> None:
    parts = [frame(TEXT, b"a", is_final=False), frame(CONTINUATION, b"b"), frame(CONTINUATION)]

    assert fate(port, *parts) == 1002


@pytest.mark.parametrize("opcode", [TEXT, BINARY])
def test_a_new_message_within_fragments_breaks_the_protocol(port: int, opcode: int) -> None:
    assert fate(port, frame(TEXT, b"a", is_final=False), frame(opcode, b"b")) == 1002


def test_a_message_cut_too_fine_is_refused(port: int) -> None:
    flood = frame(CONTINUATION, is_final=False) * server.MAX_FRAGMENTS

    assert fate(port, frame(TEXT, b"a", is_final=False), flood) == 1009


def test_a_message_of_4096_fragments_is_taken(port: int) -> None:
    middle = frame(CONTINUATION, b"x", is_final=False) * (server.MAX_FRAGMENTS - 2)

    found = exchange(port, frame(TEXT, b"x", is_final=False), middle, frame(CONTINUATION, b"x"))

    assert found[0].payload == b"x" * server.MAX_FRAGMENTS


# 8.1 UTF-8


@pytest.mark.parametrize("text", GOOD_UTF8)
def test_any_text_comes_back(port: int, text: str) -> None:
    assert exchange(port, frame(TEXT, text.encode()))[0].payload == text.encode()


def test_a_character_may_be_cut_between_fragments(port: int) -> None:
    parts = [frame(TEXT, EURO[:1], is_final=False), frame(CONTINUATION, EURO[1:])]

    assert exchange(port, *parts)[0].payload == EURO


@pytest.mark.parametrize("name", BAD_UTF8)
def test_what_is_no_utf8_is_refused(port: int, name: str) -> None:
    assert fate(port, frame(TEXT, BAD_UTF8[name])) == 1007


@pytest.mark.parametrize("name", BAD_UTF8)
def test_what_is_no_utf8_over_two_fragments_is_refused(port: int, name: str) -> None:
    bad = BAD_UTF8[name]

    assert fate(port, frame(TEXT, bad[:1], is_final=False), frame(CONTINUATION, bad[1:])) == 1007


@pytest.mark.parametrize("name", BAD_UTF8)
def test_binary_may_be_any_bytes(port: int, name: str) -> None:
    assert exchange(port, frame(BINARY, BAD_UTF8[name]))[0].payload == BAD_UTF8[name]


# 5.5.1 and 7.4 Closing


@pytest.mark.parametrize("code", TAKEN_CODES)
def test_a_close_code_is_echoed(port: int, code: int) -> None:
    with Raw(port) as client:
        client.send(closing(code, b"bye"))

        assert [one.code for one in client.everything()] == [code]


@pytest.mark.parametrize("code", REFUSED_CODES)
def test_a_close_code_that_must_not_be_sent_breaks_the_protocol(port: int, code: int) -> None:
    assert fate(port, closing(code)) == 1002


def test_a_close_without_a_code_is_echoed_without_one(port: int) -> None:
    with Raw(port) as client:
        client.send(frame(CLOSE))

        assert client.everything() == [Frame(CLOSE, b"")]


def test_a_close_with_half_a_code_breaks_the_protocol(port: int) -> None:
    assert fate(port, frame(CLOSE, b"\x03")) == 1002


def test_a_close_reason_must_be_utf8(port: int) -> None:
    assert fate(port, closing(1000, b"\xff")) == 1007


def test_the_longest_close_reason_is_taken(port: int) -> None:
    assert fate(port, closing(1000, b"x" * 123)) == 1000


def test_what_follows_a_close_is_not_answered(port: int) -> None:
    with Raw(port) as client:
        client.send(closing(1000) + frame(TEXT, b"late") + frame(PING) + closing(1001))

        assert client.everything() == [CLOSED]


def test_a_close_within_fragments_closes(port: int) -> None:
    assert fate(port, frame(TEXT, b"a", is_final=False), closing(1000)) in {1000, 1002}


def test_a_connection_that_just_ends_takes_nothing_with_it(port: int) -> None:
    with Raw(port) as client:
        client.send(frame(TEXT, b"a", is_final=False))

    assert exchange(port, frame(TEXT, b"next"))[0].payload == b"next"


# 10.4 Sizes


def test_a_message_over_1_mib_is_refused_before_it_is_read(port: int) -> None:
    assert fate(port, frame(BINARY, b"", size=MIB + 1)) == 1009


def test_the_code_arrives_although_the_message_is_still_being_sent(port: int) -> None:
    assert fate(port, frame(BINARY, b"x" * (MIB + 1))) == 1009


def test_fragments_over_1_mib_together_are_refused(port: int) -> None:
    half = b"x" * (MIB // 2)
    parts = [
        frame(BINARY, half, is_final=False),
        frame(CONTINUATION, half, is_final=False),
        frame(CONTINUATION, b"x"),
    ]

    assert fate(port, *parts) == 1009


@pytest.mark.parametrize("size", [2**32, 2**63 - 1, 2**63, 2**64 - 1])
def test_an_absurd_size_is_refused_from_its_head(port: int, size: int) -> None:
    assert fate(port, frame(BINARY, b"", size=size)) in {1002, 1009}


# 4.2 Handshake


def test_the_handshake_proves_that_the_server_read_it(port: int) -> None:
    with Raw(port, Sec_WebSocket_Key="dGhlIHNhbXBsZSBub25jZQ==") as client:
        assert client.status == 101
        assert client.headers["sec-websocket-accept"] == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="


def test_compression_is_offered_in_vain(port: int) -> None:
    with Raw(port, Sec_WebSocket_Extensions="permessage-deflate") as client:
        assert client.status == 101
        assert "sec-websocket-extensions" not in client.headers


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Sec_WebSocket_Version": "8"}, 426),
        ({"Sec_WebSocket_Version": ""}, 426),
        ({"Sec_WebSocket_Key": ""}, 400),
        ({"Sec_WebSocket_Key": "c2hvcnQ="}, 400),
        ({"Sec_WebSocket_Key": "not base64"}, 400),
        ({"X_Long": "x" * 8_200}, 431),
        ({"X_Long": "x" * 16_400}, 431),
    ],
)
def test_a_handshake_that_is_wrong_is_refused(
    port: int, headers: dict[str, str], status: int
) -> None:
    with Raw(port, **headers) as client:
        assert client.status == status
        assert client.headers["content-type"] == "application/problem+json"
        assert b'"status":%d' % status in client.body()


def test_the_right_version_is_named_to_who_has_another(port: int) -> None:
    with Raw(port, Sec_WebSocket_Version="8") as client:
        assert client.headers["sec-websocket-version"] == "13"


def test_a_long_url_is_refused(port: int) -> None:
    with Raw(port, "/ws/echo?x=" + "x" * 8_200) as client:
        assert client.status == 414


# Keepalive


def test_a_client_that_answers_no_ping_is_closed() -> None:
    with serving(ws_ping_interval=0.1, ws_ping_timeout=0.1) as number, Raw(number) as client:
        ping, close = client.everything()

    assert (ping.opcode, close.code) == (PING, 1011)


def test_a_client_that_answers_pings_stays() -> None:
    with serving(ws_ping_interval=0.1, ws_ping_timeout=0.1) as number, Raw(number) as client:
        for _ in range(5):
            ping = client.receive()
            assert ping.opcode == PING
            client.send(frame(PONG, ping.payload))


# Cost


def test_pings_of_a_client_that_reads_nothing_do_not_pile_up(port: int) -> None:
    # Far more than the buffers of both kernels hold, so that most answers find no room.
    sent = 200_000
    with Raw(port) as client:
        client.send(frame(PING, b"p" * 125) * sent + frame(TEXT, b"end"))

        kinds = [client.receive().opcode]
        while kinds[-1] != TEXT:
            kinds.append(client.receive().opcode)

    assert kinds.count(PONG) < sent
