"""What the portal's templates need: fields with their faults, states, times, sizes."""

import json
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from django import template
from django.utils.html import format_html
from django.utils.safestring import SafeString

register = template.Library()

STATES: Mapping[str, tuple[str, str]] = {
    "active": ("ok", "●"),
    "delivered": ("ok", "●"),
    "live": ("ok", "●"),
    "verified": ("ok", "●"),
    "running": ("info", "↻"),
    "done": ("ok", "●"),
    "cancelled": ("muted", "✕"),
    "counting": ("info", "↻"),
    "ready": ("info", "◷"),
    "retrying": ("warn", "↻"),
    "behind": ("warn", "↻"),
    "waiting": ("info", "◷"),
    "scheduled": ("info", "◷"),
    "paused": ("muted", "‖"),
    "idle": ("muted", "‖"),
    "dead_letter": ("bad", "✕"),
    "failed": ("bad", "✕"),
    "rejected": ("bad", "✕"),
    "disabled": ("bad", "✕"),
    "suspended": ("bad", "✕"),
    "revoked": ("muted", "✕"),
    "expired": ("muted", "∅"),
    "gap": ("bad", "∅"),
    "critical": ("bad", "✕"),
    "warning": ("warn", "↻"),
    "regressed": ("bad", "✕"),
    "acknowledged": ("info", "◷"),
}
"""Tone and shape of each state; a state is never told by its colour alone."""
FAR = 45


@register.filter
def state(word: str) -> SafeString:
    """Return a badge: shape, word, colour."""
    tone, mark = STATES.get(word, ("info", "◷"))
    html = '<span class="badge badge-{}"><span aria-hidden="true">{}</span>{}</span>'
    return format_html(html, tone, mark, str(word).replace("_", " "))


@register.filter
def words(name: object) -> str:
    """Return a name of ours as words."""
    return str(name or "").replace("_", " ")


@register.filter
def when(text: str | None) -> SafeString | str:
    """Return an API's time as how long ago, exact on hover and to assistive technology."""
    if not text:
        return "never"
    moment = datetime.fromisoformat(text)
    exact = moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S.%f")[:-3] + " UTC"
    html = '<time datetime="{}" title="{}">{}</time>'
    return format_html(html, text, exact, _relative(moment, datetime.now(UTC)))


@register.filter
def moment(at: datetime) -> SafeString | str:
    """Return a time as ``when`` returns that of an API's text."""
    return when(at.isoformat())


@register.filter
def clocked(text: str | None) -> SafeString | str:
    """Return an API's time of day, with the date on hover."""
    if not text:
        return ""
    moment = datetime.fromisoformat(text).astimezone(UTC)
    shown = moment.strftime("%H:%M:%S.%f")[:-3]
    exact = moment.strftime("%Y-%m-%d %H:%M:%S") + " UTC"
    return format_html('<time datetime="{}" title="{}">{}</time>', text, exact, shown)


@register.filter
def period(text: str, per: str) -> str:
    """Return the day in UTC of an API's period, with its time where ``per`` is ``hour``."""
    moment = datetime.fromisoformat(text).astimezone(UTC)
    day = f"{moment.day} {moment:%b %Y}"
    return f"{day} {moment:%H:%M}" if per == "hour" else day


def _relative(moment: datetime, now: datetime) -> str:
    seconds = int((now - moment).total_seconds())
    amount, unit = _amount(abs(seconds))
    if amount == 0:
        return "just now"
    counted = f"{amount} {unit}{'' if amount == 1 else 's'}"
    return f"{counted} ago" if seconds > 0 else f"in {counted}"


def _amount(seconds: int) -> tuple[int, str]:
    for size, unit in ((86_400, "day"), (3_600, "hour"), (60, "minute")):
        if seconds >= size:
            return seconds // size, unit
    return seconds, "second"


@register.filter
def size(count: int | None) -> str:
    """Return a number of bytes as a person reads it."""
    if count is None:
        return ""
    amount = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if amount < 1_000 or unit == "GB":  # noqa: PLR2004 - units are powers of it
            return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1_000
    return ""


@register.filter
def count(number: int | None) -> str:
    """Return a number with its thousands apart; "" for None."""
    return "" if number is None else f"{number:,}"


@register.filter
def percent(share: float | None) -> str:
    """Return a share of one as per cent; "none" where there was nothing to count."""
    return "none" if share is None else f"{share * 100:.1f} %"


@register.filter
def pretty(value: object) -> str:
    """Return JSON for reading."""
    return json.dumps(value, ensure_ascii=False, indent=2, default=str)


@register.filter
def text_key(key: object) -> str:
    """Return a record's key as text; one that is no text as its base64."""
    if isinstance(key, dict):
        return str(key.get("base64", ""))
    return "" if key is None else str(key)


@register.filter
def short(text: object) -> str:
    """Return a long text cut in the middle, so that both ends can be told."""
    whole = str(text or "")
    return whole if len(whole) <= FAR else f"{whole[:22]}…{whole[-18:]}"


@register.filter
def member_of(value: Mapping[str, Any] | None, name: str) -> Any:
    """Return one member of an object, or None."""
    return (value or {}).get(name)


@register.inclusion_tag("portal/parts/field.html")
def field(form: Any, name: str, label: str, **options: Any) -> dict[str, Any]:
    """Show a field with its label, help and fault.

    kind     ``text`` (default), ``area``, ``select``, or a type of HTML's input
    choices  of a select: pairs of value and text
    """
    return {
        "name": name,
        "label": label,
        "value": form.values.get(name, options.pop("initial", "")),
        "error": form.error(name),
        "kind": options.pop("kind", "text"),
        "choices": _pairs(options.pop("choices", ())),
        **options,
    }


def _pairs(choices: Iterable[Any]) -> list[tuple[str, str]]:
    return [(each, each) if isinstance(each, str) else (each[0], each[1]) for each in choices]
