"""A TCP line to a neighbour that can be cut for a while: whoever dials then is refused."""

import contextlib
import socket
import threading
from types import TracebackType
from typing import Self

CHUNK_BYTES = 65_536
SIZE_BYTES = 4


class Line:
    """Forwards everything until ``cut``, and again after ``mend``, on the same port.

    Runs   one accepting thread, and two for each connection
    Ends   leaving the ``with``

    is_kafka  brokers name themselves to their clients; here they have the line's port instead
    """

    def __init__(self, host: str, port: int, *, is_kafka: bool = False) -> None:
        self._server = (host, port)
        self._is_kafka = is_kafka
        self._streams: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._begin()

    def cut(self) -> None:
        """End every connection, and take none."""
        with contextlib.suppress(OSError):  # cut already
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._accepting.join()
        for stream in self._streams:
            _shut_down(stream)
        for thread in self._threads:
            thread.join()
        for stream in self._streams:
            stream.close()
        self._streams, self._threads = [], []

    def mend(self) -> None:
        """Forward again what is dialled from now on."""
        self._listener = socket.create_server(("127.0.0.1", self.port))
        self._begin()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.cut()

    def _begin(self) -> None:
        self._accepting = threading.Thread(target=self._accept, daemon=True)
        self._accepting.start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):  # the line is cut
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(self._server)
                self._streams += [client, server]
                back = self._from_kafka if self._is_kafka else _forward
                for run, source, target in ((_forward, client, server), (back, server, client)):
                    thread = threading.Thread(target=run, args=(source, target), daemon=True)
                    self._threads.append(thread)
                    thread.start()

    def _from_kafka(self, source: socket.socket, target: socket.socket) -> None:
        host, port = self._server
        old, new = (host.encode() + one.to_bytes(4, "big") for one in (port, self.port))
        with contextlib.suppress(OSError), source.makefile("rb") as answers:
            while size := answers.read(SIZE_BYTES):
                answer = answers.read(int.from_bytes(size, "big"))
                target.sendall(size + answer.replace(old, new))
        _shut_down(target)


def _forward(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):  # either side has gone
        while chunk := source.recv(CHUNK_BYTES):
            target.sendall(chunk)
    _shut_down(target)


def _shut_down(stream: socket.socket) -> None:
    with contextlib.suppress(OSError):  # gone already
        stream.shutdown(socket.SHUT_RDWR)
