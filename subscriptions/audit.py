"""The audit log: who did what to which object, chained so that no row can change unnoticed."""

import functools
import hashlib
import ipaddress
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import NamedTuple

from django.core.exceptions import FieldDoesNotExist
from django.db import connection, models, transaction

from kafkahub import config, crypto
from kafkahub.failpoints import failpoint
from kafkahub.fields import EncryptedField, Sealed
from subscriptions.models import AuditEvent, Partner

LOCK = 0x6B68_6175
"""Number of the advisory lock that makes the chain serial; nothing else uses it."""
GENESIS = bytes(hashlib.sha256().digest_size)
"""``prev_hash`` of the first row."""
EMPTY = 0
"""Id of the head while there is no row."""
MAX_TEXT = 4_000
"""Characters of one text that a row keeps: a change stays readable, a row stays small."""
CHANGED = "changed"
SECRET: tuple[object, object] = (None, CHANGED)
"""Write ``{"secret": SECRET}``: of a secret the log says only that it changed."""

Changes = Mapping[str, tuple[object, object]]


class Verb(StrEnum):
    """Everything that is audited. A new verb gets its member here, or ``append`` refuses it."""

    PARTNER_CREATED = "partner.created"
    PARTNER_UPDATED = "partner.updated"
    PARTNER_SUSPENDED = "partner.suspended"
    PARTNER_RESUMED = "partner.resumed"
    PLAN_CREATED = "plan.created"
    PLAN_UPDATED = "plan.updated"
    PLAN_DELETED = "plan.deleted"
    KEY_CREATED = "key.created"
    KEY_UPDATED = "key.updated"
    KEY_ROTATED = "key.rotated"
    KEY_REVOKED = "key.revoked"
    KEY_SLOWED = "key.slowed"
    CLIENT_CREATED = "client.created"
    CLIENT_UPDATED = "client.updated"
    CLIENT_SECRET_ROTATED = "client.secret_rotated"  # noqa: S105 - the name of a verb
    CLIENT_REVOKED = "client.revoked"
    ISSUER_CREATED = "issuer.created"
    ISSUER_UPDATED = "issuer.updated"
    SUBJECT_CREATED = "subject.created"
    SUBJECT_UPDATED = "subject.updated"
    SUBJECT_DELETED = "subject.deleted"
    TOPIC_CREATED = "topic.created"
    TOPIC_UPDATED = "topic.updated"
    TOPIC_ENABLED = "topic.enabled"
    TOPIC_DISABLED = "topic.disabled"
    TOPIC_ACCEPTED = "topic.accepted"
    GRANT_CREATED = "grant.created"
    GRANT_UPDATED = "grant.updated"
    GRANT_SPENT = "grant.spent"
    GRANT_DELETED = "grant.deleted"
    ENDPOINT_CREATED = "endpoint.created"
    ENDPOINT_UPDATED = "endpoint.updated"
    ENDPOINT_ENABLED = "endpoint.enabled"
    ENDPOINT_DISABLED = "endpoint.disabled"
    ENDPOINT_VERIFIED = "endpoint.verified"
    ENDPOINT_UNVERIFIED = "endpoint.unverified"
    ENDPOINT_TRUSTED = "endpoint.trusted"
    ENDPOINT_DELETED = "endpoint.deleted"
    SECRET_ROTATED = "secret.rotated"  # noqa: S105 - the name of a verb
    SECRET_RETIRED = "secret.retired"  # noqa: S105 - the name of a verb
    SUBSCRIPTION_CREATED = "subscription.created"
    SUBSCRIPTION_UPDATED = "subscription.updated"
    SUBSCRIPTION_PAUSED = "subscription.paused"
    SUBSCRIPTION_RESUMED = "subscription.resumed"
    SUBSCRIPTION_DELETED = "subscription.deleted"
    SUBSCRIPTION_SEEKED = "subscription.seeked"
    GAP_FOUND = "gap.found"
    SUBSCRIPTION_IMPORTED = "subscription.imported"
    REPLAY_CREATED = "replay.created"
    REPLAY_STARTED = "replay.started"
    REPLAY_PAUSED = "replay.paused"
    REPLAY_RESUMED = "replay.resumed"
    REPLAY_CANCELLED = "replay.cancelled"
    REPLAY_FAILED = "replay.failed"
    DELIVERY_RESENT = "delivery.resent"
    PARKED_REDRIVEN = "parked.redriven"
    PARKED_DISCARDED = "parked.discarded"
    PARKED_OUTDATED = "parked.outdated"
    PARKED_PURGED = "parked.purged"
    PAYLOAD_VIEWED = "payload.viewed"
    TEST_SENT = "test.sent"
    RECEIVER_CHECKED = "receiver.checked"
    TICKET_REVOKED = "ticket.revoked"
    STREAM_CLOSED = "stream.closed"
    MEMBER_INVITED = "member.invited"
    MEMBER_JOINED = "member.joined"
    MEMBER_UPDATED = "member.updated"
    MEMBER_REMOVED = "member.removed"
    INVITATION_WITHDRAWN = "invitation.withdrawn"
    MEMBER_SIGNED_IN = "member.signed_in"
    MEMBER_SIGNED_OUT = "member.signed_out"
    MEMBER_SIGN_IN_FAILED = "member.sign_in_failed"
    SECOND_FACTOR_FAILED = "second_factor.failed"
    OPERATOR_SIGNED_IN = "operator.signed_in"
    OPERATOR_SIGNED_OUT = "operator.signed_out"
    OPERATOR_SIGN_IN_FAILED = "operator.sign_in_failed"
    OPERATOR_CREATED = "operator.created"
    OPERATOR_UPDATED = "operator.updated"
    OPERATOR_DELETED = "operator.deleted"
    ROLE_CREATED = "role.created"
    ROLE_UPDATED = "role.updated"
    ROLE_DELETED = "role.deleted"
    ENCRYPTION_ROTATED = "encryption.rotated"
    ISSUE_MOVED = "issue.moved"
    SUPPORT_OPENED = "support.opened"
    SUPPORT_LOOKED = "support.looked"
    SUPPORT_ENDED = "support.ended"


