"""The form of a credential decides who verifies it; there is no trying of the next."""

import functools
from collections.abc import Callable
from dataclasses import dataclass

from subscriptions import keys
from subscriptions.authentication import api_key, jwt, oauth
from subscriptions.authentication.known import Known

FRONTS = (keys.PREFIX, oauth.PREFIX)
"""What secrets of ours begin with, to tell one that stands where none may."""


@dataclass(frozen=True, slots=True)
class Presented:
    """A credential of a known form.

    text       all of it
    public_id  what failures are counted under beside the address; "" where it names nobody
    verify     returns it as a value, or None where it is unknown or its secret is wrong; raises
               InvalidToken where a check may be named
    """

    text: str
    public_id: str
    verify: Callable[[], Known | None]


def read(text: str) -> Presented | None:
    """Return what a text is by its form, or None for what has none; nothing is looked up."""
    if text.startswith(keys.PREFIX):
        parsed = keys.parse(text)
        if parsed is None:
            return None
        return Presented(text, parsed.public_id, functools.partial(api_key.look_up, parsed))
    if oauth.is_form(text):
        return Presented(text, "", functools.partial(oauth.look_up, text))
    if jwt.is_form(text):
        return Presented(text, "", functools.partial(jwt.verify, text))
    return None
