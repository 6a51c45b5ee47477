"""How often the OAuth endpoints answer: counted before anything is hashed or looked up."""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable

PER_CLIENT = 10
PER_ADDRESS = 60
WINDOW_S = 60.0
MAX_NAMES = 20_000
"""Names counted at once; the longest unseen one is forgotten, so memory stays flat."""


class Throttle:
    """Counts requests of one process by client and by address, a window of a minute each."""

    def __init__(self, monotonic_s: Callable[[], float] = time.monotonic) -> None:
        self._monotonic_s = monotonic_s
        self._lock = threading.Lock()
        self._counts: OrderedDict[str, tuple[float, int]] = OrderedDict()

    def take(self, client_id: str, address: str) -> float:
        """Count one request; return the seconds to wait, or 0 where it may go on."""
        now_s = self._monotonic_s()
        with self._lock:
            return max(
                self._take_one(f"address:{address}", PER_ADDRESS, now_s),
                self._take_one(f"client:{client_id}", PER_CLIENT, now_s),
            )

    def clear(self) -> None:
        """Forget all counts."""
        with self._lock:
            self._counts.clear()

    def _take_one(self, name: str, limit: int, now_s: float) -> float:
        begun_s, count = self._counts.pop(name, (now_s, 0))
        if now_s - begun_s >= WINDOW_S:
            begun_s, count = now_s, 0
        self._counts[name] = (begun_s, count + 1)
        while len(self._counts) > MAX_NAMES:
            self._counts.popitem(last=False)
        return begun_s + WINDOW_S - now_s if count >= limit else 0.0


process_throttle = Throttle()
"""The one of this process."""
