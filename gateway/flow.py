"""How much a WebSocket client may get and send: credits, acks, pace, errors (pure)."""

from collections import OrderedDict, deque

from gateway.messages import ERRORS_S, MAX_CREDIT, MAX_ERRORS, MAX_UNACKED_CURSORS, MESSAGES
from kafkahub.limits import gcra


class Flow:
    """How many records one subscription may still be sent: its credits and its ack window.

    credit  balance, None without credits
    window  records that may be out without an ack, None without a bound
    unacked records sent and not acked
    """

    __slots__ = ("_sent", "_total", "credit", "unacked", "window")

    def __init__(self, credit: int | None, window: int | None) -> None:
        self.credit = credit
        self.window = window
        self.unacked = 0
        self._total = 0
        self._sent: OrderedDict[str, int] = OrderedDict()

    @property
    def room(self) -> int | None:
        """Records that may be sent now; None for no bound."""
        bounds = [] if self.credit is None else [self.credit]
        if self.window is not None:
            bounds.append(max(0, self.window - self.unacked))
        return min(bounds, default=None)

    def grant(self, count: int) -> bool:
        """Add credits; return False, changing nothing, where there are none or too many."""
        if self.credit is None or self.credit + count > MAX_CREDIT:
            return False
        self.credit += count
        return True

    def sent(self, records: int, cursor: str) -> None:
        """Note what was sent; ``cursor`` stands behind it, and may be acked from now on."""
        if self.credit is not None:
            self.credit -= records
        self._total += records
        self.unacked += records
        self._sent[cursor] = self._total
        if len(self._sent) > MAX_UNACKED_CURSORS:
            self._sent.popitem(last=False)

    def ack(self, cursor: str) -> bool:
        """Take everything up to a cursor as processed; return False for one that is not out."""
        acked = self._sent.get(cursor)
        if acked is None:
            return False
        while self._sent.popitem(last=False)[0] != cursor:
            continue
        self.unacked = self._total - acked
        return True


class Pace:
    """Counts messages against a rate with a burst; times are monotonic seconds."""

    __slots__ = ("_whole_at_s",)

    def __init__(self) -> None:
        self._whole_at_s = float("-inf")

    def takes(self, now_s: float) -> bool:
        """Return whether a message at this time is within the rate."""
        if gcra.wait_s(self._whole_at_s, now_s, 1, MESSAGES):
            return False
        self._whole_at_s = gcra.after(self._whole_at_s, now_s, 1, MESSAGES)
        return True


class Errors:
    """Counts what a client did wrong lately."""

    __slots__ = ("_at_s",)

    def __init__(self) -> None:
        self._at_s: deque[float] = deque(maxlen=MAX_ERRORS)

    def one_more(self, now_s: float) -> bool:
        """Note an error; return whether there were too many."""
        full = len(self._at_s) == MAX_ERRORS and now_s - self._at_s[0] <= ERRORS_S
        self._at_s.append(now_s)
        return full
