"""How the beginning of a stream is written, the same in URLs and in messages."""

import re
from datetime import UTC, datetime, timedelta

import msgspec

from gateway.starts import Earliest, Last, Latest, Since, Start
from kafkahub.errors import Fault, Invalid

MAX_LAST = 1_000
MAX_MS = 253_402_300_799_999
"""The end of the year 9999."""
UNITS_MS = {"s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LAST = re.compile(r"-([1-9][0-9]{0,3})", re.ASCII)
_MS = re.compile(r"[0-9]{1,15}", re.ASCII)
_AGE = re.compile(r"([0-9]{1,9})([smhd])", re.ASCII)


def read_start(start: str | None, since: str | int | None, now_ms: int) -> Start:
    """Return where a stream begins without a cursor; ``since`` decides before ``start``.

    start   ``latest``, ``earliest`` or ``-N``; None is latest
    since   RFC 3339 with a zone, Unix ms, or an age such as ``15m``
    now_ms  Unix ms

    Raises Invalid ``invalid_parameter``; both are looked at.
    """
    begin = _start(start or "latest")
    return begin if since is None else Since(_since_ms(str(since), now_ms))


def _start(text: str) -> Start:
    if text in {"latest", "earliest"}:
        return Latest() if text == "latest" else Earliest()
    found = _LAST.fullmatch(text)
    if found is None or int(found[1]) > MAX_LAST:
        raise _wrong("from", f"It is latest, earliest, or -1 to -{MAX_LAST}.")
    return Last(int(found[1]))


def _since_ms(text: str, now_ms: int) -> int:
    unix_ms = _unix_ms(text, now_ms)
    if unix_ms is None or not 0 <= unix_ms <= MAX_MS:
        raise _wrong("since", "It is RFC 3339 with its zone, Unix ms, or an age such as 15m.")
    if unix_ms > now_ms:
        raise _wrong("since", "It is in the future.")
    return unix_ms


def _unix_ms(text: str, now_ms: int) -> int | None:
    if _MS.fullmatch(text):
        return int(text)
    if age := _AGE.fullmatch(text):
        return max(0, now_ms - int(age[1]) * UNITS_MS[age[2]])
    try:
        moment = msgspec.convert(text, datetime)
    except msgspec.ValidationError:
        return None
    return None if moment.tzinfo is None else (moment - _EPOCH) // timedelta(milliseconds=1)


def _wrong(name: str, text: str) -> Invalid:
    return Invalid([Fault("", "invalid_parameter", f"{name}: {text}", {"parameter": name})])
