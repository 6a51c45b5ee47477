"""Failed credentials counted by public id and by network, so that guessing gets slow."""

import threading
from collections import OrderedDict
from ipaddress import ip_address

WINDOW_S = 60.0
MAX_FAILURES = 10
"""Failures a window of one public id or one network; beyond, 429 to whoever fails again."""
MAX_NAMES = 20_000
"""Names counted at once; the longest unseen one is forgotten, so memory stays flat."""
PREFIX_BITS = {4: 24, 6: 48}


def network_of(address: str) -> str:
    """Return the /24 (IPv6: /48) of an address as text, or the text itself if it is none."""
    try:
        source = ip_address(address)
    except ValueError:
        return address
    bits = PREFIX_BITS[source.version]
    shift = source.max_prefixlen - bits
    return f"{source.version}:{int(source) >> shift:x}"


class FailureThrottle:
    """Counts failures in windows of ``WINDOW_S``; times are monotonic seconds."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: OrderedDict[str, tuple[float, int]] = OrderedDict()

    def note(self, names: tuple[str, ...], now_s: float) -> float:
        """Count one failure under each name.

        Returns the seconds to wait when a name is over the limit, else 0.
        """
        with self._lock:
            return max((self._note_one(name, now_s) for name in names), default=0.0)

    def _note_one(self, name: str, now_s: float) -> float:
        begun_s, count = self._counts.pop(name, (now_s, 0))
        if now_s - begun_s >= WINDOW_S:
            begun_s, count = now_s, 0
        self._counts[name] = (begun_s, count + 1)
        while len(self._counts) > MAX_NAMES:
            self._counts.popitem(last=False)
        return begun_s + WINDOW_S - now_s if count >= MAX_FAILURES else 0.0
