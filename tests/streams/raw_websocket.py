"""A WebSocket client that does exactly what it is told, right or wrong."""

import base64
import os
import socket
import struct
from dataclasses import dataclass
from typing import Self

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
DEADLINE_S = 10.0


@dataclass(frozen=True)
class Frame:
    """One frame from the server."""

    opcode: int
    payload: bytes
    is_final: bool = True

    @property
    def code(self) -> int | None:
        """The close code; None for a Close without one."""
        return struct.unpack("!H", self.payload[:2])[0] if self.payload else None


class Raw:
    """One connection; use as a context manager."""

    def __init__(self, port: int, path: str = "/ws/echo", **headers: str) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), DEADLINE_S)
        self._buffer = b""
        self.status, self.headers = self._handshake(path, headers)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def send(self, content: bytes) -> None:
        self.socket.sendall(content)

    def receive(self) -> Frame:
        """Return the next frame. Raises EOFError where the server has ended the connection."""
        first, second = self._take(2)
        assert not first & 0x70, "a reserved bit is set"
        assert not second & 0x80, "a server must not mask"
        size = second & 0x7F
        if size == 126:
            (size,) = struct.unpack("!H", self._take(2))
        elif size == 127:
            (size,) = struct.unpack("!Q", self._take(8))
        return Frame(first & 0x0F, self._take(size), bool(first & 0x80))

    def everything(self) -> list[Frame]:
        """Return all frames until the server ends the connection."""
        frames = []
        while True:
            try:
                frames.append(self.receive())
            except EOFError:
                return frames

    def body(self) -> bytes:
        """Return what follows the head of an answer that is no upgrade."""
        return self._take(int(self.headers["content-length"]))

    def _handshake(self, path: str, more: dict[str, str]) -> tuple[int, dict[str, str]]:
        headers = {
            "Host": "127.0.0.1",
            "Upgrade": "websocket",
            "Connection": "Upgrade",
            "Sec-WebSocket-Key": base64.b64encode(os.urandom(16)).decode(),
            "Sec-WebSocket-Version": "13",
        } | {name.replace("_", "-"): value for name, value in more.items()}
        lines = [f"{name}: {value}" for name, value in headers.items() if value]
        self.send("\r\n".join([f"GET {path} HTTP/1.1", *lines, "", ""]).encode())
        while b"\r\n\r\n" not in self._buffer:
            self._more()
        head, _, self._buffer = self._buffer.partition(b"\r\n\r\n")
        first, *rest = head.decode().split("\r\n")
        pairs = (line.split(": ", 1) for line in rest)
        return int(first.split()[1]), {name.lower(): value for name, value in pairs}

    def _take(self, count: int) -> bytes:
        while len(self._buffer) < count:
            self._more()
        taken, self._buffer = self._buffer[:count], self._buffer[count:]
        return taken

    def _more(self) -> None:
        received = self.socket.recv(65_536)
        if not received:
            raise EOFError
        self._buffer += received


def frame(
    opcode: int,
    payload: bytes = b"",
    *,
    is_final: bool = True,
    reserved: int = 0,
    mask: bytes | None = b"\x01\x02\x03\x04",
    size: int | None = None,
) -> bytes:
    """Return a frame as a client sends it.

    reserved  the three bits, 4 for the first
    mask      None for a frame without, which a client must not send
    size      what the head claims, where that shall be wrong
    """
    claimed = len(payload) if size is None else size
    bit = 0x80 if mask is not None else 0
    head = bytes([is_final << 7 | reserved << 4 | opcode])
    if claimed < 126:
        head += bytes([bit | claimed])
    elif claimed < 65_536:
        head += bytes([bit | 126]) + struct.pack("!H", claimed)
    else:
        head += bytes([bit | 127]) + struct.pack("!Q", claimed)
    if mask is None:
        return head + payload
    return head + mask + _masked(payload, mask)


def _masked(payload: bytes, mask: bytes) -> bytes:
    repeated = (mask * (len(payload) // 4 + 1))[: len(payload)]
    return (int.from_bytes(payload) ^ int.from_bytes(repeated)).to_bytes(len(payload))


def closing(code: int, reason: bytes = b"") -> bytes:
    """Return a Close frame."""
    return frame(CLOSE, struct.pack("!H", code) + reason)
