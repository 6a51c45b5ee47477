"""A grant's rules made ready, and applied to one record (pure).

Made once for each version of a grant and of its topic. A record that the rules do not change is
the same object, and its value is decoded only where a rule looks into it.
"""

import msgspec

from kafkahub.kafka import envelope
from kafkahub.kafka.envelope import Undecodable
from kafkahub.kafka.record import Record
from subscriptions import masks
from subscriptions.filters.closures import Test, compile_filter
from subscriptions.filters.view import View
from subscriptions.grant_rules import JSON, Rules
from subscriptions.selection import Part, build, select

Headers = tuple[tuple[str, bytes | None], ...]


class TopicForm(msgspec.Struct, frozen=True):
    """What a projection depends on of its topic."""

    name: str
    format: str
    type_source: str
    type_value: str


class Projection:
    """What one partner sees of the records of one topic.

    source  the rules and the topic as text: equal ones are the same projection
    key     of the partner's hashes, see ``masks.key_of``
    """

    __slots__ = ("_key", "_names", "_part", "_rules", "_test", "_topic", "source")

    def __init__(self, rules: Rules, topic: TopicForm, key: bytes, source: str) -> None:
        self.source = source
        self._rules = rules
        self._topic = topic
        self._key = key
        self._test: Test | None = None
        if rules.row_filter is not None:
            self._test = compile_filter(rules.row_filter)
        self._part: Part | None = None
        if rules.is_masked:
            named = {pointer: masks.mask_of(name, key) for pointer, name in rules.masks.items()}
            self._part = build(rules.fields, named)
        names = () if rules.headers is None and rules.is_masked else rules.headers
        self._names = None if names is None else frozenset(names)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Projection) and other.source == self.source

    def __hash__(self) -> int:
        return hash(self.source)

    def __repr__(self) -> str:
        return f"Projection({self.source})"

    @property
    def is_filtered(self) -> bool:
        """Whether whole records are hidden."""
        return self._rules.is_filtered

    @property
    def is_masked(self) -> bool:
        """Whether values are shown in part only."""
        return self._rules.is_masked

    @property
    def history_from_ms(self) -> int | None:
        """Unix time in ms before which nothing is shown, or None."""
        return self._rules.history_from_ms

    def apply(self, record: Record, view: View | None) -> Record | None:
        """Return what the partner sees of a record, None for nothing.

        view  of the whole record where one is made already; it is decoded once for everybody

        Raises Undecodable where a rule looks into a value that cannot be decoded: then nothing of
        the record may be shown.
        """
        rules = self._rules
        if rules.history_from_ms is not None and (
            record.timestamp_ms is None or record.timestamp_ms < rules.history_from_ms
        ):
            return None
        if rules.key_rule is not None and not rules.key_rule.holds(record.key):
            return None
        if self._test is not None:
            seen_by_test = view if view is not None else self._view(record)
            if self._test.run(seen_by_test) is not True:
                return None
        seen = self._changed(record)
        return None if rules.max_bytes is not None and _size(seen) > rules.max_bytes else seen

    def value(self, decoded: object) -> object:
        """Return what is shown of a value that is decoded already."""
        if self._part is None:
            return decoded
        shown: object = msgspec.json.decode(select(msgspec.json.encode(decoded), self._part))
        return shown

    def _changed(self, record: Record) -> Record:
        rules, value, key, headers = self._rules, record.value, record.key, record.headers
        if self._part is not None and value is not None:
            if self._topic.format != JSON:
                raise Undecodable("only JSON has fields that could be shown or masked")
            value = select(value, self._part)
        if not rules.key_visible and key is not None:
            key = masks.hashed_key(self._key, key)
        if self._names is not None and headers:
            headers = self._shown(headers)
        if value is record.value and key is record.key and headers is record.headers:
            return record
        return Record(
            record.topic,
            record.partition,
            record.offset,
            record.timestamp_ms,
            key,
            value,
            headers,
        )

    def _shown(self, headers: Headers) -> Headers:
        names = self._names or frozenset()
        return tuple([header for header in headers if header[0] in names])

    def _view(self, record: Record) -> View:
        topic = self._topic
        kind = envelope.event_type(record, topic.type_source, topic.type_value, topic.name)
        return View(record, topic.format, kind)


def _size(record: Record) -> int:
    size = len(record.key or b"") + len(record.value or b"")
    return size + sum(len(name) + len(value or b"") for name, value in record.headers)
