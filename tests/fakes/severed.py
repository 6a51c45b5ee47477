"""A TCP proxy before PostgreSQL that cuts the line right behind a COMMIT."""

import contextlib
import socket
import threading
from types import TracebackType
from typing import Self

COMMIT = b"COMMIT"
CHUNK_BYTES = 65_536


class SeveredLine:
    """Forwards everything until ``cut_next_commit``: then that COMMIT's answer is swallowed.

    The server has committed, and the client sees its connection die without a word.

    Runs   one accepting thread and two for each connection, from ``with`` to its end
    Ends   leaving the ``with``: connections are shut down, all threads joined
    """

    def __init__(self, host: str, port: int) -> None:
        self._server = (host, port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._is_armed = False
        self.cuts = 0
        self._streams: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept)]

    def cut_next_commit(self) -> None:
        self._is_armed = True

    def __enter__(self) -> Self:
        self._threads[0].start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for stream in self._streams:
            _shut_down(stream)
        for thread in self._threads:
            thread.join()
        for stream in self._streams:
            stream.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return  # closed: the test is over
            server = socket.create_connection(self._server)
            self._streams += [client, server]
            is_cut = threading.Event()
            self._start(self._to_server, client, server, is_cut)
            self._start(self._to_client, client, server, is_cut)

    def _start(self, run: object, *args: object) -> None:
        thread = threading.Thread(target=run, args=args)  # type: ignore[arg-type]  # one of the two below
        self._threads.append(thread)
        thread.start()

    def _to_server(
        self, client: socket.socket, server: socket.socket, is_cut: threading.Event
    ) -> None:
        with contextlib.suppress(OSError):  # either side has gone
            while chunk := client.recv(CHUNK_BYTES):
                if self._is_armed and COMMIT in chunk:
                    self._is_armed = False
                    is_cut.set()
                server.sendall(chunk)
        _shut_down(server)

    def _to_client(
        self, client: socket.socket, server: socket.socket, is_cut: threading.Event
    ) -> None:
        with contextlib.suppress(OSError):
            while chunk := server.recv(CHUNK_BYTES):
                if is_cut.is_set():
                    self.cuts += 1
                    break
                client.sendall(chunk)
        _shut_down(client)


def _shut_down(stream: socket.socket) -> None:
    with contextlib.suppress(OSError):  # gone already
        stream.shutdown(socket.SHUT_RDWR)
