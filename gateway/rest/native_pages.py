"""What was read in our own form, as JSON, lines or CloudEvents, with cursors."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import msgspec

from gateway import objects
from gateway.frames import Gap, gap_members
from gateway.hub.log import Part
from gateway.hub.place import Place, Tokens
from gateway.rest.call import Call
from gateway.rest.native_asked import EVENTS_TYPE, JSON_TYPE, NDJSON_TYPE, Asked
from gateway.rest.parts import Parts
from gateway.starts import Found
from kafkahub import clock
from kafkahub.kafka.record import Record
from subscriptions import sealing
from subscriptions.grants import Grant
from subscriptions.live import LiveTopic

_encode = msgspec.json.encode


@dataclass(slots=True)
class Page:
    """What a read found: places before each record, gaps, and whether there is more."""

    records: list[Record]
    after: dict[Part, int]
    gaps: list[Gap]
    more: bool


class Pages:
    """Writes what was read, with cursors that the grant allows."""

    def __init__(
        self, parts: Parts, call: Call, live: LiveTopic, grant: Grant, found: Found
    ) -> None:
        self._parts = parts
        self._call = call
        self._live = live
        self.topic = live.name
        self.hides = grant.is_filtered
        self._found = found
        partner = call.who.partner
        sealer = sealing.sealer(parts.ring, partner, clock.now())
        seal = sealer.seal if grant.seals else None
        self._tokens = Tokens(found.cluster, found.tags, seal, "")

    def token(self, after: Mapping[Part, int], records: Sequence[Record]) -> str:
        """Return the cursor behind what was read."""
        times = [one.timestamp_ms or 0 for one in records]
        return self._tokens.write(Place(after, max([self._found.time_ms, *times])))

    def objects(self, page: Page) -> list[bytes]:
        """Return the records, each with the cursor behind it."""
        offsets = dict(self._found.offsets)
        time_ms = self._found.time_ms
        written = []
        for record in page.records:
            offsets[record.topic, record.partition] = record.offset + 1
            time_ms = max(time_ms, record.timestamp_ms or 0)
            cursor = self._tokens.write(Place(offsets, time_ms))
            written.append(self._object(record, cursor.encode()))
        return written

    def _object(self, record: Record, cursor: bytes) -> bytes:
        own = self._parts.record_id(record, self._call.who.partner)
        shown = objects.envelope_object(record, self._live, own if self.hides else "")
        if self.hides:  # the id stands there already
            return b'{"cursor":"%b",%b' % (cursor, shown[1:])
        return b'{"id":"%b","cursor":"%b",%b' % (own.encode(), cursor, shown[1:])

    def events(self, page: Page) -> bytes:
        """Return the records as a batch of CloudEvents."""
        source = f"{self._parts.base_url}/topics/{self._live.name}"
        shown = [
            objects.cloudevent_object(
                one,
                self._live,
                source,
                self._parts.record_id(one, self._call.who.partner) if self.hides else "",
            )
            for one in page.records
        ]
        return b"[%b]" % b",".join(shown)

    def gap(self, gap: Gap) -> dict[str, object]:
        """Return a gap as it may be shown."""
        return gap_members(gap, hides_place=self.hides)


def body_of(
    writer: Pages,
    page: Page,
    asked: Asked,
    following: str,
    lag: tuple[int | None, float],
) -> tuple[bytes, str]:
    gaps = [writer.gap(gap) for gap in page.gaps]
    if asked.kind == EVENTS_TYPE:
        return writer.events(page), EVENTS_TYPE
    written = writer.objects(page)
    if asked.kind == NDJSON_TYPE:
        lines = [_encode({"type": "gap", **gap}) + b"\n" for gap in gaps]
        lines += [b'{"type":"message",%b\n' % one[1:] for one in written]
        lines.append(_encode({"type": "position", "cursor": following}) + b"\n")
        return b"".join(lines), NDJSON_TYPE
    rest = {
        "next": following,
        "more": page.more,
        "gaps": gaps,
        "lag_records": lag[0],
        "lag_seconds": lag[1],
    }
    return b'{"records":[%b],%b' % (b",".join(written), _encode(rest)[1:]), JSON_TYPE
