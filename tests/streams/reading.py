"""A client that reads one stream, frame by frame."""

import json
import socket
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPResponse  # noqa: TID251 - a test asks a server of ours
from typing import Any, Self

from tests.streams.web import Stage, Web

DEADLINE_S = 30.0


@dataclass
class Frame:
    """One event; ``event`` is ``message`` for records, ``id`` is None where it has none."""

    event: str = "message"
    id: str | None = None
    data: str = ""
    retry: int | None = None

    @property
    def json(self) -> Any:
        return json.loads(self.data)


class Reading:
    """One open stream; ``last_id`` is what an EventSource would send when it comes back.

    receive_bytes  the size of the socket's buffer, for readers that take little
    """

    def __init__(
        self,
        web: Web,
        path: str,
        headers: Mapping[str, str],
        *,
        method: str = "GET",
        receive_bytes: int = 0,
    ) -> None:
        self.connection = HTTPConnection("127.0.0.1", web.port, timeout=DEADLINE_S)
        if receive_bytes:
            sock = socket.socket()
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
            sock.settimeout(DEADLINE_S)
            sock.connect(("127.0.0.1", web.port))
            self.connection.sock = sock
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        self.connection.request(method, path, headers=named)
        self.answer: HTTPResponse = self.connection.getresponse()
        self.last_id: str | None = None

    def frame(self) -> Frame | None:
        """Return the next frame, None at the end of the stream."""
        found = Frame()
        lines: list[str] = []
        while (line := self.answer.readline().decode().rstrip("\n")) or not lines:
            if not line:
                return None
            lines.append(line)
            name, _, value = line.partition(": ")
            match name:
                case "retry":
                    found.retry = int(value)
                case "data" if found.data:
                    found.data += "\n" + value
                case "data" | "event" | "id":
                    setattr(found, name, value)
        self.last_id = found.id or self.last_id
        return found

    def frames(self) -> Iterator[Frame]:
        while (found := self.frame()) is not None:
            yield found

    def until(self, event: str) -> Frame:
        """Return the next frame of a kind; fails at the end of the stream, or when it is late."""
        until_s = time.monotonic() + DEADLINE_S
        found: Frame | None = None
        while time.monotonic() < until_s and (found := self.frame()) is not None:
            if found.event == event:
                return found
        raise AssertionError(f"there came no {event}; last was {found}")

    def records(self, count: int) -> list[Any]:
        """Return the next records, as decoded JSON."""
        return [self.until("message").json for _ in range(count)]

    def rest(self) -> list[Frame]:
        """Return what comes until the stream ends."""
        return list(self.frames())

    def close(self) -> None:
        self.answer.close()
        self.connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def reading(stage: Stage, query: str = "", **headers: str) -> Reading:
    """Return a stream of the stage's topic, opened with alice's key, after its first frame."""
    key = {"authorization": f"Bearer {stage.alice.key}"}
    opened = Reading(stage.web, f"/streams/{stage.topic}{query}", {**key, **headers})
    if opened.answer.status != 200:
        body = opened.answer.read()
        opened.close()
        raise AssertionError(body)
    first = opened.frame()
    assert first is not None
    assert first.event == "heartbeat"
    return opened


def numbers(records: list[Any]) -> list[int]:
    return [record["value"]["n"] for record in records]
