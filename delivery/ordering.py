"""Lanes that keep an order: who waits behind whom (pure).

``KeyLane``: one record of a key is out at a time, and once one of a key is parked, the later ones
are parked behind it. Serial lanes are in ``serial``. All belong to the dispatcher's thread.
"""

from collections import deque
from collections.abc import Iterable
from hashlib import blake2b
from typing import TYPE_CHECKING, ClassVar

from delivery.lanes import Delivery, Lane, LaneState, Partition, release

if TYPE_CHECKING:
    from delivery.ledger import ParkedRow
    from delivery.request import LaneForm

TAG_BYTES = 16
LANE_KEY = b"lane"
"""The order key of a whole serial lane; no tag of a key is so short."""
PRUNE_FROM = 4_096
"""Offsets settled ahead that are kept before those are looked for which nobody reads again."""


class Chain:
    """Claimed rows of one order: one is out or about to go, the others come after it.

    now     the row whose turn it is
    behind  the others, by offset
    """

    __slots__ = ("behind", "lane", "now", "order_key")

    def __init__(
        self, lane: "OrderedLane", order_key: bytes, now: "ParkedRow", behind: "Iterable[ParkedRow]"
    ) -> None:
        self.lane = lane
        self.order_key = order_key
        self.now = now
        self.behind: deque[ParkedRow] = deque(behind)


class OrderedLane(Lane):
    """What lanes with an order have in common: parked rows that others wait behind.

    heads   order keys with parked rows, and the number of the batch that parked the last of them
    chains  claimed rows by their order key
    to_park  records behind a parked head, to be parked themselves; by offset for each key
    dying   batches that make dead letters durable, by their keys: until then nothing overtakes
            them, for after a crash they would be sent again
    """

    __slots__ = ("_secret", "chains", "dying", "heads", "to_park")
    is_ordered: ClassVar[bool] = True

    def __init__(
        self,
        partition: Partition,
        form: "LaneForm",
        ahead: set[int],
        waiting: Iterable[bytes] = (),
        *,
        secret: bytes = b"",
    ) -> None:
        super().__init__(partition, form, ahead)
        self._secret = secret
        self.heads: dict[bytes, int] = dict.fromkeys(waiting, 0)
        self.chains: dict[bytes, Chain] = {}
        self.to_park: deque[Delivery] = deque()
        self.dying: dict[bytes, int] = {}

    def unsend(self, delivery: Delivery) -> None:
        """Take a delivery back as if it had not been sent: the lane falls behind it next."""
        self._landed(delivery)
        self.queue.appendleft(delivery)
        self.queued_bytes += delivery.weight

    def die(self, delivery: Delivery, number: int) -> bool:
        """Note a dead letter of batch ``number``; return whether anything waits for that.

        To be called before ``settle``.
        """
        key = self._order_of(delivery)
        if key is None:
            return False
        self.dying[key] = number
        return True

    def committed(self, number: int) -> bool:
        """Let those go that waited for dead letters; return whether some still wait."""
        for key in [key for key, batch in self.dying.items() if batch <= number]:
            del self.dying[key]
            self._pass_on(key)
        return bool(self.dying)

    def _order_of(self, delivery: Delivery) -> bytes | None:
        """Return what stands for the order of a delivery in memory; None: it has none."""
        raise NotImplementedError

    def _pass_on(self, key: bytes) -> None:
        """Let the next of an order go, whose record before it is done."""
        raise NotImplementedError

    def tag(self, key: bytes) -> bytes:
        """Return the order key that stands for a key in rows: it tells nothing of the key."""
        return blake2b(key, digest_size=TAG_BYTES, key=self._secret).digest()

    def is_blocked(self, delivery: Delivery) -> bool:
        """Whether a record comes behind a parked one of its key."""
        key = key_of(delivery)
        return key is not None and bool(self.heads) and self.tag(key) in self.heads

    def blocked(self, delivery: Delivery, number: int) -> bytes:
        """Return the order key of one of ``to_park``, which is parked in batch ``number``."""
        key = key_of(delivery)
        if key is None:
            raise ValueError("a record without a key waits behind nobody")
        order_key = self.tag(key)
        self.heads[order_key] = number
        return order_key

    def set_aside(self, delivery: Delivery) -> None:
        """Note that one of ``to_park`` is parked."""
        self.queued_bytes -= delivery.weight
        release(delivery)
        if self.debt is not None:
            self.is_dirty = True

    def unblock(self, order_key: bytes, number: int) -> bool:
        """Let records of an order go out again, those first that are not parked yet.

        number  of the batch behind which no row of it was left

        Returns False while a later batch has parked another one: that one's end decides.
        """
        if order_key in self.chains or self.heads.get(order_key, number + 1) > number:
            return False
        del self.heads[order_key]
        free = [one for one in self.to_park if not self.is_blocked(one)]
        if free:
            self.to_park = deque(one for one in self.to_park if self.is_blocked(one))
            self.queue.extendleft(reversed(free))
        return True


