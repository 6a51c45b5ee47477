"""A receiver that costs as little as Python allows: it answers 204 and remembers what came.

Speaks with its parent over standard input and output, one JSON line each way:
``{"do": "report"}`` → counts and latencies since the last ``{"do": "reset"}``; every answer is a
report. ``{"do": "refuse"}`` drops all connections and takes no new ones until ``{"do": "accept"}``.
"""

import asyncio
import json
import ssl
import sys
import time
from typing import cast

import uvloop

ANSWER = b"HTTP/1.1 204 No Content\r\n\r\n"
SENT_AT = b'"sent_at_us":'
NUMBER = b'"number":'


class Tally:
    """What was received: how often each number, and how long it took from its production."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self.total = 0
        self.numbers: set[int] = set()
        self.latencies_us: list[int] = []
        self.first_at = self.last_at = 0.0

    def add(self, body: bytes) -> None:
        now = time.time()
        self.first_at = self.first_at or now
        self.last_at = now
        self.total += 1
        self.numbers.add(_number(body, NUMBER))
        self.latencies_us.append(int(now * 1e6) - _number(body, SENT_AT))

    def report(self) -> dict[str, object]:
        ordered = sorted(self.latencies_us)
        return {
            "total": self.total,
            "distinct": len(self.numbers),
            "seconds": self.last_at - self.first_at,
            "first_at": self.first_at,
            "p50_ms": ordered[len(ordered) // 2] / 1000 if ordered else None,
            "p99_ms": ordered[len(ordered) * 99 // 100] / 1000 if ordered else None,
        }


def _number(body: bytes, name: bytes) -> int:
    start = body.index(name) + len(name)
    end = start
    while body[end : end + 1].isdigit():
        end += 1
    return int(body[start:end])


class Receiver(asyncio.Protocol):
    """One connection; requests have a ``content-length`` and may come cut anywhere."""

    def __init__(self, tally: Tally, peers: set[asyncio.Transport]) -> None:
        self._tally = tally
        self._peers = peers
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is not a subclass
        self._peers.add(self._transport)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        self._peers.discard(self._transport)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while (end := self._buffer.find(b"\r\n\r\n")) >= 0:
            head = self._buffer[:end].lower()
            length = int(head.split(b"content-length:")[1].split(b"\r\n")[0])
            if len(self._buffer) < end + 4 + length:
                return
            body = self._buffer[end + 4 : end + 4 + length]
            self._buffer = self._buffer[end + 4 + length :]
            self._tally.add(body)
            self._transport.write(ANSWER)


class Door:
    """The listening socket, which can be shut and opened again on the same port."""

    def __init__(self, tally: Tally, certificate: str | None) -> None:
        self._tally = tally
        self._context: ssl.SSLContext | None = None
        if certificate:
            self._context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
            self._context.load_cert_chain(certificate)
        self._peers: set[asyncio.Transport] = set()
        self._server: asyncio.Server | None = None
        self.port = 0

    async def open(self) -> None:
        """Listen; the first time on a port that is free."""
        self._server = await asyncio.get_running_loop().create_server(
            lambda: Receiver(self._tally, self._peers),
            "127.0.0.1",
            self.port,
            ssl=self._context,
        )
        self.port = self._server.sockets[0].getsockname()[1]

    async def shut(self) -> None:
        """Listen no more and drop whoever is connected."""
        if self._server is not None:
            self._server.close()
        for peer in list(self._peers):
            peer.abort()


async def serve(certificate: str | None) -> None:
    """Serve until standard input ends."""
    tally = Tally()
    door = Door(tally, certificate)
    await door.open()
    print(json.dumps({"port": door.port}), flush=True)
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        match json.loads(line)["do"]:
            case "reset":
                tally.reset()
            case "refuse":
                await door.shut()
            case "accept":
                await door.open()
        print(json.dumps(tally.report()), flush=True)


if __name__ == "__main__":
    uvloop.run(serve(sys.argv[1] if len(sys.argv) > 1 else None))
