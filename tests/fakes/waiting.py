"""Waiting for what other threads and processes bring about, with a deadline that says what for."""

import threading
import time
from collections.abc import Callable


def eventually(holds: Callable[[], bool], what: str, deadline_s: float = 15) -> None:
    """Return as soon as ``holds``; fail after the deadline."""
    ends_s = time.monotonic() + deadline_s
    pause = threading.Event()
    while not holds():
        assert time.monotonic() < ends_s, f"not within {deadline_s:g} s: {what}"
        pause.wait(0.01)
