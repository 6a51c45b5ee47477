"""Where a listener sits down, as far as the shared log reaches back."""

import time
from collections.abc import Iterable, Mapping

from gateway.frames import Gap
from gateway.hub.commands import Ask, Behind, Refused, Seated
from gateway.hub.groups import Frames, Group, batches_of
from gateway.hub.log import Entry, Part, SharedLog
from gateway.hub.place import Place
from gateway.hub.tape import Tape
from kafkahub import clock

SLICE_BYTES = 1024 * 1024
"""Bytes that are taken from the log for one listener at once."""
AHEAD_S = 5.0
"""How long a cursor may be ahead of what this process has read: another one was quicker."""


class Seating:
    """Answers who asks for a seat. Belongs to the thread that reads."""

    def __init__(self, frames: Frames, log: SharedLog) -> None:
        self._frames = frames
        self._log = log
        self._ahead: list[Ask] = []

    def answer(self, ask: Ask, group: Group, wanted: Mapping[Part, int]) -> None:
        """Reply with a seat in an audience, or keep who is ahead of it until ``waiting``."""
        here = group.place
        if wanted == here.offsets:
            start = Place(wanted, ask.time_ms)
            ask.reply(Seated(group.tape, group.next_seq, start, group.tape))
        elif any(offset > here.offsets[part] for part, offset in wanted.items()):
            self._ahead.append(ask)
        elif self._log.covers(wanted, wanted):
            ask.reply(self._slice(ask, group, Place(wanted, ask.time_ms)))
        else:
            start = Place(wanted, ask.time_ms)
            ask.reply(Behind(start, here, (group.tape, group.next_seq)))

    def _slice(self, ask: Ask, group: Group, start: Place) -> Seated:
        """Return a tape of what the log has between a place and now, up to ``SLICE_BYTES``."""
        found = [
            entry
            for part, offset in start.offsets.items()
            for entry in self._log.parts[part].between(offset, group.place.offsets[part])
        ]
        found.sort(key=lambda entry: entry.number)  # as they were read, so that no topic starves
        taken = list(within(found, SLICE_BYTES))
        is_whole = len(taken) == len(found)
        end = group.place if is_whole else start.after(taken)
        then = (group.tape, group.next_seq) if is_whole else None
        tape = Tape(end, ask.tokens, is_live=False, then=then)
        tape.extend(
            batches_of(
                self._frame_all(taken, group), ask.spec, start, end, read_s=time.monotonic()
            ),
            end,
        )
        return Seated(tape, 0, start, group.tape)

    def _frame_all(self, entries: Iterable[Entry], group: Group) -> list[Entry | Gap]:
        scratch = Group(group.spec, group.tape, self._frames, self._log)
        now_ms = int(clock.now().timestamp() * 1000)
        for entry in entries:
            scratch.take(entry, None, now_ms)
        return scratch.waiting()

    def waiting(self, now_s: float) -> list[Ask]:
        """Return those whose cursor was ahead of this process, to be seated anew.

        Who has waited too long is refused.
        """
        waiting, self._ahead = self._ahead, []
        late = [ask for ask in waiting if now_s - ask.asked_s > AHEAD_S]
        for ask in late:
            ask.reply(Refused("unavailable"))
        return [ask for ask in waiting if now_s - ask.asked_s <= AHEAD_S]


def within(entries: Iterable[Entry], max_bytes: int) -> Iterable[Entry]:
    """Yield entries up to some bytes, at least one."""
    size = 0
    for entry in entries:
        size += entry.size
        yield entry
        if size > max_bytes:
            return
