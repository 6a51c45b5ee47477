"""WebSocket: ``/ws`` and, for conformance runs, ``/ws/echo``."""

from collections.abc import Awaitable, Callable

from gateway.frames import Message

Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


async def echo(receive: Receive, send: Send) -> None:
    """Send back whatever comes, for conformance runs; it has no credentials and no limits."""
    await receive()
    await send({"type": "websocket.accept"})
    while (message := await receive())["type"] == "websocket.receive":
        await send({**message, "type": "websocket.send"})
