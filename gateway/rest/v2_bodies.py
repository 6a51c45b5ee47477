"""What v2 consumers send, checked; and what the requests of one instance have in common."""

import re
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
NUL: Final = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")
"""The escape of NUL, behind an even number of backslashes."""
MAX_METADATA: Final = 4_096
MAX_TOPIC: Final = 249
MAX_TOPICS: Final = 1_000
"""Named in one subscription: far above what a partner is granted."""
MAX_OFFSET: Final = 2**63 - 2
"""Of a record: the one after it has to fit as well."""
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
    check_partitions(places)
    return list(dict.fromkeys((one.topic, one.partition) for one in places))


def check_partitions(places: Sequence[Place]) -> None:
    """Refuse a topic or partition that cannot be. Raises Refusal."""
    if any(len(one.topic) > MAX_TOPIC for one in places):
        raise confluent.topic_not_found()
    if any(not 0 <= one.partition <= envelopes.MAX_INT32 for one in places):
        raise confluent.partition_not_found()


def check_offsets(places: Sequence[OffsetPlace], least: int = 0) -> None:
    """Refuse an offset that no record can have. Raises Refusal."""
    check_partitions(places)
    if any(not least <= one.offset <= MAX_OFFSET for one in places):
        raise confluent.unprocessable("An offset is 0 or more, and one of Kafka's.")


def check_names(body: bytes) -> None:
    """Refuse NUL: no name or note of a consumer has one, and no table could hold it."""
    if NUL.search(body):
        raise confluent.malformed("NUL is not taken in names and notes")


async def checked_body(call: Call) -> bytes:
    """Return the body of a request that must have one. Raises Refusal."""
    confluent.check_body(call.header(b"content-type"))
    body = await call.body()
    envelopes.check_text(body)
    check_names(body)
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
