"""What a look of the doctor finds."""

from collections.abc import Callable, Iterator
from typing import Literal, NamedTuple
from urllib.parse import urlsplit

from kafkahub.config import Config

DEADLINE_S = 5
"""Longest wait for one neighbour, in whole seconds, as libpq counts them."""

Level = Literal["ok", "warn", "fail"]


class Finding(NamedTuple):
    """One thing that was looked at; ``cure`` says what to do unless it is ``ok``."""

    level: Level
    part: str
    text: str
    cure: str = ""


Check = Callable[[Config], Iterator[Finding]]
"""Yields findings and never raises for what it looks at, so that one fault hides no other."""


def place(url: str) -> str:
    """Return host, port and path of a URL, which are all of it that may be shown."""
    parts = urlsplit(url)
    host = parts.hostname or "a local socket"
    return f"{host}{f':{parts.port}' if parts.port else ''}{parts.path}"


def reason(error: BaseException) -> str:
    """Return the first line of an error; drivers add hints and repeat addresses below it."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]
