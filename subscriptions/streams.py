"""Open streams as everybody sees them, and the orders that end them.

Streams live in web processes, which know nothing of each other. Each puts its list up on a board
in Redis every few seconds; orders go to all of them by NOTIFY, and the one that has it obeys.
"""

import functools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import msgspec
from django.db import connection

from kafkahub import config
from kafkahub.limits.board import Board, BoardAway

CHANNEL = "kafkahub_streams"
PUBLISH_S = 5.0
LIFE_S = 15
"""Seconds a list stays without its process: three missed turns, then it is dead."""


class OpenStream(msgspec.Struct, frozen=True, kw_only=True):
    """One open stream at one moment; times are Unix ms.

    key_id       of the key, also where a ticket of it was used; ``ticket_id`` is None without one
    lag_records  None where a filtered grant hides it, or it is not known
    credit       balance of a WebSocket subscription, and ``unacked`` its records out; else None
    cursor       where it would be resumed now
    """

    id: str
    partner: str
    transport: str
    key_id: str
    ticket_id: str | None
    ip: str
    user_agent: str
    origin: str | None
    topics: tuple[str, ...]
    filter: object
    format: str
    opened_at_ms: int
    expires_at_ms: int | None
    state: str
    lag_records: int | None
    lag_seconds: float | None
    records: int
    bytes: int
    paused_ms: int
    credit: int | None
    unacked: int | None
    process: str
    cursor: str | None


class Order(msgspec.Struct, frozen=True, omit_defaults=True):
    """Close one stream, or all streams of one ticket, for a reason of ``streams.md`` 1.5."""

    reason: str
    stream: str = ""
    ticket: str = ""


class Listing(NamedTuple):
    """What is open; not ``complete`` while other processes' lists cannot be read."""

    streams: list[OpenStream]
    complete: bool


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(tuple[OpenStream, ...]).decode
_decode_order = msgspec.json.Decoder(Order).decode


@dataclass(slots=True)
class Here:
    """The streams of this process, as it told them last; swapped as a whole by its register."""

    process: str = ""
    rows: Sequence[OpenStream] = ()


here = Here()


@functools.cache
def board() -> Board:
    """Return the board of this process."""
    return Board(config.load().redis_url.get_secret_value(), "streams")


def publish(process: str, streams: Iterable[OpenStream]) -> None:
    """Put up the list of a process, by partner; raise BoardAway."""
    by_partner: dict[str, list[OpenStream]] = {}
    for stream in streams:
        by_partner.setdefault(stream.partner, []).append(stream)
    notes = {partner: _encode(rows) for partner, rows in by_partner.items()}
    board().put(process, notes, LIFE_S)


def listing(partner: str | None = None) -> Listing:
    """Return the open streams of a partner, or of all, newest first, up to ``PUBLISH_S`` old."""
    found = list(here.rows)
    complete = True
    try:
        notes = board().read(partner)
    except BoardAway:
        notes, complete = [], False
    for note in notes:
        # Our own note is older than what is here.
        found += (stream for stream in _decode(note) if stream.process != here.process)
    wanted = [stream for stream in found if partner in {None, stream.partner}]
    return Listing(sorted(wanted, key=lambda stream: stream.id, reverse=True), complete)


def give(order: Order) -> None:
    """Tell every process to close something, when the caller's transaction commits."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_notify(%s, %s)", [CHANNEL, _encode(order).decode()])


def read_order(payload: str) -> Order | None:
    """Return the order in a notification, or None for what is none."""
    try:
        return _decode_order(payload)
    except msgspec.DecodeError:
        return None