class KeyLane(OrderedLane):
    """At most one record of a key is out; records without a key have no order.

    ``queue`` is in the order of offsets, but records leave it out of order: those whose key is
    busy wait in ``_lines``. ``_track`` has the offsets of all that was queued and may be
    unsettled, ``_done`` those of them that are settled.

    _lines  records by key behind one of theirs that is out, or about to go; empty lines too
    _ready  the next of a key that has become free
    _above  what is out although reading goes on below it; met again by the backlog reader
    """

    __slots__ = (
        "_above",
        "_done",
        "_lines",
        "_prune_at",
        "_ready",
        "_track",
        "_unsent",
    )

    def __init__(
        self,
        partition: Partition,
        form: "LaneForm",
        ahead: set[int],
        waiting: Iterable[bytes] = (),
        *,
        secret: bytes,
    ) -> None:
        super().__init__(partition, form, ahead, waiting, secret=secret)
        self._lines: dict[bytes, deque[Delivery]] = {}
        self._ready: deque[Delivery] = deque()
        self._above: dict[int, Delivery] = {}
        self._track: deque[int] = deque()
        self._done: set[int] = set()
        self._unsent = 0
        self._prune_at = PRUNE_FROM

    # What is read.

    def push_backlog(self, deliveries: list[Delivery], next_offset: int) -> None:
        """Queue what the backlog reader read; of what is out already, that one is owed."""
        above = self._above
        if above:
            deliveries = [above.get(delivery.offset, delivery) for delivery in deliveries]
        super().push_backlog(deliveries, next_offset)

    def push(self, delivery: Delivery) -> None:
        """Queue a delivery, or set it down for parking where its key has a parked head."""
        self._track.append(delivery.offset)
        if self._above.pop(delivery.offset, None) is not None:
            return  # it is out
        self._unsent += 1
        self.queued_bytes += delivery.weight
        if self.heads and self.is_blocked(delivery):
            self.to_park.append(delivery)
        else:
            self.queue.append(delivery)

    def unsend(self, delivery: Delivery) -> None:
        """Take a delivery back as if it had not been sent: the lane falls behind it next."""
        super().unsend(delivery)
        self._unsent += 1

    # What goes out and comes back.

    def next(self) -> Delivery | None:
        """Return a delivery whose key is free, or None; a paused lane gives none."""
        if self.state is LaneState.PAUSED:
            return None
        if self.returned:
            delivery = self.returned.popleft()
        else:
            found = self._ready.popleft() if self._ready else self._next_free()
            if found is None:
                return None
            delivery = found
            self._unsent -= 1
        self.queued_bytes -= delivery.weight
        self.in_flight[delivery] = None
        self.partition.in_flight += 1
        return delivery

    def _next_free(self) -> Delivery | None:
        queue, lines = self.queue, self._lines
        while queue:
            delivery = queue.popleft()
            key = key_of(delivery)
            if key is None:
                return delivery
            line = lines.get(key)
            if line is None:
                lines[key] = deque()
                return delivery
            line.append(delivery)
        return None

    def settle(self, delivery: Delivery) -> None:
        """Note that a delivery is delivered or parked; the next of its key may go."""
        super().settle(delivery)
        self._settled(delivery.offset)
        key = key_of(delivery)
        if key is not None and key not in self.dying:
            self._pass_on(key)

    def _order_of(self, delivery: Delivery) -> bytes | None:
        return key_of(delivery)

    def _pass_on(self, key: bytes) -> None:
        line = self._lines.get(key)
        if line:
            self._ready.append(line.popleft())
        elif line is not None:
            del self._lines[key]

    def block(self, delivery: Delivery, number: int) -> bytes | None:
        """Let the records of a key wait behind this one, which is parked in batch ``number``.

        To be called before ``settle``. Returns its order key; None without a key.
        """
        key = key_of(delivery)
        if key is None:
            return None
        order_key = self.tag(key)
        self.heads[order_key] = number
        self.to_park.extend(self._lines.pop(key, ()))
        behind = [one for one in self.queue if key_of(one) == key]
        if behind:
            self.queue = deque(one for one in self.queue if key_of(one) != key)
            self.to_park.extend(behind)
        return order_key

    def set_aside(self, delivery: Delivery) -> None:
        """Note that one of ``to_park`` is parked."""
        super().set_aside(delivery)
        self._unsent -= 1
        self._settled(delivery.offset)

    def _settled(self, offset: int) -> None:
        if self._above.pop(offset, None) is not None:
            self.ahead.add(offset)  # reading goes on below it, and shall not bring it again
            return
        track, done = self._track, self._done
        done.add(offset)
        while track and track[0] in done:
            done.discard(track.popleft())

    def resume_after(self, delivery: Delivery) -> int:
        """Return where to go on reading once this delivery is done: nothing below is owed else."""
        place = delivery.offset + 1
        for offset in self._track:
            if offset != delivery.offset and offset not in self._done:
                place = offset
                break
        return place if self.state is LaneState.LIVE else min(place, self.read_offset)

    # What takes it away from its readers.

    def fall_behind(self, reason: str, state: LaneState = LaneState.BEHIND) -> None:
        """Owe everything from the lowest delivery never sent; what is settled above it is not.

        What is out above that one is met again when it is read, and is owed from then on.
        """
        unsent = self._never_sent()
        first_unsent = min((one.offset for one in unsent), default=self._read_up_to())
        sent = self._sent()
        for delivery in unsent:
            release(delivery)
        self._forget_unsent()
        self._lines = {key: deque() for one in sent if (key := key_of(one)) is not None}
        self._lines |= {key: deque() for key in self.dying}
        self.ahead |= self._done
        self._done.clear()
        below = [one for one in sent if one.offset < first_unsent]
        self._above = {one.offset: one for one in sent[len(below) :]}
        for delivery in self._above.values():
            release(delivery)
        self._track = deque(one.offset for one in below)
        self._owe(first_unsent, below, reason, state)
        self._prune()

    def abandon(self) -> None:
        """Owe nothing any more: the subscription is gone."""
        for delivery in self._never_sent():
            release(delivery)
        super().abandon()

    def drop(self) -> None:
        """Forget all that is not out; it stays owed."""
        self._forget_unsent()
        self.returned.clear()

    def _never_sent(self) -> list[Delivery]:
        in_lines = [delivery for line in self._lines.values() for delivery in line]
        return [*self._ready, *in_lines, *self.to_park, *self.queue]

    def _forget_unsent(self) -> None:
        self._ready.clear()
        self._lines.clear()
        self.to_park.clear()
        self.queue.clear()
        self._unsent = 0

    def _prune(self) -> None:
        """Forget offsets below the lane: nobody reads them again."""
        if len(self.ahead) < self._prune_at:
            return
        self.ahead = {offset for offset in self.ahead if offset >= self.read_offset}
        self._prune_at = max(PRUNE_FROM, 2 * len(self.ahead))

    @property
    def queued(self) -> int:
        """How many deliveries wait that were never sent."""
        return self._unsent

    @property
    def is_hungry(self) -> bool:
        """Whether something could be sent, as far as the lane goes."""
        return bool(self.queue or self._ready or self.returned)

    @property
    def is_idle(self) -> bool:
        """Whether nothing is queued or in flight."""
        return not (self._unsent or self.returned or self.in_flight)


def key_of(delivery: Delivery) -> bytes | None:
    """Return the key of a delivery's record."""
    record = delivery.record
    return None if record is None else record.key
