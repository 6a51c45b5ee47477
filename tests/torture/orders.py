"""Orders to the harness's own processes: one JSON object a line, each answered when it holds."""

import asyncio
import json
import socket
from collections.abc import Awaitable, Callable, Mapping

HOST = "127.0.0.1"
ANSWER = b"done\n"
DEADLINE_S = 20.0

Obey = Callable[[Mapping[str, object]], Awaitable[None]]


async def listen(port: int, obey: Obey) -> asyncio.Server:
    """Take orders on a port of this machine."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            await obey(json.loads(line))
            writer.write(ANSWER)
        writer.close()

    return await asyncio.start_server(serve, HOST, port)


def give(port: int, **order: object) -> None:
    """Give one order and return when it holds. Raises OSError when nobody takes it."""
    with socket.create_connection((HOST, port), timeout=DEADLINE_S) as peer:
        peer.sendall(json.dumps(order).encode() + b"\n")
        if peer.recv(len(ANSWER)) != ANSWER:
            raise ConnectionError(f"the process on port {port} did not obey {order}")
