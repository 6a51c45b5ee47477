"""What v2 consumers send, checked; and what the requests of one instance have in common."""

from collections.abc import Sequence
from typing import Final

import msgspec

from gateway import confluent, envelopes
from gateway.rest.call import Call, Reply
from kafkahub import strictjson
from kafkahub.errors import Invalid
from subscriptions.grants import Principal
from subscriptions.pull.rows import Name, Part

NOTHING: Final = Reply(204)
MAX_METADATA: Final = 4_096
MAX_PARTITIONS: Final = 10_000
"""Partitions named in one body: far above what a group has."""


class Place(msgspec.Struct, forbid_unknown_fields=True):
    """A partition; ``offset`` and ``timestamp`` where the request has them."""

    topic: str
    partition: int


class OffsetPlace(Place, forbid_unknown_fields=True):
    offset: int
    metadata: str | None = None


class TimePlace(Place, forbid_unknown_fields=True):
    timestamp: str | int
    metadata: str | None = None


class PlacesIn(msgspec.Struct, forbid_unknown_fields=True):
    partitions: list[Place]


class OffsetsIn(msgspec.Struct, forbid_unknown_fields=True):
    offsets: list[OffsetPlace] | None = None


class SeekIn(msgspec.Struct, forbid_unknown_fields=True):
    offsets: list[OffsetPlace] = []
    timestamps: list[TimePlace] = []


class TopicsIn(msgspec.Struct, forbid_unknown_fields=True):
    topics: list[str] | None = None
    topic_pattern: str | None = None


def name_of(principal: Principal, group: str, instance: str) -> Name:
    """Return how the partner calls an instance: another partner's is another name."""
    return Name(principal.partner, group, instance)


def parts_of(places: Sequence[Place]) -> list[Part]:
    """Return the partitions of a body, each once. Raises Refusal."""
    if len(places) > MAX_PARTITIONS:
        raise confluent.unprocessable(f"At most {MAX_PARTITIONS} partitions may be named.")
    if any(one.partition < 0 for one in places):
        raise confluent.partition_not_found()
    return list(dict.fromkeys((one.topic, one.partition) for one in places))


async def checked_body(call: Call) -> bytes:
    """Return the body of a request that must have one. Raises Refusal."""
    confluent.check_body(call.header(b"content-type"))
    body = await call.body()
    envelopes.check_text(body)
    return body


async def json_body(call: Call) -> object:
    """Return the decoded body of a request that needs none; ``{}`` without one."""
    if not call.expects_body:
        return {}
    body = await checked_body(call)
    if not body.strip():
        return {}
    try:
        return strictjson.loads(body)
    except Invalid as error:
        raise confluent.malformed(error.detail) from None
