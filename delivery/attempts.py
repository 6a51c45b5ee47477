"""The attempt log as it is written: rows, their text, and one COPY for many."""

import functools
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

from psycopg import Cursor

Cur = Cursor[tuple[Any, ...]]
"""Any: rows of plain cursors have the types of their query, which mypy cannot see."""

NULL = "\\N"
BYTES = "\\\\x"
SIX = "%d,%d,%d,%d,%d,%d"
"""How COPY's text format writes NULL and the beginning of bytes; six numbers of an array."""

MAX_KEY_BYTES = 1_024
"""Longest key in the attempt log; a longer one is cut, for a key may be as large as a record."""
MAX_TIME_MS = 253_402_300_799_999
"""The end of the year 9999. A producer may write any time; one beyond is logged as none."""


class AttemptRow(NamedTuple):
    """One line of the attempt log, in the order of COPY.

    at_us, next_attempt_us  Unix time in µs on PostgreSQL's clock, see ``clock_us``
    record_time_ms          Kafka's time of the record, Unix ms
    timings_us              these six: dns, tcp, tls, sent, first byte, body; each since the start
    """

    at_us: int
    partner: str
    subscription: str
    endpoint: str
    delivery: str
    topic: str
    partition: int
    offset: int
    record_time_ms: int | None
    key: bytes | None
    number: int
    kind: str
    outcome: str
    outcome_class: str
    http_status: int | None
    duration_us: int
    timings_us: tuple[int, ...]
    reused: bool
    request_bytes: int
    response_excerpt: str | None
    response_note: str | None
    retry_after_s: int | None
    next_attempt_us: int | None
    secret_ids: tuple[str, ...]
    replay: str | None = None
    batch: str | None = None


_TO_ESCAPE = re.compile(r"[\\\n\r\t\0]")
_ESCAPED = {"\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t", "\0": "\N{REPLACEMENT CHARACTER}"}

COPY = """
COPY delivery_attempt (at, partner, subscription, endpoint, delivery, topic, partition, "offset",
    record_time, key, number, kind, outcome, outcome_class, http_status, duration_us, timings_us,
    reused, request_bytes, response_excerpt, response_note, retry_after_s, next_attempt_at,
    secret_ids, replay, batch) FROM STDIN
"""


def copy_attempts(cur: Cur, rows: Sequence[AttemptRow]) -> None:
    """Append to the attempt log in one COPY."""
    if rows:
        with cur.copy(COPY) as copy:
            copy.write("".join([_line(row) for row in rows]).encode("utf-8", "replace"))


def _line(row: AttemptRow) -> str:
    """Return one line of COPY's text format.

    Hot path: unpacked once and formatted at once, because a helper a field would double the
    3 µs. Only the excerpt is a stranger's text; the other texts are ours or Kafka topic names.
    """
    (
        at_us, partner, subscription, endpoint, delivery, topic, partition, offset, time_ms, key,
        number, kind, outcome, outcome_class, status, duration_us, timings, reused, size, excerpt,
        note, retry_after_s, next_us, secret_ids, replay, batch,
    ) = row  # fmt: skip
    return (
        f"{_moment(at_us)}\t{partner}\t{subscription}\t{endpoint}\t{delivery}\t{topic}\t"
        f"{partition}\t{offset}\t{_time(time_ms)}\t"
        f"{NULL if key is None else BYTES + key[:MAX_KEY_BYTES].hex()}\t"
        f"{number}\t{kind}\t{outcome}\t{outcome_class}\t{NULL if status is None else status}\t"
        f"{duration_us}\t{{{SIX % timings}}}\t{'t' if reused else 'f'}\t{size}\t"
        f"{NULL if excerpt is None else _escape(excerpt)}\t{NULL if note is None else note}\t"
        f"{NULL if retry_after_s is None else retry_after_s}\t"
        f"{NULL if next_us is None else _moment(next_us)}\t{{{','.join(secret_ids)}}}\t"
        f"{NULL if replay is None else replay}\t{NULL if batch is None else batch}\n"
    )


def _escape(text: str) -> str:
    if _TO_ESCAPE.search(text) is None:
        return text
    return _TO_ESCAPE.sub(lambda match: _ESCAPED[match[0]], text)


def _time(unix_ms: int | None) -> str:
    possible = possible_ms(unix_ms)
    return NULL if possible is None else _moment(possible * 1_000)


def possible_ms(unix_ms: int | None) -> int | None:
    """Return a record's time where it can be kept, else None."""
    return unix_ms if unix_ms is not None and 0 <= unix_ms <= MAX_TIME_MS else None


def _moment(unix_us: int) -> str:
    seconds, micros = divmod(unix_us, 1_000_000)
    return f"{_second(seconds)}.{micros:06d}+00"


@functools.lru_cache(maxsize=1_024)  # attempts and records of the same seconds come together
def _second(unix_s: int) -> str:
    return datetime.fromtimestamp(unix_s, UTC).strftime("%Y-%m-%d %H:%M:%S")
