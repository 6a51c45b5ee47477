"""Produce requests with an ``Idempotency-Key``: one row each, written before a record is sent.

So whatever dies when, a retry knows where to look for what the first try wrote.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import msgspec
from django.db import connection, transaction
from django.db.backends.utils import CursorWrapper

from kafkahub.errors import IdempotencyInProgress, IdempotencyKeyReused
from kafkahub.failpoints import failpoint
from kafkahub.kafka.record import Refused, Result, Written
from subscriptions.pull.rows import guarded

LEASE_S = 45
"""Above the 20 s in which every produce is answered, so that two processes never write at once."""
SETTLE_S = 10
"""How long nobody looks after an answer of Kafka's did not come: it may still be on its way."""
KEPT_H = 24
TAG_BYTES = 16
INDEX_BYTES = 4
HEADER = "kafkahub-idem"
"""Kafka header of such a record: the key's tag and the record's index."""

INSERT = """
INSERT INTO produce_receipt (partner_id, key_hash, fingerprint, state, lease_until, topic,
                             partitions, floor, scanned, found)
VALUES (%s, %s, %s, 'running', now() + %s * interval '1 second', %s, %s, %s, '{}', '{}')
ON CONFLICT (partner_id, key_hash) DO NOTHING
"""
OUTLIVED = """
DELETE FROM produce_receipt
 WHERE partner_id = %s AND key_hash = %s AND created_at < now() - %s * interval '1 hour'
"""  # by the unique index on (partner, key_hash)
FIND = """
SELECT fingerprint, state, lease_until > now(), partitions, floor, scanned, found, answer
  FROM produce_receipt WHERE partner_id = %s AND key_hash = %s FOR UPDATE
"""  # by the unique index on (partner, key_hash)
TAKE = """
UPDATE produce_receipt SET state = 'running', lease_until = now() + %s * interval '1 second'
 WHERE partner_id = %s AND key_hash = %s
"""  # by the unique index on (partner, key_hash)
FINISH = """
UPDATE produce_receipt SET state = 'done', answer = %s WHERE partner_id = %s AND key_hash = %s
"""  # by the unique index on (partner, key_hash)
KEEP = """
UPDATE produce_receipt
   SET state = 'unknown', lease_until = now() + %s * interval '1 second', scanned = %s, found = %s
 WHERE partner_id = %s AND key_hash = %s
"""  # by the unique index on (partner, key_hash)
FORGET = "DELETE FROM produce_receipt WHERE partner_id = %s AND key_hash = %s"  # unique index
EXPIRE = """
DELETE FROM produce_receipt WHERE id IN (
       SELECT id FROM produce_receipt WHERE created_at < now() - %s * interval '1 hour'
        ORDER BY created_at LIMIT %s)
"""  # by the index on created_at

_encode = msgspec.json.encode
_results = msgspec.json.Decoder(list[list[object]])
_found = msgspec.json.Decoder(dict[int, tuple[int, int, int | None]])
_offsets = msgspec.json.Decoder(dict[int, int])


@dataclass(frozen=True, slots=True)
class Key:
    """Whose key it is, and what was asked under it."""

    partner: str
    hash: bytes
    fingerprint: bytes

    @property
    def tag(self) -> bytes:
        """What marks the records of this key in Kafka."""
        return self.hash[:TAG_BYTES]


@dataclass(frozen=True, slots=True)
class Plan:
    """Where each record goes, and where the partitions ended before any was sent.

    partitions  one for each record, in order
    floor       end offset by partition
    """

    topic: str
    partitions: Sequence[int]
    floor: Mapping[int, int]


@dataclass(frozen=True, slots=True)
class Fresh:
    """Nobody used the key: the records may be sent."""


@dataclass(frozen=True, slots=True)
class Done:
    """What became of the records when they were sent the first time."""

    results: Sequence[Result]


