"""A tenant's receiver: verifies, logs, syncs to disk, and only then answers; misbehaves by script.

Run as ``python -m tests.torture.sink FILE``; the file is JSON, see ``Plan``. An order names a
``mode``: ``ok``, ``down`` (503), ``refuse`` (no one listens), ``hang``.
Every request is one line of the log, made durable before its answer: what was answered 2xx can be
proven, whoever dies next.
"""

import asyncio
import base64
import hashlib
import hmac
import json
import os
import sys
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import uvloop

from tests.torture import orders
from tests.torture.scripts import SILENT, Answer, drawn

HOST = "127.0.0.1"
HEAD_END = b"\r\n\r\n"
BODY = b"thank you"
DOWN = Answer(status=503)


@dataclass(frozen=True, slots=True)
class Plan:
    """What a sink is told at its start.

    port, control  where requests and orders come in
    secrets        key bytes by subscription, which is the path of its URL
    foreign        marks of the other tenants
    is_calm        answer everything 204
    """

    seed: int
    port: int
    control: int
    log: str
    secrets: dict[str, bytes]
    foreign: tuple[bytes, ...]
    is_calm: bool = False

    @classmethod
    def read(cls, path: Path) -> "Plan":
        given: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        secrets = {name: bytes.fromhex(key) for name, key in given.pop("secrets").items()}
        foreign = tuple(mark.encode() for mark in given.pop("foreign"))
        return cls(secrets=secrets, foreign=foreign, **given)


@dataclass(slots=True)
class Waiting:
    """A request that is logged and not yet answered."""

    peer: "Peer"
    answer: Answer


@dataclass(slots=True)
class Sink:
    """Counts, logs and answers.

    Runs   one event loop; the disk is waited for by a thread, for all requests that came meanwhile
    Owns   the log and every connection
    """

    plan: Plan
    mode: str = "ok"
    turns: Counter[tuple[str, int]] = field(default_factory=Counter)
    lines: list[str] = field(default_factory=list)
    waiting: list[Waiting] = field(default_factory=list)
    peers: set["Peer"] = field(default_factory=set)
    is_syncing: bool = False
    log: int = -1
    server: asyncio.Server | None = None

    def open(self) -> None:
        self.log = os.open(self.plan.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    async def listen(self) -> None:
        loop = asyncio.get_running_loop()
        self.server = await loop.create_server(lambda: Peer(self), HOST, self.plan.port)

    async def obey(self, order: Mapping[str, object]) -> None:
        """Change the mode."""
        before, self.mode = self.mode, str(order["mode"])
        if self.mode == "refuse" and self.server is not None:
            self.server.close()
            for peer in list(self.peers):
                peer.transport.abort()
        elif before == "refuse":
            await self.listen()

    def take(self, peer: "Peer", head: bytes, body: bytes) -> None:
        """Log one request and answer it once that is on disk."""
        at = time.monotonic_ns()
        path, headers = _parsed(head)
        record = json.loads(body)["data"]
        seq = int(record["seq"])
        answer = self._answer(path, seq)
        signed = _is_signed(self.plan.secrets[path], headers, body)
        foreign = any(mark in body or mark in head for mark in self.plan.foreign)
        digest = hashlib.blake2b(body, digest_size=8).hexdigest()
        webhook_id = headers.get(b"webhook-id", b"").decode()
        attempt = int(headers.get(b"kafkahub-attempt", b"0"))
        flags = (int(answer.is_lost), int(signed), int(foreign))
        values = (at, path, webhook_id, seq, digest, attempt, answer.status, *flags)
        self.lines.append("\t".join(map(str, values)))
        self.waiting.append(Waiting(peer, answer))
        if not self.is_syncing:
            self.is_syncing = True
            asyncio.get_running_loop().call_soon(self._sync)

    def _answer(self, path: str, seq: int) -> Answer:
        if self.mode == "down":
            return DOWN
        if self.mode == "hang":
            return SILENT
        turn = self.turns[path, seq]
        self.turns[path, seq] += 1
        if self.plan.is_calm:
            return Answer()
        return drawn(self.plan.seed, path, seq, turn)

    def _sync(self) -> None:
        """Write what has gathered, and answer it when the disk has it."""
        lines, self.lines = self.lines, []
        waiting, self.waiting = self.waiting, []
        os.write(self.log, ("\n".join(lines) + "\n").encode())
        loop = asyncio.get_running_loop()
        done = loop.run_in_executor(None, os.fdatasync, self.log)
        done.add_done_callback(lambda _: self._answer_all(waiting))

    def _answer_all(self, waiting: list[Waiting]) -> None:
        for one in waiting:
            one.peer.answer(one.answer)
        if self.lines:
            self._sync()
        else:
            self.is_syncing = False


class Peer(asyncio.Protocol):
    """One connection; requests have a ``content-length`` and may come cut anywhere."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)  # uvloop's is not a subclass
        self._sink.peers.add(self)

    def connection_lost(self, _exc: Exception | None) -> None:
        self._sink.peers.discard(self)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while (end := self._buffer.find(HEAD_END)) >= 0:
            head = self._buffer[:end]
            length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
            start = end + len(HEAD_END)
            if len(self._buffer) < start + length:
                return
            body = self._buffer[start : start + length]
            self._buffer = self._buffer[start + length :]
            self._sink.take(self, head, body)

    def answer(self, answer: Answer) -> None:
        """Write an answer, or do with the connection what the script says."""
        if self.transport.is_closing():
            return  # whoever asked has gone meanwhile
        if answer.is_lost:
            self.transport.abort()
        elif answer.status:
            length = len(BODY) * (1000 if answer.is_cut else 1)
            head = f"HTTP/1.1 {answer.status} X\r\n{answer.headers}"
            if answer.status != 204:
                head += f"content-length: {length}\r\n"
            self.transport.write(head.encode() + b"\r\n" + (BODY if answer.status != 204 else b""))
            if answer.is_cut:
                self.transport.close()


def _parsed(head: bytes) -> tuple[str, dict[bytes, bytes]]:
    """Return the path without its slash and the headers, names in lower case."""
    first, *rest = head.split(b"\r\n")
    headers = {}
    for line in rest:
        name, _, value = line.partition(b":")
        headers[name.strip().lower()] = value.strip()
    return first.split(b" ")[1].decode().lstrip("/"), headers


def _is_signed(key: bytes, headers: dict[bytes, bytes], body: bytes) -> bool:
    """Verify as a partner would: Standard Webhooks 1.0.0, scheme ``v1``, without our own code."""
    moment = headers.get(b"webhook-timestamp", b"")
    text = b".".join((headers.get(b"webhook-id", b""), moment, body))
    wanted = b"v1," + base64.b64encode(hmac.digest(key, text, "sha256"))
    return wanted in headers.get(b"webhook-signature", b"").split(b" ")


async def serve(plan: Plan) -> None:
    """Serve until killed; obey the modes that are ordered."""
    sink = Sink(plan)
    sink.open()
    await sink.listen()
    await orders.listen(plan.control, sink.obey)
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(serve(Plan.read(Path(sys.argv[1]))))
