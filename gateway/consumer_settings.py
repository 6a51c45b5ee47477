"""The settings of a v2 consumer instance, as its client sends them (pure)."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, Literal

from gateway import confluent
from gateway.confluent import Embedded, Refusal

NAME: Final = re.compile(r"[A-Za-z0-9._-]{1,200}", re.ASCII)
COMMITTED: Final = "read_committed"
MAX_WAIT_MS: Final = 30_000
MAX_BYTES: Final = 16 * 1024 * 1024
_INTEGER = re.compile(r"-?[0-9]{1,10}", re.ASCII)
Reset = Literal["latest", "earliest", "none"]
_RESETS: Mapping[str, Reset] = {"latest": "latest", "earliest": "earliest", "none": "none"}
_FORMATS: Mapping[str, Embedded] = {"binary": "binary", "json": "json"}


@dataclass(frozen=True, slots=True)
class Settings:
    """How one instance reads.

    name        ``""`` where the client leaves it to us
    reset       where a partition begins that has no position
    min_bytes   of keys and values that a read waits for
    wait_ms     longest wait of a read that names none itself
    timeout_ms  without a call for so long the instance ends
    ignored     settings that have no effect here
    """

    name: str = ""
    format: Embedded = "binary"
    reset: Reset = "latest"
    auto_commit: bool = True
    min_bytes: int = 1
    max_records: int = 500
    wait_ms: int = 1_000
    timeout_ms: int = 300_000
    ignored: tuple[str, ...] = ()

    def stored(self) -> dict[str, object]:
        """Return what the instance's row keeps."""
        return {
            "format": self.format,
            "reset": self.reset,
            "auto_commit": self.auto_commit,
            "min_bytes": self.min_bytes,
            "max_records": self.max_records,
            "wait_ms": self.wait_ms,
        }


def read_settings(body: object) -> Settings:
    """Return the settings in a decoded body.

    Raises Refusal 40001 for what is out of bounds, 42204 for a bad format, name or word.
    """
    if not isinstance(body, dict):
        raise confluent.malformed("settings are a JSON object")
    found: dict[str, object] = {}
    ignored = []
    if body.get("isolation.level", COMMITTED) != COMMITTED:
        raise invalid(f"isolation.level is {COMMITTED}")
    for name, value in body.items():
        reader = _READERS.get(name)
        if reader is None:
            if name not in _UNUSED:
                ignored.append(name)
            continue
        field, read = reader
        if value is not None:
            found[field] = read(name, value)
    return Settings(**found, ignored=tuple(ignored))  # type: ignore[arg-type]  # each by its reader


def check_name(name: str, what: str) -> str:
    """Return the name of a group or an instance. Raises Refusal 42204."""
    if NAME.fullmatch(name) is None:
        raise invalid(f"{what}: 1 to 200 of letters, digits, '.', '_' and '-'")
    return name


def invalid(text: str) -> Refusal:
    """Return the refusal of a format, name or pattern."""
    return Refusal(422, confluent.INVALID_CONFIGURATION, f"Invalid consumer configuration: {text}")


def _out_of_bounds(text: str) -> Refusal:
    said = "Invalid consumer configuration. It does not abide by the constraints: "
    return Refusal(422, confluent.OUT_OF_BOUNDS, said + text)


def _name(setting: str, value: object) -> str:
    if not isinstance(value, str):
        raise confluent.malformed(f"{setting} is a string")
    return check_name(value, setting)


def _format(setting: str, value: object) -> Embedded:
    found = _FORMATS.get(value.lower()) if isinstance(value, str) else None
    if found is None:
        raise invalid(f"{setting} is binary or json")
    return found


def _reset(setting: str, value: object) -> Reset:
    found = _RESETS.get(value) if isinstance(value, str) else None
    if found is None:
        raise invalid(f"{setting} is latest, earliest or none")
    return found


def _truth(setting: str, value: object) -> bool:
    truth = {True: True, False: False, "true": True, "false": False}
    lowered = value.lower() if isinstance(value, str) else value
    if isinstance(lowered, bool | str) and lowered in truth:
        return truth[lowered]
    raise invalid(f"{setting} is true or false")


def _within(least: int, most: int, *, cut: bool = False) -> Callable[[str, object], int]:
    def read(setting: str, value: object) -> int:
        number = _integer(setting, value)
        if cut:
            number = min(number, most)
        if not least <= number <= most:
            raise _out_of_bounds(f"{setting} is {least} to {most}")
        return number

    return read


def _integer(setting: str, value: object) -> int:
    if isinstance(value, str) and _INTEGER.fullmatch(value):
        return int(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    raise invalid(f"{setting} is an integer")


def _min_bytes(setting: str, value: object) -> int:
    return max(1, _within(-1, 10_000_000)(setting, value))


_READERS: Mapping[str, tuple[str, Callable[[str, object], object]]] = {
    "name": ("name", _name),
    "format": ("format", _format),
    "auto.offset.reset": ("reset", _reset),
    "auto.commit.enable": ("auto_commit", _truth),
    "enable.auto.commit": ("auto_commit", _truth),
    "fetch.min.bytes": ("min_bytes", _min_bytes),
    "max.poll.records": ("max_records", _within(1, 1_000)),
    "consumer.request.timeout.ms": ("wait_ms", _within(1, MAX_WAIT_MS, cut=True)),
    "consumer.instance.timeout.ms": ("timeout_ms", _within(30_000, 3_600_000)),
}
_UNUSED: Final = frozenset({"id", "isolation.level"})
"""Accepted in silence; the second has one value."""