@dataclass(frozen=True, slots=True)
class Unsettled:
    """Some may be in Kafka: look for them first.

    plan     the first try's
    scanned  next offset to look at by partition
    found    partition, offset and timestamp of what was found, by index
    """

    plan: Plan
    scanned: Mapping[int, int]
    found: Mapping[int, tuple[int, int, int | None]]


def key_of(partner: str, key: str, fingerprint: bytes) -> Key:
    """Return a key by its hash; its text is nobody's business."""
    return Key(partner, hashlib.sha256(f"{partner}:{key}".encode()).digest(), fingerprint)


def mark(key: Key, index: int) -> bytes:
    """Return the header value of the record at ``index``."""
    return key.tag + index.to_bytes(INDEX_BYTES, "big")


@guarded
def begin(key: Key, plan: Plan) -> Fresh | Done | Unsettled:
    """Take the key for this try, before anything is sent.

    Raises IdempotencyKeyReused for another request, IdempotencyInProgress while a try runs.
    """
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(OUTLIVED, [key.partner, key.hash, KEPT_H])
        floor = _encode(plan.floor).decode()
        place = (LEASE_S, plan.topic, list(plan.partitions), floor)
        cursor.execute(INSERT, (key.partner, key.hash, key.fingerprint, *place))
        if not cursor.rowcount:
            return _again(cursor, key, plan.topic)
    failpoint("idempotency.after_claim")
    return Fresh()


def _again(cursor: CursorWrapper, key: Key, topic: str) -> Done | Unsettled:
    cursor.execute(FIND, [key.partner, key.hash])
    row = cursor.fetchone()
    if row is None:  # removed between the two statements
        raise IdempotencyInProgress("The first request is still running.", retry_after_s=1)
    fingerprint, state, is_leased, partitions, floor, scanned, found, answer = row
    if bytes(fingerprint) != key.fingerprint:
        raise IdempotencyKeyReused("This Idempotency-Key was used for another request.")
    if state == "done":
        return Done([_read(one) for one in _results.decode(answer)])
    if is_leased:
        raise IdempotencyInProgress("The first request is still running.", retry_after_s=1)
    cursor.execute(TAKE, [LEASE_S, key.partner, key.hash])
    plan = Plan(topic, partitions, _offsets.decode(floor))
    return Unsettled(plan, _offsets.decode(scanned), _found.decode(found))


@guarded
def finish(key: Key, results: Sequence[Result]) -> None:
    """Store what became of the records; retries get it from now on."""
    answer = _encode([_written(one) for one in results]).decode()
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(FINISH, [answer, key.partner, key.hash])


@guarded
def keep(
    key: Key,
    scanned: Mapping[int, int],
    found: Mapping[int, tuple[int, int, int | None]],
    *,
    settle_s: int = 0,
) -> None:
    """Leave it to a retry: what may be in Kafka must be looked for, not before ``settle_s``."""
    values = (settle_s, _encode(scanned).decode(), _encode(found).decode())
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(KEEP, (*values, key.partner, key.hash))


@guarded
def forget(key: Key) -> None:
    """Drop the key: certainly nothing was written."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(FORGET, [key.partner, key.hash])


def expire(rows: int) -> int:
    """Delete receipts past their 24 h; return how many, ``rows`` at most."""
    with connection.cursor() as cursor:
        cursor.execute(EXPIRE, [KEPT_H, rows])
        return int(cursor.rowcount)


def _written(result: Result) -> list[object]:
    if isinstance(result, Written):
        return [result.partition, result.offset, result.timestamp_ms]
    return [result.code, result.text, result.is_retriable, result.is_unknown]


def _read(row: list[object]) -> Result:
    if len(row) == len(Written.__struct_fields__):
        return msgspec.convert(dict(zip(Written.__struct_fields__, row, strict=True)), Written)
    return msgspec.convert(dict(zip(Refused.__struct_fields__, row, strict=True)), Refused)
