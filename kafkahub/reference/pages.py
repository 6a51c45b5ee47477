"""The reference pages: every name the product promises, with a sentence.

Names come from the source. Sentences come from the source where it has them (settings, metrics,
errors, commands), else from ``docs/reference/sentences.toml``.
"""

import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from django.core.management import get_commands, load_command_class
from django.core.management.base import BaseCommand

from delivery import outcome
from kafkahub import problems
from kafkahub.errors import HubError, Invalid
from kafkahub.observability.metrics import PREFIX
from kafkahub.reference import settings_page, source
from kafkahub.reference.source import Module

SENTENCES = "docs/reference/sentences.toml"
NOTE = "This page is made from the source by `manage.py docs`; edit the source, not the page.\n"
STATUSES = {"http_4xx": 400, "http_5xx": 500, "rate_limited": 429, "gone": 410}
"""One status that has the outcome, where the outcome is a status."""

OWN_APPS = frozenset(source.PACKAGES)


@dataclass(frozen=True, slots=True)
class Facts:
    """What the pages are made of."""

    modules: list[Module]
    sentences: Mapping[str, Mapping[str, str]]

    def sentence(self, section: str, name: str) -> str:
        return self.sentences.get(section, {}).get(name, "")


def read(root: Path) -> Facts:
    """Return the facts of the project whose root folder this is."""
    sentences = tomllib.loads((root / SENTENCES).read_text(encoding="utf-8"))
    return Facts(source.modules(root), sentences)


def render(facts: Facts) -> dict[str, str]:
    """Return the text of every generated page by its path."""
    pages = {path: "\n".join(page(facts)) + "\n" for path, page in PAGES.items()}
    return {"docs/configuration.md": settings_page.render(), **pages}


def faults(facts: Facts) -> list[str]:
    """Return what is undocumented, and what is documented without being there."""
    found = []
    for section, names in _promised(facts).items():
        known = set(facts.sentences.get(section, {}))
        found += [f"{SENTENCES}: [{section}] lacks {name}" for name in sorted(names - known)]
        found += [
            f"{SENTENCES}: [{section}] {name} is nowhere in the source"
            for name in sorted(known - names)
        ]
    for section, entries in facts.sentences.items():
        found += [
            f"{SENTENCES}: [{section}] {name} is no sentence"
            for name, text in entries.items()
            if not text.endswith(".")
        ]
    return found


def errors() -> list[type[HubError]]:
    """Return every error a user may see, by status and code."""
    found: list[type[HubError]] = [HubError]
    for kind in found:
        found.extend(kind.__subclasses__())
    own = [kind for kind in found if kind.__module__ == HubError.__module__]
    promised = {kind.code: kind for kind in reversed(own)}
    return sorted(promised.values(), key=lambda kind: (kind.status, kind.code))


def commands() -> dict[str, BaseCommand]:
    """Return our own management commands by name."""
    return {
        name: load_command_class(app, name)
        for name, app in sorted(get_commands().items())
        if isinstance(app, str) and app in OWN_APPS
    }


def _promised(facts: Facts) -> dict[str, set[str]]:
    written = source.texts(facts.modules)
    plain = {name for name in facts.sentences.get("outcomes", {}) if name in written}
    return {
        "log_events": set(source.log_events(facts.modules)),
        "faults": source.fault_codes(facts.modules) | set(problems.TITLES),
        "outcomes": source.outcomes(facts.modules) | plain,
    }


def _errors_page(facts: Facts) -> Iterator[str]:
    yield "# Errors\n"
    yield NOTE
    yield "Every error is an RFC 9457 document. `code` and `status` are promised, texts are not."
    yield "\n| Status | Code | Title | When |\n|---|---|---|---|"
    for kind in errors():
        sentence = _first_sentence(kind.__doc__)
        yield f"| {kind.status} | `{kind.code}` | {kind.title} | {sentence} |"
    for code, title in sorted(problems.TITLES.items()):
        yield f"| {Invalid.status} | `{code}` | {title} | {facts.sentence('faults', code)} |"
    yield "\n## Codes of single faults\n"
    yield "`errors` of a 400 has one entry a fault: `pointer`, `code`, `message`.\n"
    yield from _table("Code", "What is wrong", source.fault_codes(facts.modules), facts, "faults")


def _metrics_page(facts: Facts) -> Iterator[str]:
    yield "# Metrics\n"
    yield NOTE
    yield "Served at `/metrics` in Prometheus' text form; a worker serves the sum of its children."
    yield "\n| Series | Kind | Labels | What it tells |\n|---|---|---|---|"
    for metric in source.metrics(facts.modules, PREFIX):
        labels = ", ".join(f"`{label}`" for label in metric.labels) or "none"
        yield f"| `{metric.name}` | {metric.kind} | {labels} | {metric.sentence} |"


def _log_events_page(facts: Facts) -> Iterator[str]:
    yield "# Log events\n"
    yield NOTE
    yield "One JSON object a line on standard output; `event` is one of these.\n"
    yield "| Event | What happened | Logged by |\n|---|---|---|"
    for event, places in source.log_events(facts.modules).items():
        where = ", ".join(f"`{place}`" for place in places)
        yield f"| `{event}` | {facts.sentence('log_events', event)} | {where} |"


def _outcomes_page(facts: Facts) -> Iterator[str]:
    yield "# Outcomes\n"
    yield NOTE
    yield "What came of an attempt. The class decides what follows; `state_machine.md` tells how."
    yield "\n| Outcome | Class | When |\n|---|---|---|"
    for name, sentence in sorted(facts.sentences.get("outcomes", {}).items()):
        kind = outcome.classify(name, STATUSES.get(name), asked_to_wait=False)
        yield f"| `{name}` | `{kind}` | {sentence} |"


def _commands_page(_: Facts) -> Iterator[str]:
    yield "# Commands\n"
    yield NOTE
    yield "Each is `python manage.py <command>`; `--help` prints the same.\n"
    common = _options(BaseCommand())
    for name, command in commands().items():
        yield f"## {name}\n\n{command.help}\n"
        for flags, text in _options(command).items():
            if flags not in common:
                yield f"- `{flags}`: {text}"
        yield ""


def _options(command: BaseCommand) -> dict[str, str]:
    parser = command.create_parser("manage.py", "command")
    return {
        ", ".join(action.option_strings) or action.dest.upper(): action.help or ""
        for action in parser._actions  # noqa: SLF001 - argparse lists its arguments nowhere else
    }


def _table(head: str, tail: str, names: set[str], facts: Facts, section: str) -> Iterator[str]:
    yield f"| {head} | {tail} |\n|---|---|"
    for name in sorted(names):
        yield f"| `{name}` | {facts.sentence(section, name)} |"


def _first_sentence(text: str | None) -> str:
    return " ".join((text or "").split("\n\n")[0].split()).replace("``", "`")


PAGES: Mapping[str, Callable[[Facts], Iterator[str]]] = {
    "docs/reference/commands.md": _commands_page,
    "docs/reference/errors.md": _errors_page,
    "docs/reference/log_events.md": _log_events_page,
    "docs/reference/metrics.md": _metrics_page,
    "docs/reference/outcomes.md": _outcomes_page,
}
