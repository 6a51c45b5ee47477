"""Grants from a CSV file: what each line would change, every fault with its line, then all of it.

Nothing is changed while one line is wrong.
"""

import csv
import difflib
import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from django.db import transaction

from kafkahub import strictjson
from kafkahub.drf.fields import parse_moment
from kafkahub.errors import Invalid
from subscriptions import grant_rules, quotas, rows
from subscriptions.actions.topics import create_grant, update_grant
from subscriptions.audit import Actor
from subscriptions.grant_rows import projection_of
from subscriptions.models import Grant, Partner, Topic

MAX_BYTES = 2 * 1024 * 1024
MAX_LINES = 10_000
MAX_FAULTS = 200
REQUIRED = ("partner", "topic")
SETTINGS = ("valid_until", "quota", *grant_rules.MEMBERS, *grant_rules.WRITE_MEMBERS)
COLUMNS = (*REQUIRED, "action", *SETTINGS)
YES, NO = frozenset({"", "true", "yes", "1"}), frozenset({"false", "no", "0"})
CREATE, UPDATE, SAME = "create", "update", "unchanged"


class LineFault(NamedTuple):
    """What is wrong with a line; 1 is the line of names."""

    line: int
    column: str
    message: str


@dataclass(frozen=True, slots=True)
class Change:
    """What a line would do.

    grant   as it is now; unsaved where it would be made
    values  columns that would be written
    """

    line: int
    kind: str
    grant: Grant
    values: Mapping[str, object]


class Plan(NamedTuple):
    """What a file would change; with faults nothing of it is done."""

    changes: Sequence[Change]
    faults: Sequence[LineFault]


class Rows(Protocol):
    """What ``csv.reader`` returns."""

    @property
    def line_num(self) -> int: ...

    def __iter__(self) -> Iterator[list[str]]: ...


class BadCell(Exception):
    """A cell that does not hold what its column needs."""


def plan(text: str) -> Plan:
    """Return what a file would do. Reads tables and changes nothing."""
    lines = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        names = [name.strip() for name in next(lines, [])]
        if faults := _name_faults(names):
            return Plan((), faults)
        return _Reader(names).read(lines)
    except csv.Error as error:
        return Plan((), [LineFault(lines.line_num, "", f"This is not CSV: {error}.")])


def carry_out(actor: Actor, changes: Sequence[Change]) -> int:
    """Do what a plan says, all or nothing; return how many grants changed."""
    done = 0
    with transaction.atomic():
        for change in changes:
            done += change.kind != SAME
            if change.kind == CREATE:
                _create(actor, change)
            elif change.kind == UPDATE:
                update_grant(actor, change.grant, change.values)
    return done


def _create(actor: Actor, change: Change) -> None:
    values = dict(change.values)
    create_grant(
        actor,
        change.grant.partner,
        change.grant.topic,
        Grant.Action(change.grant.action),
        values.pop("valid_until", None),  # type: ignore[arg-type]  # read by _moment
        **values,
    )


def _name_faults(names: Sequence[str]) -> list[LineFault]:
    faults = [
        LineFault(1, name, f"There is no column {name}.{_hint(name)}")
        for name in names
        if name not in COLUMNS
    ]
    missing = [name for name in REQUIRED if name not in names]
    faults += [LineFault(1, name, "The column is missing.") for name in missing]
    if len(set(names)) < len(names):
        faults.append(LineFault(1, "", "A column is there twice."))
    return faults


def _hint(name: str) -> str:
    near = difflib.get_close_matches(name, COLUMNS, 1)
    return f" Is it {near[0]}?" if near else f" There are {', '.join(COLUMNS)}."


