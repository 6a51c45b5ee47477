"""A small proxy that really carries: HTTP CONNECT or SOCKS5, with what it was asked for kept."""

import base64
import contextlib
import ipaddress
import select
import socket
import struct
import threading
from types import TracebackType
from typing import Self

CHUNK = 65_536
SUCCEEDED = 0


class Proxy:
    """Carries bytes between a client and the address it asks for.

    Runs   one accepting thread and one for each connection, from ``with`` to its end
    Ends   leaving the ``with``: connections are shut down, all threads joined

    kind    ``http`` or ``socks5``
    answer  what it refuses with: a status, or a SOCKS reply; None: it carries
    """

    def __init__(self, kind: str, answer: int | None = None, login: str = "") -> None:
        self._kind = kind
        self._answer = answer
        self._login = login
        self.asked: list[str] = []
        self.heads: list[bytes] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._is_stopping = threading.Event()
        self._streams: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept)]

    @property
    def url(self) -> str:
        at = f"{self._login}@" if self._login else ""
        return f"{self._kind}://{at}127.0.0.1:{self._listener.getsockname()[1]}"

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
        with socket.create_connection(self._listener.getsockname()):
            pass  # wakes ``accept``
        self._threads[0].join()
        self._listener.close()
        for stream in self._streams:
            with contextlib.suppress(OSError):  # gone already
                stream.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()

    def _accept(self) -> None:
        while True:
            stream, _ = self._listener.accept()
            if self._is_stopping.is_set():
                stream.close()
                return
            self._streams.append(stream)
            thread = threading.Thread(target=self._serve, args=(stream,))
            self._threads.append(thread)
            thread.start()

    def _serve(self, stream: socket.socket) -> None:
        with contextlib.suppress(OSError), stream:  # the client has gone
            beyond = self._connect(stream) if self._kind == "http" else self._socks(stream)
            if beyond is not None:
                self._streams.append(beyond)
                with beyond:
                    _carry(stream, beyond)

    def _connect(self, stream: socket.socket) -> socket.socket | None:
        head = b""
        while b"\r\n\r\n" not in head:
            head += stream.recv(CHUNK)
        self.heads.append(head)
        place = head.split(b" ", 2)[1].decode()
        self.asked.append(place)
        wanted = base64.b64encode(self._login.encode())
        if self._login and b"Basic " + wanted not in head:
            stream.sendall(b"HTTP/1.1 407 Login\r\ncontent-length: 0\r\n\r\n")
            return None
        if self._answer is not None:
            stream.sendall(b"HTTP/1.1 %d No\r\ncontent-length: 0\r\n\r\n" % self._answer)
            return None
        host, _, port = place.rpartition(":")
        beyond = socket.create_connection((host.strip("[]"), int(port)))
        stream.sendall(b"HTTP/1.1 200 Established\r\nx-of-the-proxy: 1\r\n\r\n")
        return beyond

    def _socks(self, stream: socket.socket) -> socket.socket | None:
        """Speak RFC 1928, without a login."""
        _, count = stream.recv(2)
        stream.recv(count)
        stream.sendall(b"\x05\x00")
        _, _, _, kind = stream.recv(4)
        if kind == 1:
            host = str(ipaddress.IPv4Address(stream.recv(4)))
        else:  # a name: nothing of ours may ask so
            host = stream.recv(stream.recv(1)[0]).decode()
        [port] = struct.unpack("!H", stream.recv(2))
        self.asked.append(f"{host}:{port}")
        reply = SUCCEEDED if self._answer is None else self._answer
        beyond = socket.create_connection((host, port)) if reply == SUCCEEDED else None
        stream.sendall(bytes([5, reply, 0, 1]) + bytes(6))
        return beyond


def _carry(one: socket.socket, other: socket.socket) -> None:
    while True:
        readable, _, _ = select.select([one, other], [], [])
        for stream in readable:
            content = stream.recv(CHUNK)
            if not content:
                return
            (other if stream is one else one).sendall(content)
