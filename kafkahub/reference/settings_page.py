"""``docs/configuration.md``, made from the settings class."""

import types
import typing
from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from typing import Literal

import annotated_types
from pydantic import SecretStr
from pydantic.fields import FieldInfo

from kafkahub import config
from kafkahub.config import Config

HEAD = """\
# Configuration

A setting is an environment variable, or the content of the file that `<NAME>_FILE` names; secrets
belong into files. All settings are read once, at the start, and every fault is told at once,
without a value: an unknown variable that starts with `KAFKAHUB_` is a fault too, so a typing error
never passes for a default. `manage.py doctor` looks at what the settings lead to.

Lists are written by comma, networks as CIDRs, switches as `true` or `false`.
"""

WORDS = {bool: "switch", int: "whole number", SecretStr: "secret", Path: "file"}


def render() -> str:
    """Return the page."""
    return "\n".join([HEAD, *_required(), *_optional()]) + "\n"


def variables() -> list[str]:
    """Return the variable of every setting, in the order of the class."""
    return [_variable(name) for name in Config.model_fields]


def _required() -> Iterator[str]:
    yield "## Needed\n\nWithout these no process starts.\n"
    yield "| Variable | Form | What it is |\n|---|---|---|"
    for name, field in Config.model_fields.items():
        if field.is_required():
            yield f"| `{_variable(name)}` | {_form(field)} | {field.description} |"


def _optional() -> Iterator[str]:
    yield "\n## With a default\n"
    yield "| Variable | Form | Default | What it is |\n|---|---|---|---|"
    for name, field in Config.model_fields.items():
        if not field.is_required():
            cells = [f"`{_variable(name)}`", _form(field), _default(field), field.description or ""]
            yield f"| {' | '.join(cells)} |"


def _variable(name: str) -> str:
    return f"{config.PREFIX}{name.upper()}"


def _form(field: FieldInfo) -> str:
    kind = _kind(field.annotation)
    bounds = [_bound(rule) for rule in field.metadata]
    return " ".join([kind, *filter(None, bounds)])


def _kind(annotation: object) -> str:
    choices = [part for part in typing.get_args(annotation) if part is not types.NoneType]
    if typing.get_origin(annotation) is Literal:
        return " or ".join(f"`{choice}`" for choice in choices)
    if typing.get_origin(annotation) is tuple:
        return "networks" if annotation == config.Networks else "list"
    if isinstance(annotation, types.UnionType):
        return _kind(choices[0])
    for known, word in WORDS.items():
        if annotation is known:
            return word
    return "text"


def _bound(rule: object) -> str:
    match rule:
        case annotated_types.Ge(ge=low):
            return f"≥ {low}"
        case annotated_types.Le(le=high):
            return f"≤ {high}"
    return ""


def _default(field: FieldInfo) -> str:
    value = field.default
    if isinstance(value, SecretStr):
        value = value.get_secret_value()
    if value is None or value == ():
        return "none"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    return f"`{value.value if isinstance(value, Enum) else value}`"
