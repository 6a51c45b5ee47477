"""Confluent REST Proxy v2: offsets committed, told, and sought."""

from collections.abc import Sequence

import msgspec

from gateway import confluent, envelopes
from gateway.confluent import Refusal
from gateway.rest.call import Call, Reply
from gateway.rest.parts import Parts
from gateway.rest.v2 import checked_partition, refuse_filtered, reply
from gateway.rest.v2_bodies import (
    MAX_METADATA,
    MAX_PARTITIONS,
    NOTHING,
    OffsetPlace,
    OffsetsIn,
    PlacesIn,
    SeekIn,
    TimePlace,
    check_names,
    check_offsets,
    check_partitions,
    checked_body,
    name_of,
    parts_of,
)
from gateway.rest.v2_consumers import is_open
from kafkahub.kafka.faults import NoAdminApi
from subscriptions.pull import positions
from subscriptions.pull.positions import Commit
from subscriptions.pull.rows import Name, Part

_places = msgspec.json.Decoder(PlacesIn).decode
_offsets = msgspec.json.Decoder(OffsetsIn).decode
_seek = msgspec.json.Decoder(SeekIn).decode


async def commit(parts: Parts, call: Call, group: str, name: str) -> Reply:
    principal = call.who
    own = name_of(principal, group, name)
    body = await call.body() if call.expects_body else b""
    check_names(body)
    given = envelopes.decode(body, _offsets).offsets if body.strip() else None
    commits = None
    if given:
        _check_places(given)
        commits = [
            Commit(one.topic, one.partition, one.offset + 1, one.metadata or "") for one in given
        ]
    await parts.consumers.commit(own, commits)
    return reply([])


def _check_places(given: Sequence[OffsetPlace]) -> None:
    if len(given) > MAX_PARTITIONS:
        raise confluent.unprocessable(f"At most {MAX_PARTITIONS} partitions may be named.")
    if len({(one.topic, one.partition) for one in given}) < len(given):
        raise confluent.unprocessable("A partition is named twice.")
    check_offsets(given, least=-1)
    for one in given:
        if len((one.metadata or "").encode()) > MAX_METADATA:
            raise confluent.unprocessable(f"Metadata has {MAX_METADATA} bytes at most.")


async def committed(parts: Parts, call: Call, group: str, name: str) -> Reply:
    principal = call.who
    own = name_of(principal, group, name)
    body = await call.body() if call.expects_body else b""
    wanted: list[Part] | None = None
    if body.strip():
        wanted = parts_of(envelopes.decode(body, _places).partitions)
    elif "partitions" in call.query:
        wanted = _parts_in_url(call.query["partitions"])
    found = await parts.run(positions.committed, own, wanted)
    shown = [
        {
            "topic": one.topic,
            "partition": one.partition,
            "offset": one.position,
            "metadata": one.metadata,
        }
        for one in found
        if is_open(parts, principal, one.topic, by_name=False)
    ]
    return reply({"offsets": shown})


def _parts_in_url(text: str) -> list[Part]:
    found = []
    for one in text.split(","):
        topic, colon, number = one.rpartition(":")
        if not colon:
            raise confluent.unprocessable("partitions: topic:0,topic:1, as in the documentation.")
        found.append((topic, checked_partition(number, 2**31)))
    return found


async def seek(parts: Parts, call: Call, group: str, name: str) -> Reply:
    principal = call.who
    own = name_of(principal, group, name)
    asked = envelopes.decode(await checked_body(call), _seek)
    if not asked.offsets and not asked.timestamps:
        raise confluent.unprocessable("Give offsets or timestamps.")
    check_offsets(asked.offsets)
    check_partitions(asked.timestamps)
    wanted = {(one.topic, one.partition): one.offset for one in asked.offsets}
    await _check_held(parts, own, [*wanted, *((t.topic, t.partition) for t in asked.timestamps)])
    for one in asked.timestamps:
        refuse_filtered(parts, principal, one.topic)
        wanted[one.topic, one.partition] = await _offset_at(parts, one)
    await parts.run(positions.seek, own, wanted)
    return NOTHING


async def _check_held(parts: Parts, own: Name, wanted: Sequence[Part]) -> None:
    held = set(await parts.run(positions.held, own))
    for topic, number in wanted:
        if (topic, number) not in held:
            raise confluent.illegal_state(f"partition {number} of {topic} is not assigned")


async def _offset_at(parts: Parts, place: TimePlace) -> int:
    given = place.timestamp
    at_ms = given if isinstance(given, int) else envelopes.timestamp_ms(given, "timestamp")
    if not 0 <= at_ms <= envelopes.MAX_TIMESTAMP_MS:
        raise confluent.unprocessable("A timestamp is in ms from 1970 on, or ISO 8601.")
    try:
        found = await parts.topology.offsets_at(place.topic, at_ms)
    except NoAdminApi:
        text = "This cluster cannot find records by time."
        raise Refusal(501, 501, text) from None
    if place.partition not in found:
        raise confluent.partition_not_found()
    return found[place.partition]


async def seek_beginning(parts: Parts, call: Call, group: str, name: str) -> Reply:
    principal = call.who
    return await _seek_edge(parts, call, name_of(principal, group, name), edge=0)


async def seek_end(parts: Parts, call: Call, group: str, name: str) -> Reply:
    principal = call.who
    return await _seek_edge(parts, call, name_of(principal, group, name), edge=1)


async def _seek_edge(parts: Parts, call: Call, own: Name, *, edge: int) -> Reply:
    places = parts_of(envelopes.decode(await checked_body(call), _places).partitions)
    await _check_held(parts, own, places)
    wanted: dict[Part, int] = {}
    for topic in {topic for topic, _ in places}:
        marks = await parts.topology.marks(topic, fresh=True)
        wanted |= {(topic, one): marks[one][edge] for name, one in places if name == topic}
    await parts.run(positions.seek, own, wanted)
    return NOTHING
