"""Where listeners sit down: on the live tape, on a slice of the log, or on one read from Kafka."""

import asyncio
import time
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from typing import Any, Protocol
from weakref import WeakValueDictionary

from gateway.hub.audience import Spec
from gateway.hub.catchup import Job, TooManyJobs
from gateway.hub.commands import Ask, Behind, Leave, Refused, Seated
from gateway.hub.connections import Seat
from gateway.hub.log import Part
from gateway.hub.place import Place, Tokens
from gateway.hub.tape import Tape
from kafkahub.errors import Overloaded, Unavailable
from subscriptions.cursor import NO_EPOCH

LINGER_S = 30.0
"""An audience without listeners is kept so long: a client that was cut finds it warm."""
SEAT_S = 20.0
"""Longest wait for a seat, Kafka's answer included."""

Key = tuple[object, ...]
Spawn = Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]]


class Reads(Protocol):
    """The thread that reads Kafka, as a command sees it."""

    def command(self, command: Ask | Leave) -> None: ...


class Reaches(Protocol):
    """The catch-up pool."""

    def submit(self, job: Job) -> None: ...


@dataclass(slots=True)
class _Home:
    """One audience: its live tape, how many sit there, and since when nobody does."""

    live: Tape
    users: int = 0
    empty_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Ends:
    """Where partitions begin and end, as Kafka told; for topics that the hub does not read yet."""

    lows: Mapping[Part, int]
    highs: Mapping[Part, int]


NO_ENDS = Ends({}, {})


