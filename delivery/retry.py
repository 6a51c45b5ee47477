"""When the next attempt is due (pure)."""

from collections.abc import Sequence
from datetime import datetime
from email.utils import parsedate_to_datetime

OVERLOAD_FLOOR_S = 60.0
"""A record that met an overloaded endpoint waits at least this long."""
LATE_SHARE = 0.1
"""A ``Retry-After`` is kept to, and up to this share later, so that waiters do not come at once."""
LATE_MAX_S = 60.0
THROTTLE_FIRST_S = 1.0
THROTTLE_MAX_S = 60.0
"""Bounds of the wait after a 429 that does not say how long, doubling from one to the other."""


def next_delay_s(
    schedule_s: Sequence[int],
    attempts: int,
    *,
    jitter: float,
    chance: float,
    retry_after_s: float | None,
    is_overloaded: bool,
) -> float | None:
    """Return the seconds until the next attempt, or None when the schedule is used up.

    schedule_s     delays after the first, second … attempt
    attempts       attempts made so far that count, from 1
    jitter         share by which a delay may be shorter or longer, 0 to 0.5
    chance         uniform in [0, 1)
    retry_after_s  what the endpoint asked for, None if it did not
    """
    if attempts > len(schedule_s):
        return None
    delay = schedule_s[attempts - 1] * (1 + jitter * (2 * chance - 1))
    if is_overloaded:
        delay = max(delay, OVERLOAD_FLOOR_S)
    if retry_after_s is not None:
        delay = max(delay, kept(retry_after_s, chance))
    return delay


def kept(retry_after_s: float, chance: float) -> float:
    """Return how long to wait when asked for ``retry_after_s``: never shorter, a little longer."""
    return retry_after_s + min(retry_after_s * LATE_SHARE, LATE_MAX_S) * chance


def throttle_s(times: int) -> float:
    """Return the wait in seconds after the ``times``-th 429 in a row without ``Retry-After``."""
    return float(min(THROTTLE_FIRST_S * 2 ** min(times - 1, 10), THROTTLE_MAX_S))


def retry_after(values: Sequence[str], now: datetime, max_s: int) -> int | None:
    """Return the seconds that ``Retry-After`` headers ask for, 1 to ``max_s``, or None.

    values  every ``Retry-After`` header of the answer
    now     wall clock, for the HTTP-date form

    Junk, negative and past values and two different ones are None: a hostile endpoint must not
    park a delivery for ever. Source: RFC 9110 section 10.2.3; decimals are rounded up.
    """
    if len({value.strip() for value in values}) != 1:
        return None
    text = values[0].strip()
    seconds = _decimal(text)
    if seconds is None:
        seconds = _until(text, now)
    if seconds is None or seconds <= 0:
        return None
    whole = int(seconds) + (seconds > int(seconds))
    return max(1, min(whole, max_s))


def _decimal(text: str) -> float | None:
    digits = text.replace(".", "", 1)
    if not (digits.isascii() and digits.isdigit()):
        return None
    return float(text)


def _until(text: str, now: datetime) -> float | None:
    try:
        moment = parsedate_to_datetime(text)
    except ValueError:
        return None
    if moment.tzinfo is None:
        return None
    return (moment - now).total_seconds()
