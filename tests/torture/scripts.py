"""How a sink misbehaves: drawn from the seed, the subscription and the record alone (pure)."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

UNIT = 1 << 32


@dataclass(frozen=True, slots=True)
class Answer:
    """What a sink does with one request.

    status   what it answers; 0: nothing, it keeps the connection and stays silent
    headers  lines to add
    is_lost  break the connection off instead of answering, with ``status`` logged
    is_cut   break it off inside the body, after the status line went out
    """

    status: int = 204
    headers: str = ""
    is_lost: bool = False
    is_cut: bool = False


OK = Answer()
SILENT = Answer(status=0)
REFUSAL = Answer(status=422)
"""What a record gets that is never taken: a dead letter in the end."""

ONCE: Sequence[tuple[float, Answer]] = (
    (0.003, Answer(status=500)),
    (0.0002, Answer(status=503, headers="retry-after: 1\r\n")),
    (0.0002, Answer(status=429)),
    (0.0002, Answer(status=429, headers="retry-after: junk\r\n")),
    (0.0005, Answer(status=302, headers="location: http://169.254.169.254/\r\n")),
    (0.0005, Answer(status=400)),
    (0.0010, Answer(status=0, is_lost=True)),
    (0.0005, Answer(status=200, is_lost=True)),
    (0.0010, Answer(status=200, is_cut=True)),
    (0.0001, SILENT),
)
"""Share of first attempts that get each answer; a later attempt of the same record goes well."""
NEVER_TAKEN = 0.0003
"""Share of records that a subscription's endpoint refuses for ever."""


def drawn(seed: int, subscription: str, seq: int, turn: int) -> Answer:
    """Return what the ``turn``-th request of a record gets, from 0."""
    if _chance(seed, subscription, seq, "never") < NEVER_TAKEN:
        return REFUSAL
    if turn:
        return OK
    chance = _chance(seed, subscription, seq, "once")
    for share, answer in ONCE:
        if chance < share:
            return answer
        chance -= share
    return OK


def _chance(*of: object) -> float:
    digest = hashlib.blake2b(repr(of).encode(), digest_size=4).digest()
    return int.from_bytes(digest, "big") / UNIT