class ActorKind(StrEnum):
    """What kind of principal acted."""

    OPERATOR = "operator"
    MEMBER = "member"
    KEY = "key"
    CLIENT = "client"
    SYSTEM = "system"


@dataclass(frozen=True, slots=True)
class Actor:
    """Who acts, and from where.

    kind        a value of ``ActorKind``
    id          name of the operator, ``key_…`` of a key, name of the job
    partner     the partner it belongs to; empty for operators and the system
    address     IP address, or None where there is no connection
    request_id  ``req_…`` of the request, empty outside one
    """

    kind: str
    id: str
    partner: str = ""
    address: str | None = None
    request_id: str = ""


class Subject(NamedTuple):
    """What a row is about, where that is no single object: a bulk, a login, the settings."""

    type: str
    id: str
    partner: str = ""


class NoTransaction(RuntimeError):
    """``append`` was called outside a transaction: row and change must commit together."""


def append(
    actor: Actor, verb: str, obj: models.Model | Subject, changes: Changes, reason: str = ""
) -> None:
    """Add one row inside the caller's transaction, as the last thing before its commit.

    The lock is held to the end of the transaction: a caller that locks other rows after it can
    deadlock with another that did so before.
    Raises NoTransaction, and ValueError for a verb or kind of actor that is not listed.
    """
    if not connection.in_atomic_block:
        raise NoTransaction(f"{verb}: an audit row belongs into the transaction of its change")
    event = _event(actor, Verb(verb), obj, changes, reason)
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [LOCK])
    # A statement of its own: its snapshot must be younger than the lock.
    event.prev_hash = head().hash
    event.hash = crypto.digest(_write_key(), bytes(event.prev_hash) + canonical(event))
    failpoint("audit.before_insert")
    event.save(force_insert=True)


def record(
    actor: Actor, verb: str, obj: models.Model | Subject, changes: Changes, reason: str = ""
) -> None:
    """Add one row in a transaction of its own, for what changes no other row: a login, a look."""
    with transaction.atomic():
        append(actor, verb, obj, changes, reason)


def differences(before: Mapping[str, object], after: Mapping[str, object]) -> Changes:
    """Return the fields of either side whose values differ, as ``{field: (before, after)}``."""
    names = [*before, *(name for name in after if name not in before)]
    return {
        name: (before.get(name), after.get(name))
        for name in names
        if before.get(name) != after.get(name)
    }


class Head(NamedTuple):
    """The newest row; ``id`` is EMPTY and ``hash`` GENESIS while there is none."""

    id: int
    hash: bytes


