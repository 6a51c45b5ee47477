"""The contract with the locked uvicorn: a ``send`` that suspends has written nothing."""

import asyncio
import socket

import uvicorn

from gateway.hub.transport import SEND_BUFFER_BYTES, Outlet
from gateway.server import GuardedProtocol

PIECE = b"x" * 65_536
Sent = list[int]


async def serve(app: object, sock: socket.socket) -> tuple[uvicorn.Server, asyncio.Task[None]]:
    config = uvicorn.Config(app, http=GuardedProtocol, loop="asyncio", log_config=None, ws="none")  # type: ignore[arg-type]  # an ASGI callable
    server = uvicorn.Server(config)
    config.load()
    task = asyncio.create_task(server._serve(sockets=[sock]))
    while not server.started:  # noqa: ASYNC110 - the server gives no signal
        await asyncio.sleep(0.01)
    return server, task


async def exchange() -> tuple[int, int, int, bool]:
    """Return pieces taken, bytes received, the socket's buffer, and whether it was paused."""
    done = asyncio.Event()
    seen: dict[str, int] = {}

    async def app(scope: dict[str, object], receive: object, send: object) -> None:
        outlet = Outlet(send)  # type: ignore[arg-type]  # the server's own
        await outlet.send({"type": "http.response.start", "status": 200, "headers": []})
        message = {"type": "http.response.body", "body": PIECE, "more_body": True}
        taken = 0
        while taken < 1_000 and outlet.offer(message):
            taken += 1
            await asyncio.sleep(0)
        own = outlet._transport
        assert own is not None
        sock = own.get_extra_info("socket")
        seen["taken"] = taken
        seen["buffer"] = sock.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF)
        seen["paused"] = taken < 1_000
        done.set()
        await outlet.send({"type": "http.response.body", "body": b"end", "more_body": False})

    listening = socket.create_server(("127.0.0.1", 0))
    server, task = await serve(app, listening)
    reader, writer = await asyncio.open_connection(*listening.getsockname(), limit=1)
    writer.write(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    await asyncio.wait_for(done.wait(), 20)
    body = await asyncio.wait_for(reader.read(-1), 20)
    writer.close()
    server.should_exit = True
    await task
    return seen["taken"], body.count(b"x"), seen["buffer"], bool(seen["paused"])


def test_what_was_taken_arrives_whole_and_what_was_not_left_no_byte() -> None:
    taken, received, buffer, paused = asyncio.run(exchange())

    assert paused
    assert received == taken * len(PIECE)
    assert buffer == 2 * SEND_BUFFER_BYTES  # Linux doubles what is asked


def test_under_another_server_every_message_waits_in_a_task() -> None:
    async def send(message: object) -> None:
        sent.append(message)

    sent: list[object] = []
    outlet = Outlet(send)

    assert not outlet.is_driven
    assert not outlet.offer({"type": "http.response.body", "body": b"1"})
    asyncio.run(outlet.send({"type": "http.response.body", "body": b"1"}))
    assert len(sent) == 1
