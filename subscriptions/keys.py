"""The written form of an API key, and its check sum (pure).

``khk_live_`` or ``khk_test_`` + 12 characters (public id) + ``_`` + 40 (secret) + ``_`` + 6 (check
sum) = 69 characters. The form is told apart by any scanner, and a typing error or a guess is
refused without a look-up.
"""

import re
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NewType

Mode = Literal["live", "test"]
WholeKey = NewType("WholeKey", str)
"""A key whose form and check sum are right; whether it exists is another question."""

PREFIX = "khk_"
ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
PUBLIC_LENGTH = 12
SECRET_LENGTH = 40
"""40 characters of 62 are 238 random bits."""
SUM_LENGTH = 6
LENGTH = 69
SHOWN = len("khk_live_") + 4
"""Characters of a key that logs and screens may show."""

_FORM = re.compile(r"khk_(live|test)_([0-9A-Za-z]{12})_[0-9A-Za-z]{40}_[0-9A-Za-z]{6}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Parsed:
    """A key taken apart; ``public_id`` finds its row, the whole of it is what is hashed."""

    mode: Mode
    public_id: str
    whole: WholeKey


def parse(text: str) -> Parsed | None:
    """Return the key, or None when form, length or check sum is wrong."""
    if len(text) != LENGTH:
        return None
    form = _FORM.fullmatch(text)
    if form is None or check_sum(text[:-SUM_LENGTH]) != text[-SUM_LENGTH:]:
        return None
    return Parsed("test" if form[1] == "test" else "live", form[2], WholeKey(text))


def make(mode: Mode, below: Callable[[int], int]) -> Parsed:
    """Return a fresh key.

    below  returns a random number from 0 to its argument, exclusive: ``secrets.randbelow``
    """
    public_id = _random_text(PUBLIC_LENGTH, below)
    front = f"{PREFIX}{mode}_{public_id}_{_random_text(SECRET_LENGTH, below)}_"
    return Parsed(mode, public_id, WholeKey(front + check_sum(front)))


def join(user: str, password: str) -> str:
    """Return the key that came by Basic: all of it as user, or as password, or in two parts.

    The two parts are ``khk_live_<id>`` and ``<secret>_<sum>``.
    """
    if not password:
        return user
    return password if password.startswith(PREFIX) else f"{user}_{password}"


def check_sum(text: str) -> str:
    """Return CRC-32 of ``text`` as six base62 characters, zero-padded."""
    number = zlib.crc32(text.encode("ascii", "replace"))
    characters = []
    for _ in range(SUM_LENGTH):
        number, digit = divmod(number, len(ALPHABET))
        characters.append(ALPHABET[digit])
    return "".join(reversed(characters))


def _random_text(length: int, below: Callable[[int], int]) -> str:
    return "".join(ALPHABET[below(len(ALPHABET))] for _ in range(length))
