"""Ports of this machine that are free."""

import random
import socket
from contextlib import closing

LOOPBACK = "127.0.0.1"
SPARE_PORTS = range(20_000, 32_000)
"""Below the ports Linux gives to outgoing connections, so nobody takes one while we start."""


def is_free(port: int) -> bool:
    with closing(socket.socket(socket.AF_INET, socket.SOCK_STREAM)) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
    return True


def accepts(port: int, host: str = LOOPBACK) -> bool:
    """Say whether somebody listens there."""
    try:
        socket.create_connection((host, port), timeout=1).close()
    except OSError:
        return False
    return True


def choose(preferred: int) -> int:
    """Return the preferred port when it is free, else any free one."""
    return preferred if is_free(preferred) else spare()


def spare() -> int:
    """Return a free port that nobody expects anything at.

    Raises OSError when none is found.
    """
    for port in random.sample(SPARE_PORTS, k=200):
        if is_free(port):
            return port
    raise OSError("no free port on 127.0.0.1 from 20000 to 31999")