def head() -> Head:
    """Return the newest row's id and hash, by primary key."""
    row = AuditEvent.objects.order_by("-id").values_list("id", "hash").first()
    return Head(row[0], bytes(row[1])) if row else Head(EMPTY, GENESIS)


def canonical(event: AuditEvent) -> bytes:
    """Return the bytes that ``hash`` covers, after ``prev_hash``: every column but id and hashes.

    JSON with sorted keys, no spaces and ASCII only, so one row has one form.
    """
    columns = {
        "at": event.at.astimezone(UTC).isoformat(timespec="microseconds"),
        "actor_kind": event.actor_kind,
        "actor": event.actor,
        "partner": event.partner,
        "address": None if event.address is None else str(ipaddress.ip_address(event.address)),
        "request_id": event.request_id,
        "verb": event.verb,
        "object_type": event.object_type,
        "object_id": event.object_id,
        "changes": event.changes,
        "reason": event.reason,
    }
    return json.dumps(columns, sort_keys=True, separators=(",", ":")).encode("ascii")


@functools.cache
def ring() -> crypto.KeyRing:
    """Return the ring of the chain: the first key writes, all of them verify."""
    return crypto.parse_ring(config.load().audit_keys.get_secret_value())


def _write_key() -> bytes:
    return ring().keys[ring().writer]


def _event(
    actor: Actor, verb: Verb, obj: models.Model | Subject, changes: Changes, reason: str
) -> AuditEvent:
    subject = obj if isinstance(obj, Subject) else _subject(obj)
    hidden = frozenset() if isinstance(obj, Subject) else _sealed_fields(obj, changes)
    return AuditEvent(
        actor_kind=ActorKind(actor.kind),
        actor=_text(actor.id, 150),
        partner=subject.partner or actor.partner,
        address=actor.address or None,
        request_id=_text(actor.request_id, 64),
        verb=verb,
        object_type=_text(subject.type, 40),
        object_id=_text(subject.id, 300),
        changes={
            name: list(SECRET) if name in hidden else [_plain(value) for value in pair]
            for name, pair in changes.items()
        },
        reason=_text(reason, 200),
    )


def _subject(obj: models.Model) -> Subject:
    return Subject(obj._meta.model_name or "", str(obj.pk), _partner_of(obj))


def _partner_of(obj: models.Model) -> str:
    """Return the partner the object belongs to, by itself or through its owner; "" for none."""
    if isinstance(obj, Partner):
        return obj.pk
    own = getattr(obj, "partner_id", None) or getattr(obj, "partner", None)
    if isinstance(own, str):
        return own
    owner = getattr(obj, "subscription", None) or getattr(obj, "endpoint", None)
    return _partner_of(owner) if isinstance(owner, models.Model) else ""


def _sealed_fields(obj: models.Model, changes: Changes) -> frozenset[str]:
    """Return which of the changed fields are secrets, whatever the caller wrote for them."""
    return frozenset(name for name in changes if _is_sealed(obj, name))


def _is_sealed(obj: models.Model, name: str) -> bool:
    try:
        field = obj._meta.get_field(name)
    except FieldDoesNotExist:
        return False
    return isinstance(field, EncryptedField | models.BinaryField)


def _plain(value: object) -> object:
    """Return ``value`` as JSON that PostgreSQL gives back unchanged; secrets and bytes hidden."""
    match value:
        case None | bool() | int():
            return value
        case float():
            return _number(value)
        case Mapping():
            return {_text(str(name), MAX_TEXT): _plain(inner) for name, inner in value.items()}
        case list() | tuple():
            return [_plain(inner) for inner in value]
        case Sealed() | bytes() | memoryview():
            return CHANGED
    return _text(value.isoformat() if isinstance(value, datetime) else str(value), MAX_TEXT)


def _number(value: float) -> float | str:
    # jsonb keeps 1e22 as an integer and knows neither -0.0 nor NaN; the hash must survive that.
    if not math.isfinite(value):
        return str(value)
    return int(value) if value.is_integer() else value


def _text(value: str, limit: int) -> str:
    # PostgreSQL takes neither NUL nor lone surrogates.
    text = value.replace("\x00", "\\0").encode("utf-8", "backslashreplace").decode()
    return text if len(text) <= limit else f"{text[: limit - 1]}…"
