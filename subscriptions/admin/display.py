"""How values look in lists: badges, payloads as text, links between objects."""

import json
from collections.abc import Iterable
from typing import NamedTuple

from django.db.models import Model
from django.urls import reverse
from django.utils.html import format_html, format_html_join
from django.utils.http import urlencode
from django.utils.safestring import SafeString

MAX_SHOWN = 8_192
"""Bytes or characters of one payload on a page."""


class Look(NamedTuple):
    """Shape and colour of a badge; the word always stands beside them."""

    mark: str
    tone: str


WELL = Look("●", "ok")
WAITING = Look("◷", "info")
RETRYING = Look("↻", "warn")
STOPPED = Look("✕", "bad")
PAUSED = Look("‖", "muted")

LOOKS = {
    "open": STOPPED,
    "regressed": STOPPED,
    "acknowledged": WAITING,
    "resolved": WELL,
    "critical": STOPPED,
    "warning": RETRYING,
    "active": WELL,
    "enabled": WELL,
    "live": WELL,
    "delivered": WELL,
    "paused": PAUSED,
    "disabled": PAUSED,
    "suspended": STOPPED,
    "revoked": STOPPED,
    "expired": STOPPED,
    "retired": PAUSED,
    "retiring": WAITING,
    "behind": RETRYING,
    "scheduled": RETRYING,
    "sending": WAITING,
    "held": PAUSED,
    "dead": STOPPED,
    "throttled": WAITING,
    "overloaded": RETRYING,
    "ours": RETRYING,
    "failed": STOPPED,
    "rejected": STOPPED,
    "blocked": STOPPED,
    "gone": STOPPED,
    "whole": WELL,
    "part": RETRYING,
    "hidden": PAUSED,
    "undecodable": STOPPED,
}
"""Looks by word; a word without one is shown as waiting."""


def badge(word: str, text: str = "") -> SafeString:
    """Return shape, word and colour of a state; ``text`` is shown instead of the word."""
    look = LOOKS.get(word, WAITING)
    return format_html(
        '<span class="badge badge-{}"><span aria-hidden="true">{}</span> {}</span>',
        look.tone,
        look.mark,
        text or word.replace("_", " "),
    )


def code(text: str) -> SafeString:
    """Return an id or key in mono."""
    return format_html("<code>{}</code>", text)


def payload(value: bytes | memoryview | str | None) -> SafeString | str:
    """Return a payload as text: escaped, cut at ``MAX_SHOWN``, bad bytes written out."""
    if value is None:
        return "none"
    raw = value.encode() if isinstance(value, str) else bytes(value)
    text = raw[:MAX_SHOWN].decode("utf-8", "backslashreplace")
    rest = len(raw) - MAX_SHOWN
    note = f"\n… {rest} bytes more" if rest > 0 else ""
    return format_html('<pre class="payload" tabindex="0">{}{}</pre>', visible(text), note)


def visible(text: str) -> str:
    """Return the text with control and direction characters written out, so that none acts."""
    return "".join(
        char if char.isprintable() or char in "\n\t" else f"\\u{ord(char):04x}" for char in text
    )


def as_json(value: object) -> SafeString | str:
    """Return a value as indented JSON text."""
    return payload(json.dumps(value, indent=2, ensure_ascii=False, sort_keys=True))


def listed(values: Iterable[str] | None) -> str:
    """Return names by comma, or a dash."""
    return ", ".join(values or ()) or "-"


def links(pairs: Iterable[tuple[str, type[Model], dict[str, str]]]) -> SafeString:
    """Return links to filtered lists: label, model, look-ups."""
    return format_html_join(
        " · ",
        '<a href="{}">{}</a>',
        ((list_url(model, lookups), label) for label, model, lookups in pairs),
    )


def list_url(model: type[Model], lookups: dict[str, str]) -> str:
    """Return the address of a model's list under these look-ups."""
    name = f"admin:{model._meta.app_label}_{model._meta.model_name}_changelist"
    return f"{reverse(name)}?{urlencode(lookups)}"


def object_url(obj_class: type[Model], pk: object) -> str:
    """Return the address of one object's page."""
    name = f"admin:{obj_class._meta.app_label}_{obj_class._meta.model_name}_change"
    return reverse(name, args=[pk])
