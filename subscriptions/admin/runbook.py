"""Pages of ``docs/runbook`` in the admin, read from the files that ship with the code."""

import re
from collections.abc import Sequence
from typing import NamedTuple

from django.conf import settings
from django.utils.html import escape
from django.utils.safestring import SafeString, mark_safe

from subscriptions.issues import Kind

_MARKS = re.compile(r"`([^`]+)`|\*([^*]+)\*")
"""All that our runbook has inside a line: code, and names of buttons."""


class Section(NamedTuple):
    """What stands below one heading: texts, then steps."""

    title: str
    texts: Sequence[SafeString]
    steps: Sequence[SafeString]


class Page(NamedTuple):
    """One page of the runbook."""

    title: str
    sections: Sequence[Section]


def page(kind: str) -> Page | None:
    """Return the page of a kind of issue; None for what is no kind of ours."""
    if kind not in set(Kind):
        return None
    path = settings.BASE_DIR / "docs" / "runbook" / f"{kind}.md"
    head, *parts = path.read_text(encoding="utf-8").split("\n## ")
    return Page(head.strip().removeprefix("# "), [_section(part) for part in parts])


def _section(part: str) -> Section:
    title, _, body = part.partition("\n")
    lines = [line.strip() for line in body.splitlines() if line.strip()]
    return Section(
        title,
        [_marked(line) for line in lines if not line.startswith("- ")],
        [_marked(line[2:]) for line in lines if line.startswith("- ")],
    )


def _marked(line: str) -> SafeString:
    # Escaped first, so that only the two elements put in here are markup.
    return mark_safe(_MARKS.sub(_element, escape(line)))  # noqa: S308


def _element(found: re.Match[str]) -> str:
    code, name = found.groups()
    return f"<code>{code}</code>" if code else f"<strong>{name}</strong>"