class Seats:
    """Finds seats, and keeps audiences as long as somebody needs them.

    Lives on the event loop. Listeners that stand at the same place share a question and a slice.
    """

    def __init__(self, reading: Reads, catchup: Reaches, spawn: Spawn) -> None:
        self._reading = reading
        self._catchup = catchup
        self._spawn = spawn
        self._homes: dict[Spec, _Home] = {}
        self._asked: dict[Key, asyncio.Future[Seated]] = {}
        self._slices: WeakValueDictionary[Key, Tape] = WeakValueDictionary()

    def __len__(self) -> int:
        return len(self._homes)

    def is_reading(self, topic: str) -> bool:
        """Return whether some audience has this topic, so that "latest" needs no question."""
        return any(topic in spec.topics for spec in self._homes)

    def topics(self) -> set[str]:
        """Return the topics of all audiences."""
        return {topic for spec in self._homes for topic in spec.topics}

    def are_of_another(self, topic: str, epoch: bytes) -> bool:
        """Return whether some audience has offsets of another topic of this name."""
        homes = (home for spec, home in self._homes.items() if topic in spec.topics)
        tags = {home.live.tokens.epoch(topic) for home in homes}
        return epoch != NO_EPOCH and bool(tags - {epoch, NO_EPOCH})

    def live(self, spec: Spec) -> Tape | None:
        """Return the live tape of an audience, None where there is none any more."""
        home = self._homes.get(spec)
        return None if home is None else home.live

    async def take(
        self, spec: Spec, tokens: Tokens, start: Place, ends: Ends = NO_ENDS
    ) -> tuple[Seat, Place]:
        """Return a seat for who stands at ``start``, and that place with ``LATEST`` resolved.

        A partition that ``start`` lacks begins at its first record. Counts until ``release``.
        Raises Overloaded, or Unavailable when there is no seat in time.
        """
        key = (spec, tokens.key, tuple(sorted(start.offsets.items())))
        home = self._homes.get(spec)
        if home is not None:
            home.users += 1
        try:
            seated = await self._shared(key, spec, tokens, start, ends)
        finally:
            if home is not None:
                self.release(spec)
        home = self._homes.setdefault(spec, _Home(seated.live))
        home.live = seated.live
        home.users += 1
        return Seat(seated.tape, seated.seq), seated.place

    def release(self, spec: Spec) -> None:
        """Take back what ``take`` counted."""
        home = self._homes.get(spec)
        if home is not None:
            home.users -= 1
            home.empty_s = time.monotonic()

    def forget(self, topic: str) -> None:
        """Drop the audiences of a topic whose offsets mean other records now."""
        for spec in [spec for spec in self._homes if topic in spec.topics]:
            del self._homes[spec]

    def tidy(self, now_s: float) -> None:
        """Drop audiences that nobody has needed for a while."""
        idle = [
            spec
            for spec, home in self._homes.items()
            if home.users <= 0 and now_s - home.empty_s > LINGER_S
        ]
        for spec in idle:
            del self._homes[spec]
            self._reading.command(Leave(spec))

    async def _shared(
        self, key: Key, spec: Spec, tokens: Tokens, start: Place, ends: Ends
    ) -> Seated:
        """Return the seat of a place; those who ask for the same one wait together."""
        home, tape = self._homes.get(spec), self._slices.get(key)
        if home is not None and tape is not None:
            return Seated(tape, 0, start, home.live)
        future = self._asked.get(key)
        if future is None:
            future = self._asked[key] = asyncio.get_running_loop().create_future()
            self._spawn(self._find(key, Wish(spec, tokens, start, ends), future))
        return await asyncio.shield(future)

    async def _find(self, key: Key, wish: "Wish", future: asyncio.Future[Seated]) -> None:
        try:
            async with asyncio.timeout(SEAT_S):
                seated = await self._look(wish)
        except (Overloaded, Unavailable) as error:
            future.set_exception(error)
        except TimeoutError:
            future.set_exception(Unavailable("Kafka does not answer in time."))
        except asyncio.CancelledError:
            future.cancel()
            raise
        else:
            if not seated.tape.is_live:
                self._slices[key] = seated.tape
            future.set_result(seated)
        finally:
            del self._asked[key]
            future.exception() if future.done() and not future.cancelled() else None

    async def _look(self, wish: "Wish") -> Seated:
        answer = await self._ask(wish)
        if isinstance(answer, Seated):
            return answer
        if isinstance(answer, Refused):
            if answer.reason == "overloaded":
                raise Overloaded("There are too many different streams on this server.")
            raise Unavailable("This server has not read so far yet.")
        tape = await self._reach(wish, answer)
        return Seated(tape, 0, answer.start, answer.then[0])

    async def _ask(self, wish: "Wish") -> Seated | Behind | Refused:
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Seated | Behind | Refused] = loop.create_future()
        ask = Ask(
            spec=wish.spec,
            tokens=wish.tokens,
            offsets=wish.start.offsets,
            time_ms=wish.start.time_ms,
            lows=wish.ends.lows,
            ends=wish.ends.highs,
            reply=lambda answer: _hand_over(loop, future, answer),
            asked_s=time.monotonic(),
        )
        self._reading.command(ask)
        return await future

    async def _reach(self, wish: "Wish", behind: Behind) -> Tape:
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Tape | None] = loop.create_future()
        job = Job(
            spec=wish.spec,
            tokens=wish.tokens,
            start=behind.start,
            target=behind.target,
            then=behind.then,
            reply=lambda tape: _hand_over(loop, future, tape),
        )
        try:
            self._catchup.submit(job)
        except TooManyJobs:
            raise Overloaded("Too many streams have to catch up at once.") from None
        tape = await future
        if tape is None:
            raise Unavailable("Kafka does not answer in time.")
        return tape


@dataclass(frozen=True, slots=True)
class Wish:
    """What a listener wants a seat for."""

    spec: Spec
    tokens: Tokens
    start: Place
    ends: Ends


def _hand_over(
    loop: asyncio.AbstractEventLoop, future: asyncio.Future[Any], answer: object
) -> None:
    """Give a thread's answer to the loop; nobody may wait for it any more, not even the loop."""
    if not loop.is_closed():
        loop.call_soon_threadsafe(_settle, future, answer)


def _settle(future: asyncio.Future[Any], answer: object) -> None:
    if not future.done():
        future.set_result(answer)
