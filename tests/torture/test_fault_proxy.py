"""The proxy fails as it is told, for connections that are open as well."""

import os
import socket
import socketserver
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from kafkahub.devstack import ports
from tests.torture import orders
from tests.torture.parts import ROOT, wait_for_port


class Echo(socketserver.StreamRequestHandler):
    """Sends back each line."""

    def handle(self) -> None:
        for line in self.rfile:
            self.wfile.write(line)


@dataclass(frozen=True)
class Door:
    """A proxy before an echo."""

    port: int
    control: int

    def order(self, mode: str, **amount: float) -> None:
        orders.give(self.control, proxy="echo", mode=mode, **amount)

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=0.5)


@pytest.fixture
def door() -> Iterator[Door]:
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Echo) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        made = Door(ports.spare(), ports.spare())
        target = server.server_address[1]
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "tests.torture.fault_proxy"),
                *(str(made.control), f"echo:{made.port}:{target}"),
            ],
            cwd=ROOT,
            env=dict(os.environ),
        )
        try:
            wait_for_port(made.control)
            yield made
        finally:
            process.kill()
            process.wait()
            server.shutdown()


def ask(peer: socket.socket) -> bytes:
    """Return the echo; b"" for a closed or broken connection. Raises TimeoutError for silence."""
    try:
        peer.sendall(b"hello\n")
        return peer.recv(100)
    except ConnectionError:
        return b""


def test_a_passing_proxy_is_not_there(door: Door) -> None:
    with door.connect() as peer:
        assert ask(peer) == b"hello\n"


def test_a_black_hole_swallows_and_gives_back_what_it_held(door: Door) -> None:
    with door.connect() as peer:
        ask(peer)
        door.order("blackhole")
        with pytest.raises(TimeoutError):
            ask(peer)
        door.order("pass")
        assert peer.recv(100) == b"hello\n"


@pytest.mark.parametrize("mode", ["reset", "refuse"])
def test_open_connections_are_broken_off(door: Door, mode: str) -> None:
    with door.connect() as peer:
        ask(peer)
        door.order(mode)
        assert ask(peer) == b""


def test_nobody_listens_until_told_again(door: Door) -> None:
    door.order("refuse")
    with pytest.raises(ConnectionRefusedError):
        door.connect()
    door.order("pass")
    with door.connect() as peer:
        assert ask(peer) == b"hello\n"


def test_a_connection_is_cut_after_so_many_bytes(door: Door) -> None:
    door.order("cut", bytes=8)
    with door.connect() as peer:
        assert ask(peer) == b"hello\n"
        assert ask(peer) == b""
