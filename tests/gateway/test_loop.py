import asyncio
import socket
from collections.abc import Awaitable, Callable
from typing import cast

import pytest

from gateway.loop import Listening, Loop

CROWD = 200
FEW = 10
"""Rounds of the loop that a crowd is accepted in; uvloop alone needs one each."""


class Echo(asyncio.Protocol):
    """Sends back what comes; ``made`` has all of them."""

    made: list["Echo"]

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self.made.append(self)

    def data_received(self, data: bytes) -> None:
        self.transport.write(data)


def serve(test: Callable[[int, list[Echo]], Awaitable[None]]) -> None:
    """Run a test beside a server; given its port, and the connections that were accepted."""

    async def run() -> None:
        made: list[Echo] = []
        kind = type("Kept", (Echo,), {"made": made})
        server = await asyncio.get_running_loop().create_server(kind, "127.0.0.1", 0, backlog=4_096)
        assert isinstance(server, Listening)
        port = next(iter(server.sockets)).getsockname()[1]
        try:
            await test(port, made)
        finally:
            server.close()
            for one in made:
                one.transport.abort()
        with pytest.raises(OSError, match="refused"):
            socket.create_connection(("127.0.0.1", port))

    with asyncio.Runner(loop_factory=Loop) as runner:
        runner.run(run())


def connected(port: int) -> socket.socket:
    """Return a socket that the kernel has connected; nobody has accepted it yet."""
    return socket.create_connection(("127.0.0.1", port))


def test_a_crowd_is_accepted_in_a_few_rounds_of_the_loop() -> None:
    async def test(port: int, made: list[Echo]) -> None:
        waiting = [connected(port) for _ in range(CROWD)]
        for _ in range(FEW):
            await asyncio.sleep(0)
        assert len(made) == CROWD
        for one in waiting:
            one.close()

    serve(test)


def test_who_was_accepted_is_served() -> None:
    async def test(port: int, _: list[Echo]) -> None:
        waiting = [connected(port) for _ in range(5)]
        for number, one in enumerate(waiting):
            one.sendall(b"%d" % number)
        got = [await asyncio.to_thread(one.recv, 10) for one in waiting]
        assert got == [b"%d" % number for number in range(5)]
        for one in waiting:
            one.close()

    serve(test)
