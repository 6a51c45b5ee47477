"""A partner's endpoint: a real HTTP or HTTPS server that does what a test scripts, also evil.

A behaviour is a function of one connection: it answers one request and says whether the connection
stays open. ``received`` holds every request that came in whole.
"""

import contextlib
import gzip
import os
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Self

DRIP_S = 0.02
"""Pause between two drops of a slow answer, in seconds."""
MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Received:
    """One request as it came over the wire; header names in lower case."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes
    peer: tuple[str, int]


class Connection:
    """One accepted connection, for a behaviour to write to; ``request`` is what it answers."""

    def __init__(
        self, stream: socket.socket, is_stopping: threading.Event, request: Received
    ) -> None:
        self.stream = stream
        self.request = request
        self._is_stopping = is_stopping

    def send(self, content: bytes) -> None:
        self.stream.sendall(content)

    def drip(self, drop: bytes) -> None:
        """Send a drop again and again, slowly, until the client has gone."""
        while not self._is_stopping.wait(DRIP_S):
            self.send(drop)

    def flood(self, content: bytes) -> None:
        """Send ``content`` again and again, as fast as it goes, until the client has gone."""
        while not self._is_stopping.is_set():
            self.send(content)

    def hang(self) -> None:
        """Say nothing until the client has gone."""
        while not self._is_stopping.is_set() and self.stream.recv(65_536):
            pass

    def reset(self) -> None:
        """Close with a RST instead of a FIN."""
        self.stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


Behaviour = Callable[[Connection], bool]


def status(
    code: int, body: bytes = b"", headers: Sequence[tuple[str, str]] = (), reason: str = "X"
) -> Behaviour:
    """Answer properly and keep the connection."""
    lines = [f"HTTP/1.1 {code} {reason}", f"content-length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in headers]
    return raw("\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body, keep=True)


def ok(body: bytes = b"ok") -> Behaviour:
    return status(200, body, [("content-type", "text/plain")])


def redirect(location: str, code: int = 302) -> Behaviour:
    return status(code, headers=[("location", location)])


def raw(content: bytes, *, keep: bool = False) -> Behaviour:
    """Send exactly these bytes; they need not be HTTP."""

    def behave(connection: Connection) -> bool:
        connection.send(content)
        return keep

    return behave


def hang(after: bytes = b"") -> Behaviour:
    """Send ``after``, then nothing more, with the connection open."""

    def behave(connection: Connection) -> bool:
        connection.send(after)
        connection.hang()
        return False

    return behave


def reset(after: bytes = b"") -> Behaviour:
    """Send ``after``, then break the connection off."""

    def behave(connection: Connection) -> bool:
        connection.send(after)
        connection.reset()
        return False

    return behave


def drip(head: bytes, drop: bytes) -> Behaviour:
    def behave(connection: Connection) -> bool:
        connection.send(head)
        connection.drip(drop)
        return False

    return behave


def flood(head: bytes, rest: bytes) -> Behaviour:
    def behave(connection: Connection) -> bool:
        connection.send(head)
        connection.flood(rest)
        return False

    return behave


def answers(code: int, rest: str = "") -> bytes:
    """Return a status line with further header lines, each with its CRLF, without the blank."""
    return f"HTTP/1.1 {code} X\r\n{rest}".encode("latin-1")


CLOSE = raw(b"")
GARBAGE = raw(b"\x00\xff\x13\x37" * 64 + b"\r\n\r\n")
HTTP_09 = raw(b"<html>hello</html>")
SLOW_HEADER = drip(answers(200), b"x-slow: 1\r\n")
SLOW_BODY = drip(answers(200, "content-length: 999999\r\n\r\n"), b"x")
ENDLESS_BODY = flood(answers(200, "\r\n"), b"x" * 65_536)
GZIP_BOMB = raw(
    answers(200, "content-encoding: gzip\r\n\r\n") + gzip.compress(b"\0" * (64 * MIB), 9)
)
HEADER_BOMB = flood(answers(200), b"x-bomb: " + b"y" * 1000 + b"\r\n")
HUGE_HEADER_LINE = raw(answers(200) + b"x-huge: " + b"y" * (5 * MIB) + b"\r\n\r\nok")
INFORMATIONAL_FLOOD = flood(b"", answers(103, "link: </x>\r\n\r\n"))
TWO_LENGTHS = raw(answers(200, "content-length: 2\r\ncontent-length: 7\r\n\r\n") + b"okokoko")
SMUGGLED = raw(
    answers(200, "content-length: 2\r\n\r\nok") + answers(500, "content-length: 0\r\n\r\n"),
    keep=True,
)
"""A second answer right behind the first, for whoever comes next on this connection."""


class Endpoint:
    """The server. Each request takes the next step of the script; the last one stays.

    Runs   one accepting thread and one for each connection, from ``with`` to its end
    Ends   leaving the ``with``: connections are shut down, all threads joined
    """

    def __init__(self, *script: Behaviour, tls: ssl.SSLContext | None = None) -> None:
        self._script = script or (ok(),)
        self._tls = tls
        self._changed = threading.Condition()
        self.received: list[Received] = []
        self.connections = 0
        self._is_stopping = threading.Event()
        self._streams: set[socket.socket] = set()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=512)
        self.port: int = self._listener.getsockname()[1]
        self._threads = [threading.Thread(target=self._accept)]

    @property
    def url(self) -> str:
        """``localhost`` under TLS, for that is what the certificates are for."""
        return f"{'https' if self._tls else 'http'}://localhost:{self.port}/in"

    def script(self, *script: Behaviour) -> None:
        """Start anew with these steps."""
        with self._changed:
            self._script = script
            self.received.clear()

    def wait_for(self, count: int, deadline_s: float = 20) -> list[Received]:
        """Return the requests when there are at least ``count`` of them."""
        with self._changed:
            if not self._changed.wait_for(lambda: len(self.received) >= count, deadline_s):
                raise AssertionError(f"{len(self.received)} of {count} requests came")
            return list(self.received)

    def __enter__(self) -> Self:
        self._threads[0].start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._is_stopping.set()
        with socket.create_connection(("127.0.0.1", self.port)):
            pass  # wakes ``accept``
        self._threads[0].join()
        self._listener.close()
        with self._changed:
            streams = list(self._streams)
        for stream in streams:
            _shut_down(stream)
        for thread in self._threads:
            thread.join()

    def _accept(self) -> None:
        while True:
            stream, peer = self._listener.accept()
            if self._is_stopping.is_set():
                stream.close()
                return
            stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self._changed:
                self.connections += 1
                self._streams.add(stream)
            thread = threading.Thread(target=self._serve, args=(stream, peer))
            self._threads.append(thread)
            thread.start()

    def _serve(self, plain: socket.socket, peer: tuple[str, int]) -> None:
        stream = plain
        try:
            if self._tls:
                stream = tls = self._tls.wrap_socket(
                    plain, server_side=True, do_handshake_on_connect=False
                )
                with self._changed:
                    self._streams.add(stream)
                _shake_hands(tls)
            while self._serve_one(stream, peer):
                pass
        except (OSError, ValueError):
            pass  # the client has gone, or does not speak HTTP: both are what tests provoke
        finally:
            with self._changed:
                self._streams -= {plain, stream}
            stream.close()

    def _serve_one(self, stream: socket.socket, peer: tuple[str, int]) -> bool:
        request = _read(stream, peer)
        if request is None:
            return False
        with self._changed:
            step = self._script[min(len(self.received), len(self._script) - 1)]
            self.received.append(request)
            self._changed.notify_all()
        return step(Connection(stream, self._is_stopping, request))


def _read(stream: socket.socket, peer: tuple[str, int]) -> Received | None:
    """Return one whole request, or None where the client closed before one."""
    buffer = b""
    while b"\r\n\r\n" not in buffer:
        chunk = stream.recv(65_536)
        if not chunk:
            return None
        buffer += chunk
    head, _, body = buffer.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    method, path, _ = first.split(" ")
    headers = {
        name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)
    }
    length = int(headers.get("content-length", "0"))
    while len(body) < length:
        chunk = stream.recv(65_536)
        if not chunk:
            return None
        body += chunk
    return Received(method, path, headers, body, peer)


def _shake_hands(tls: ssl.SSLSocket) -> None:
    try:
        tls.do_handshake()
    except ssl.SSLError:
        # A close with bytes unread is a RST, and that may overtake the alert that says why.
        tls.shutdown(socket.SHUT_WR)
        while os.read(tls.fileno(), 65_536):
            pass
        raise


def _shut_down(stream: socket.socket) -> None:
    with contextlib.suppress(OSError):  # gone already
        stream.shutdown(socket.SHUT_RDWR)