class _Reader:
    """Reads lines; partners, topics and grants are looked up once."""

    def __init__(self, names: Sequence[str]) -> None:
        self._names = names
        self._faults: list[LineFault] = []
        self._topics = Topic.objects.in_bulk()
        partners = list(Partner.objects.all())
        self._partners = {one.pk: one for one in partners}
        self._by_name = {one.name: one for one in partners}
        self._grants = {
            (one.partner_id, one.topic_id, str(one.action)): one for one in Grant.objects.all()
        }
        self._seen: dict[tuple[str, str, str], int] = {}

    def read(self, lines: "Rows") -> Plan:
        changes: list[Change] = []
        for cells in lines:
            line = lines.line_num
            if line > MAX_LINES:
                self._faults.append(LineFault(line, "", f"There are more than {MAX_LINES} lines."))
                break
            if any(cell.strip() for cell in cells):
                change = self._line(line, cells)
                changes += [] if change is None else [change]
        return Plan(() if self._faults else changes, self._faults[:MAX_FAULTS])

    def _line(self, line: int, cells: Sequence[str]) -> Change | None:
        if len(cells) != len(self._names):
            text = f"There are {len(cells)} cells for {len(self._names)} columns."
            self._faults.append(LineFault(line, "", text))
            return None
        given = {name: cell.strip() for name, cell in zip(self._names, cells, strict=True)}
        before = len(self._faults)
        read = {
            name: self._cell(line, name, read_cell, text)
            for name, text in given.items()
            for read_cell in [self._readers()[name]]
        }
        return self._change(line, read) if len(self._faults) == before else None

    def _cell(self, line: int, name: str, read: "Callable[[str], object]", text: str) -> object:
        try:
            return read(text)
        except BadCell as error:
            self._faults.append(LineFault(line, name, str(error)))
            return None

    def _readers(self) -> "Mapping[str, Callable[[str], object]]":
        return {**READERS, "partner": self._partner, "topic": self._topic}

    def _partner(self, text: str) -> Partner:
        found = self._partners.get(text) or self._by_name.get(text)
        if found is None:
            raise BadCell("There is no such partner; an id or a name is needed.")
        return found

    def _topic(self, text: str) -> Topic:
        if text not in self._topics:
            raise BadCell("There is no such topic.")
        return self._topics[text]

    def _change(self, line: int, read: Mapping[str, object]) -> Change | None:
        partner, topic = read["partner"], read["topic"]
        assert isinstance(partner, Partner)  # noqa: S101 - what the readers above return
        assert isinstance(topic, Topic)  # noqa: S101 - likewise
        key = (partner.pk, topic.pk, str(read.get("action", Grant.Action.READ)))
        if key in self._seen:
            text = f"Line {self._seen[key]} has the same partner, topic and action."
            self._faults.append(LineFault(line, "", text))
            return None
        self._seen[key] = line
        values = {name: value for name, value in read.items() if name not in {*REQUIRED, "action"}}
        old = self._grants.get(key)
        tried = Grant(partner=partner, topic=topic, action=key[2])
        for name in SETTINGS:
            setattr(tried, name, values.get(name, getattr(old or tried, name)))
        if self._has_faults(line, tried):
            return None
        if old is None:
            return Change(line, CREATE, tried, values)
        differing = {name: one for name, one in values.items() if getattr(old, name) != one}
        return Change(line, UPDATE if differing else SAME, old, differing)

    def _has_faults(self, line: int, tried: Grant) -> bool:
        try:
            quotas.read(tried.quota)
            if self._is_misplaced(line, tried):
                return True
            if tried.action == Grant.Action.WRITE:
                return False
            projection_of(tried, rows.live_topic(tried.topic))
        except Invalid as error:
            self._faults += [
                LineFault(line, fault.pointer.split("/")[1], fault.message)
                for fault in error.faults
            ]
            return True
        return False

    def _is_misplaced(self, line: int, tried: Grant) -> bool:
        """Note the members that the grant's action does not have; return whether there are any."""
        is_write = tried.action == Grant.Action.WRITE
        names: Sequence[str] = grant_rules.MEMBERS if is_write else grant_rules.WRITE_MEMBERS
        text = grant_rules.READ_ONLY if is_write else grant_rules.WRITE_ONLY
        plain = Grant()
        misplaced = [name for name in names if getattr(tried, name) != getattr(plain, name)]
        self._faults += [LineFault(line, name, text) for name in misplaced]
        return bool(misplaced)


def _action(text: str) -> str:
    if text and text not in Grant.Action.values:
        raise BadCell("It is read or write.")
    return text or str(Grant.Action.READ)


def _moment(text: str) -> object:
    try:
        return parse_moment(text) if text else None
    except ValueError as error:
        raise BadCell(str(error)) from None


def _json(empty: object) -> Callable[[str], object]:
    def read(text: str) -> object:
        try:
            return strictjson.loads(text.encode()) if text else empty
        except Invalid as error:
            raise BadCell(error.detail) from None

    return read


def _truth(text: str) -> bool:
    word = text.lower()
    if word not in YES and word not in NO:
        raise BadCell("It is true or false.")
    return word in YES


def _choice(text: str) -> bool:
    return bool(text) and _truth(text)


def _whole(text: str) -> int | None:
    if text and not (text.isascii() and text.isdecimal()):
        raise BadCell("A number is needed.")
    return int(text[:10]) if text else None


READERS: Mapping[str, Callable[[str], object]] = {
    "action": _action,
    "valid_until": _moment,
    "quota": _json(None),
    "key_rule": _json(None),
    "row_filter": _json({}),
    "fields": _json(None),
    "masks": _json({}),
    "headers": _json(None),
    "key_visible": _truth,
    "history_from": _moment,
    "max_bytes": _whole,
    "allow_unconfirmed": _choice,
    "hide_offsets": _choice,
}
