"""The only file that knows the server's transport: how a hub writes to it by hand.

Uvicorn's ``send`` waits for room before it writes anything, for HTTP and for WebSocket alike. So
its coroutine is started once: if it ends at once, the message is with the transport; if it
suspends, nothing was written, and closing it loses nothing. A contract test pins this to the
locked version; under another server every message goes through a task that waits.
"""

import socket
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

import structlog

from gateway.frames import Message

Send = Callable[[Message], Awaitable[None]]

SEND_BUFFER_BYTES = 131_072
"""Asked of the kernel, which doubles it; without it 4 MB vanish there before a pause shows."""
USER_TIMEOUT_MS = 40_000
"""Sent bytes that nobody acknowledges end the connection; stands behind the write deadline."""
KEEPALIVE_IDLE_S, KEEPALIVE_INTERVAL_S, KEEPALIVE_COUNT = 30, 10, 3

log = structlog.get_logger()
_told: set[str] = set()


class Transport(Protocol):
    """What is used of asyncio's transport."""

    def get_extra_info(self, name: str) -> Any: ...
    def abort(self) -> None: ...


class Outlet:
    """The sending side of one connection.

    Used on the event loop only. ``send`` is the server's own, without a wrapper around it.
    """

    __slots__ = ("_send", "_transport")

    def __init__(self, send: Send) -> None:
        self._send = send
        self._transport = _transport_of(send)
        if self._transport is not None:
            _tune(self._transport)

    @property
    def is_driven(self) -> bool:
        """Return whether ``offer`` can write; without a known transport it never does."""
        return self._transport is not None

    def offer(self, message: Message) -> bool:
        """Hand a message to the transport; False where there is no room: nothing was written.

        A connection that is gone takes everything and says nothing: its own task will see.
        """
        if self._transport is None:
            return False
        pending: Any = self._send(message)
        try:
            pending.send(None)
        except StopIteration:
            return True
        pending.close()
        return False

    async def send(self, message: Message) -> None:
        """Write a message once there is room; cancelled while it waits, it has written nothing."""
        await self._send(message)

    def abort(self) -> None:
        """Cut the connection without another byte."""
        if self._transport is not None:
            self._transport.abort()


def _transport_of(send: Send) -> Transport | None:
    """Return the transport behind uvicorn's bound ``send``; None under another server."""
    owner = getattr(send, "__self__", None)
    transport: Transport | None = getattr(owner, "transport", None)
    if transport is None or not hasattr(transport, "abort"):
        _tell_once(type(owner).__name__)
        return None
    return transport


def _tell_once(server: str) -> None:
    if server not in _told:
        _told.add(server)
        log.warning("transport.not_known", server=server)


def _tune(transport: Transport) -> None:
    sock = transport.get_extra_info("socket")
    if sock is None or sock.family not in {socket.AF_INET, socket.AF_INET6}:
        return
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (
        ("TCP_USER_TIMEOUT", USER_TIMEOUT_MS),
        ("TCP_KEEPIDLE", KEEPALIVE_IDLE_S),
        ("TCP_KEEPINTVL", KEEPALIVE_INTERVAL_S),
        ("TCP_KEEPCNT", KEEPALIVE_COUNT),
    ):
        if hasattr(socket, name):  # Linux has all of them, other systems some
            sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
