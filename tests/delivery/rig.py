"""A dispatcher without threads: the test is reader, receiver, backlog, database and clock."""

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import replace
from uuid import UUID

from delivery import inbox
from delivery.batch import Batch, Outcomes
from delivery.board import Board, Room
from delivery.dispatcher import Dispatcher, Limits, Outside
from delivery.inbox import Assigned, Found, Place
from delivery.lanes import Lane, Partition
from delivery.positions import Claim, LaneRow
from delivery.request import Request
from delivery.standings import Cursors, Standings
from delivery.window import Turns, Window
from kafkahub.crypto import KeyRing
from kafkahub.egress.curl import Answer
from kafkahub.kafka.record import Record
from subscriptions.live import LiveReplay, LiveSubscription
from subscriptions.sealing import Sealer
from tests.delivery import makers

OWNER = UUID(int=7)
PLACE: Place = (makers.TOPIC, 0)
CHECKPOINT_S = 0.1
NEVER = 1_000_000
SMALL = Room(4, 1 << 20)


def row(live: str = "sub_1", state: str = "live", next_offset: int = 0, number: int = 0) -> LaneRow:
    return LaneRow(live, makers.TOPIC, number, state, "", next_offset)


class Rig:
    """Notes go in by ``post``, and what the dispatcher asks of other threads is kept in lists.

    now       the monotonic clock, moved by the test only
    asks      what the backlog reader was asked
    gate      whether the shared reader may read
    batches   handed to the checkpoint; ``commit`` answers the oldest
    dropped   partitions the consumer was told to give up
    """

    def __init__(
        self,
        *lives: LiveSubscription,
        room: Room = SMALL,
        checkpoint_outcomes: int = NEVER,
        owner: UUID = OWNER,
        now_us: Callable[[float], int] = lambda now: int(now * 1e6),
    ) -> None:
        self.now = 1_000.0
        self.asks: list[inbox.Ask] = []
        self.gates: list[bool] = []
        self.batches: list[Batch] = []
        self.dropped: list[Place] = []
        self.lives = {live.id: live for live in lives}
        self.replays: dict[str, LiveReplay] = {}
        self.turns = Turns()
        outcomes = Outcomes(owner, now_us)
        self.board = Board(
            makers.NAMING,
            room,
            turns=self.turns,
            outcomes=outcomes,
            ask=self.asks.append,
            gate=self.gates.append,
        )
        self.standings = Standings()
        self.gone: list[str] = []
        self.dispatcher = Dispatcher(
            self.board,
            Limits(CHECKPOINT_S, checkpoint_outcomes, retry_after_max_s=3_600),
            Outside(commit=self.batches.append, drop=self._drop, gone=self.gone.append),
            turns=self.turns,
            outcomes=outcomes,
            cursors=Cursors("cluster", lambda: self.standings, lambda who: sealer(who).seal),
            seed=1,
        )
        self.change()

    def _drop(self, places: Iterable[Place]) -> None:
        self.dropped.extend(places)

    @property
    def is_gate_open(self) -> bool:
        return not self.gates or self.gates[-1]

    # What other threads say.

    def post(self, *notes: inbox.Note) -> None:
        """Post notes and let the dispatcher act on them."""
        for note in notes:
            self.dispatcher.post(note)
        self.tick()

    def change(self, *lives: LiveSubscription, found: Sequence[Found] = ()) -> None:
        """Swap the snapshot for one in which these subscriptions are as given."""
        self.lives |= {live.id: live for live in lives}
        known = replace(makers.snapshot(*self.lives.values()), replays=self.replays)
        self.post(inbox.SnapshotChanged(known, found))

    def remove(self, live: str) -> None:
        del self.lives[live]
        self.change()

    def set_sending(self, live: str, *, sending: bool) -> None:
        self.change(replace(self.lives[live], sending=sending))

    def assign(
        self,
        *found: Found,
        next_offset: int = 0,
        epoch: int = 1,
        checkpoint: int = 0,
        number: int = 0,
    ) -> None:
        """Hand over a partition; without ``found`` every lane of it is live."""
        claim = Claim(makers.TOPIC, number, OWNER, epoch, 1, next_offset, checkpoint)
        lanes = found or [
            Found(row(live, next_offset=next_offset, number=number)) for live in self.lives
        ]
        self.post(Assigned(claim, next_offset, lanes))

    def feed(self, *offsets: int, to: Collection[str] | None = None, number: int = 0) -> None:
        """Let the shared reader bring records, owed to all or to some; gaps are filtered out."""
        owed = self.lives if to is None else to
        hits = [
            (offset, [(live, record(offset, number), "") for live in owed]) for offset in offsets
        ]
        self.post(inbox.Fed((makers.TOPIC, number), hits, offsets[-1] + 1))

    def answer_ask(self, *offsets: int, next_offset: int, is_gap: bool = False) -> None:
        """Answer the oldest ask of the backlog reader."""
        ask = self.asks.pop(0)
        hits = [(offset, (ask.lane, record(offset), "")) for offset in offsets]
        self.post(inbox.BacklogFed(ask, hits, next_offset, is_gap=is_gap))

    def see(self, *, untold: frozenset[str]) -> None:
        """Let the standings be read anew: these gaps are on their way."""
        self.tick(1.0)
        self.standings = replace(self.standings, untold=untold, read_at=self.now)
        self.tick(1.0)

    # What the sender does.

    def tick(self, seconds: float = 0.0) -> None:
        self.now += seconds
        self.dispatcher.tick(self.now)

    def take(self, most: int = NEVER) -> list[Request]:
        """Return the requests that may go out now."""
        taken: list[Request] = []
        while len(taken) < most and (request := self.dispatcher.take(self.now)) is not None:
            taken.append(request)
        return taken

    def land(self, *requests: Request, answer: Answer | None = None) -> None:
        for request in requests:
            self.dispatcher.land(request, answer or makers.answer(), self.now)

    # What the checkpoint does.

    def batch(self) -> Batch:
        """Let the time of a checkpoint come and return what it is given."""
        self.tick(CHECKPOINT_S)
        [batch] = self.batches
        return batch

    def commit(self, *fenced: Place) -> Batch:
        """Let a checkpoint come and succeed."""
        batch = self.batch()
        self.batches.clear()
        self.post(inbox.Committed(batch.number, frozenset(fenced)))
        return batch

    # What a test looks at.

    def lane(self, live: str = "sub_1", number: int = 0) -> Lane:
        return self.partition(number).lanes[live]

    def partition(self, number: int = 0) -> Partition:
        return self.board.partitions[makers.TOPIC, number]

    def window(self, live: str = "sub_1") -> Window:
        return self.board.window(self.lives[live])


def sealer(partner: str) -> Sealer:
    """Return what seals and opens the cursors of a partner."""
    return Sealer(KeyRing("k1", {"k1": bytes(range(32))}), partner, 682)


def record(offset: int, number: int = 0) -> Record:
    value = b'{"id":%d}' % offset
    return Record(makers.TOPIC, number, offset, 1_795_407_540_123, b"k", value, ())


def offsets(requests: Iterable[Request]) -> list[int]:
    return [request.delivery.offset for request in requests]


def names(requests: Iterable[Request]) -> list[str]:
    return [request.delivery.form.subscription.id for request in requests]
