"""A receiver that costs as little as Python allows: it answers 204 and remembers what came.

Speaks with its parent over standard input and output, one JSON line each way:
``{"do": "report"}`` → counts and latencies since the last ``{"do": "reset"}``.
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

    def __init__(self, tally: Tally) -> None:
        self._tally = tally
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is not a subclass

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


async def serve(certificate: str | None) -> None:
    """Serve until standard input ends."""
    tally = Tally()
    context = None
    if certificate:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(certificate)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Receiver(tally), "127.0.0.1", 0, ssl=context)
    print(json.dumps({"port": server.sockets[0].getsockname()[1]}), flush=True)
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        if json.loads(line)["do"] == "reset":
            tally.reset()
        print(json.dumps(tally.report()), flush=True)


if __name__ == "__main__":
    uvloop.run(serve(sys.argv[1] if len(sys.argv) > 1 else None))
