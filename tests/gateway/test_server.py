"""The guarded protocol against raw sockets: contract test for the locked uvicorn."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any, cast

import pytest
import uvicorn
from uvicorn.server import ServerState

from gateway import server
from kafkahub.dispatch import ANSWER

OK = b"HTTP/1.1 200 OK"


async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """Answer with the number of body bytes, after having read them all."""
    body_bytes, more = 0, True
    while more:
        message = await receive()
        body_bytes += len(message.get("body", b""))
        more = message.get("more_body", False)
    body = b"%d" % body_bytes
    headers = [(b"content-length", b"%d" % len(body))]
    if scope["path"].startswith("/at-once"):
        if scope["query_string"]:
            headers.append((b"connection", b"close"))
        await scope[ANSWER](200, headers, body)
        return
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


@contextlib.asynccontextmanager
async def connected(
    head_deadline_s: float = 10,
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """Give a raw connection to a running server."""
    options = uvicorn.Config(app, lifespan="off", ws="none", log_config=None)
    state = ServerState()
    hurried = type("Hurried", (server.GuardedProtocol,), {"head_deadline_s": head_deadline_s})
    listening = await asyncio.get_running_loop().create_server(
        lambda: hurried(options, state, {}), "127.0.0.1", 0
    )
    port = listening.sockets[0].getsockname()[1]
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        yield reader, writer
    finally:
        writer.close()
        listening.close()
        await listening.wait_closed()


def exchange(*pieces: bytes, head_deadline_s: float = 10) -> bytes:
    """Send the pieces one by one, then return everything until the server closes."""

    async def run() -> bytes:
        async with connected(head_deadline_s) as (reader, writer):
            for piece in pieces:
                writer.write(piece)
                # A peer that refused may have closed already; its answer is what counts.
                with contextlib.suppress(ConnectionError):
                    await writer.drain()
            return await everything(reader)

    return asyncio.run(run())


def after_an_answer(piece: bytes, head_deadline_s: float = 10) -> bytes:
    """Have one request answered, send the piece on the same connection, return what follows."""

    async def run() -> bytes:
        async with connected(head_deadline_s) as (reader, writer):
            writer.write(get(close=False))
            await reader.readuntil(b"\r\n\r\n0")
            writer.write(piece)
            return await everything(reader)

    return asyncio.run(run())


async def everything(reader: asyncio.StreamReader) -> bytes:
    """Return what comes until the connection is closed or reset."""
    read = b""
    async with asyncio.timeout(20):
        with contextlib.suppress(ConnectionResetError):
            while piece := await reader.read(65_536):
                read += piece
    return read


def get(*, padding: int = 0, close: bool = True) -> bytes:
    """Return a GET whose head has ``padding`` bytes more than it needs."""
    end = b"connection: close\r\n" if close else b""
    return b"GET / HTTP/1.1\r\nhost: a\r\n%bx-pad: %b\r\n\r\n" % (end, b"x" * padding)


def test_an_ordinary_request_is_answered() -> None:
    assert exchange(get()).startswith(OK)


def test_a_head_of_just_the_limit_is_answered() -> None:
    assert exchange(get(padding=server.MAX_HEAD_BYTES - len(get()))).startswith(OK)


def test_a_head_over_the_limit_is_refused_and_closed() -> None:
    answer = exchange(get(padding=server.MAX_HEAD_BYTES))

    assert answer.startswith(b"HTTP/1.1 431 ")
    assert b"application/problem+json" in answer


def test_a_head_far_over_the_limit_is_cut_off() -> None:
    # What is left unread resets the connection, which may overtake the answer.
    assert exchange(get(padding=1_000_000)).partition(b" ")[2][:3] in {b"431", b""}


def test_a_head_over_the_limit_is_refused_before_its_end() -> None:
    assert exchange(b"GET / HTTP/1.1\r\nx-pad: ", b"x" * 20_000).startswith(b"HTTP/1.1 431 ")


def test_a_url_without_an_end_is_refused() -> None:
    assert exchange(b"GET /" + b"x" * 20_000).startswith(b"HTTP/1.1 431 ")


def test_a_large_body_is_no_large_head() -> None:
    size = 3_000_000
    head = b"POST / HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: %d\r\n\r\n" % size

    answer = exchange(head + b"x" * size)

    assert answer.startswith(OK)
    assert answer.endswith(b"%d" % size)


def test_the_next_request_of_a_connection_has_a_limit_too() -> None:
    assert after_an_answer(get(padding=server.MAX_HEAD_BYTES)).startswith(b"HTTP/1.1 431 ")


def test_a_large_head_behind_a_running_request_closes_without_a_mixed_answer() -> None:
    assert exchange(get(close=False) + get(padding=60_000)).count(b"HTTP/1.1 431") == 0


def test_pipelined_requests_are_answered_in_order() -> None:
    assert exchange(get(close=False) * 3 + get()).count(OK) == 4


def test_many_requests_behind_a_running_one_keep_their_order() -> None:
    slow = b"POST /0 HTTP/1.1\r\nhost: h\r\ncontent-length: 2\r\n\r\n"
    others = [
        b"POST /%d HTTP/1.1\r\nhost: h\r\ncontent-length: %d\r\n%b\r\n%b"
        % (size, size, last, b"x" * size)
        for size, last in ((3, b""), (4, b""), (5, b"connection: close\r\n"))
    ]

    answers = exchange(slow, b"xx" + b"".join(others))

    assert [part[0:1] for part in answers.split(b"\r\n\r\n")[1:]] == [b"2", b"3", b"4", b"5"]


def test_an_answer_written_at_once_reads_as_one_of_two_messages() -> None:
    request = b"%b /%b HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n"

    for method in (b"GET", b"HEAD"):
        at_once, usual = (exchange(request % (method, path)) for path in (b"at-once", b"usual"))
        assert at_once.lower() == usual.lower()
        assert usual.startswith(OK)


def test_an_answer_written_at_once_keeps_the_connection_or_closes_it() -> None:
    request = b"GET /at-once%b HTTP/1.1\r\nhost: h\r\n\r\n"

    answers = exchange(request % b"", request % b"", request % b"?close", request % b"")

    assert answers.count(OK) == 3


def test_no_header_of_an_answer_written_at_once_can_begin_another_line() -> None:
    transport = FakeTransport()
    cycle = SimpleNamespace(
        flow=SimpleNamespace(write_paused=False),
        transport=transport,
        disconnected=False,
        response_started=False,
        keep_alive=True,
        default_headers=[],
        scope={"method": "GET"},
    )

    for value in (b"a\r\nset-cookie: x", b"a\nb", b"a\rb", b"a\0b"):
        with pytest.raises(RuntimeError, match="line break"):
            asyncio.run(server.answer(cast("Any", cycle), 200, [(b"x-name", value)], b""))

    assert transport.written == b""


class FakeTransport:
    """Notes what is written."""

    written = b""

    def write(self, piece: bytes) -> None:
        self.written += piece


def test_a_latch_lets_all_go_who_wait_and_keeps_none_who_gave_up() -> None:
    async def run() -> list[bool]:
        latch = server.Latch()
        waiting = [asyncio.create_task(latch.wait()) for _ in range(3)]
        await asyncio.sleep(0)
        waiting[0].cancel()
        await asyncio.wait(waiting[:1])
        assert len(latch._waiters) == 2
        latch.set()
        return await asyncio.gather(*waiting[1:], latch.wait())

    assert asyncio.run(run()) == [True, True, True]


def test_a_latch_that_is_cleared_makes_wait_again() -> None:
    async def run() -> bool:
        latch = server.Latch(is_set=True)
        latch.clear()
        waiting = asyncio.create_task(latch.wait())
        await asyncio.sleep(0)
        assert not waiting.done()
        assert not latch.is_set()
        latch.set()
        return await waiting

    assert asyncio.run(run())


def test_what_is_no_http_is_refused_in_our_form() -> None:
    answer = exchange(b"\x16\x03\x01 hello\r\n\r\n")

    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b"Bad Request" in answer


@pytest.mark.parametrize("begun", [b"", b"GET / HTTP/1.1\r\nhost: a\r\n"])
def test_a_head_that_does_not_come_is_refused_in_time(begun: bytes) -> None:
    assert exchange(begun, head_deadline_s=0.2).startswith(b"HTTP/1.1 408 ")


def test_a_second_head_that_does_not_come_is_refused_in_time() -> None:
    answer = after_an_answer(b"GET /again HTTP/1.1\r\n", head_deadline_s=0.2)

    assert answer.startswith(b"HTTP/1.1 408 ")


def test_a_slow_body_is_not_measured_by_the_deadline_of_heads() -> None:
    async def run() -> bytes:
        async with connected(head_deadline_s=0.05) as (reader, writer):
            writer.write(b"POST / HTTP/1.1\r\nconnection: close\r\ncontent-length: 2\r\n\r\na")
            # Twice the deadline passes: a timer that still ran would have fired by its end.
            passed = asyncio.get_running_loop().create_future()
            asyncio.get_running_loop().call_later(0.1, passed.set_result, None)
            await passed
            writer.write(b"b")
            return await everything(reader)

    assert asyncio.run(run()).startswith(OK)
