"""The event loop of a web process: uvloop, that accepts at once all who wait.

uvloop accepts one connection in each of its rounds. With thousands who come back a round takes many
milliseconds, so that they were accepted more slowly than they were served; the kernel's queue of
4,096 overflowed, and a REST call, which waits in the same queue, took 7 s.
"""

import asyncio
import socket
from asyncio.base_events import Server
from collections.abc import Callable, Iterable
from ssl import SSLContext
from typing import Any, cast

import structlog
import uvloop

MOST = 128
"""Connections accepted in one round, about 25 ms with what they ask; other workers share them."""
PAUSE_S = 1.0
"""After a failure, such as too many open files: asking again at once would fail again."""

log = structlog.get_logger()

MakeProtocol = Callable[[], asyncio.BaseProtocol]


class Loop(uvloop.Loop):
    """As uvloop, but for servers."""

    async def create_server(  # type: ignore[override]  # the stubs spell out every keyword
        self, protocol_factory: MakeProtocol, *arguments: Any, **named: Any
    ) -> "Listening":
        """Return a server; ``sock``, ``host`` and the rest are those of asyncio."""
        made = await super().create_server(protocol_factory, *arguments, **named)
        server = cast("Server", made)  # it has sockets, which the stubs do not say
        ssl: SSLContext | None = named.get("ssl")
        return Listening(
            server, [Entrance(self, each.dup(), protocol_factory, ssl) for each in server.sockets]
        )


class Listening(asyncio.AbstractServer):
    """A server of uvloop's, with what accepts beside it."""

    def __init__(self, server: Server, entrances: Iterable["Entrance"]) -> None:
        self._server = server
        self._entrances = list(entrances)

    @property
    def sockets(self) -> Iterable[Any]:
        return self._server.sockets

    def close(self) -> None:
        for each in self._entrances:
            each.close()
        self._server.close()

    async def wait_closed(self) -> None:
        await self._server.wait_closed()

    def get_loop(self) -> asyncio.AbstractEventLoop:
        return self._server.get_loop()

    async def start_serving(self) -> None:
        await self._server.start_serving()

    async def serve_forever(self) -> None:
        await self._server.serve_forever()

    def is_serving(self) -> bool:
        return self._server.is_serving()


class Entrance:
    """Accepts whoever waits at one listening socket, besides the one that uvloop takes.

    Owns   the socket, a duplicate, and the connections that are being handed over
    Ends   ``close``
    """

    def __init__(
        self,
        loop: Loop,
        listener: socket.socket,
        make_protocol: MakeProtocol,
        ssl: SSLContext | None,
    ) -> None:
        self._loop = loop
        self._listener = listener
        self._make_protocol = make_protocol
        self._ssl = ssl
        self._taking: set[asyncio.Task[None]] = set()
        listener.setblocking(False)
        self._open()

    def close(self) -> None:
        """Accept nobody any more."""
        if self._listener.fileno() >= 0:
            self._loop.remove_reader(self._listener)
            self._listener.close()

    def _open(self) -> None:
        if self._listener.fileno() >= 0:
            self._loop.add_reader(self._listener, self._accept)

    def _accept(self) -> None:
        for _ in range(MOST):
            try:
                connection, _address = self._listener.accept()
            except BlockingIOError:
                return
            except OSError as error:
                log.warning("loop.accept_failed", reason=str(error))
                self._loop.remove_reader(self._listener)
                self._loop.call_later(PAUSE_S, self._open)
                return
            connection.setblocking(False)
            task = self._loop.create_task(self._take(connection))
            self._taking.add(task)
            task.add_done_callback(self._taking.discard)

    async def _take(self, connection: socket.socket) -> None:
        """Give a connection its protocol; whoever is gone, or fails at TLS, is forgotten."""
        try:
            await self._loop.connect_accepted_socket(self._make_protocol, connection, ssl=self._ssl)
        except OSError:
            connection.close()
