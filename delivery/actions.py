"""What people do to deliveries: resend, redrive, discard, test. Each one transaction, audited."""

import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from django.db import transaction
from django.db.models import QuerySet

from delivery import parking
from delivery.attempts import possible_ms
from delivery.ledger import TEST_PREFIX
from delivery.models import ParkedDelivery, PartitionPosition
from delivery.reread import Remade, remake
from kafkahub import clock
from kafkahub.errors import Conflict, RateLimited, RecordGone
from kafkahub.kafka import envelope
from kafkahub.kafka.record import Position, Record
from subscriptions import audit
from subscriptions.audit import Actor, Subject, Verb
from subscriptions.identity import base62
from subscriptions.models import AuditEvent, Endpoint, Grant, Subscription, Topic

State = ParkedDelivery.State
Reason = ParkedDelivery.Reason
REDRIVABLE = frozenset({State.HELD, State.DEAD})
RESENDABLE = REDRIVABLE | {State.SCHEDULED}
DISCARDABLE = RESENDABLE | {State.BLOCKED}
ALLOWED: Mapping[str, str] = {
    State.SCHEDULED: "resend and discard",
    State.SENDING: "nothing until its attempt has ended",
    State.BLOCKED: "discard; it goes out after the one it is blocked by",
    State.HELD: "redrive, resend and discard",
    State.DEAD: "redrive, resend and discard",
}
"""What each state allows, as the refusal of anything else says it."""
TESTS_PER_MINUTE = 10
TEST_PARTITION = -1
"""No partition of Kafka: a test must not be taken for a record."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a delivery's record stands in Kafka, and how often it was sent."""

    position: Position
    webhook_id: str
    sends: int


def needs_body(row: ParkedDelivery, grant_version: int | None) -> bool:
    """Return whether the record must be read again before this row may be sent.

    grant_version  of the grant now; None when it has ended
    """
    if row.is_notice:
        return False
    return row.body is None or row.grant_version != grant_version


def is_sensitive(topic: str) -> bool:
    """Return whether bodies of the topic's records are sealed at rest."""
    return Topic.objects.filter(name=topic, is_sensitive=True).exists()


def grant_version(subscription: Subscription, topic: str) -> int | None:
    """Return the version of the grant that lets the partner read the topic; None without one."""
    alive = Grant.objects.alive().filter(
        partner_id=subscription.partner_id, topic_id=topic, action=Grant.Action.READ
    )
    return alive.values_list("version", flat=True).first()


def remade_at(subscription: Subscription, place: Place) -> Remade:
    """Return the delivery made anew from Kafka.

    Asks Kafka, so it must not run inside a transaction. Raises what ``remake`` does, and
    RecordGone when another record has taken the offset: the topic was made again.
    """
    remade = remake(subscription, place.position, generation=_generation(place.position))
    if remade.webhook_id != place.webhook_id:
        raise RecordGone("Kafka does not have this record any more: its topic was made again.")
    return remade


def send_again(actor: Actor, row: ParkedDelivery, remade: Remade | None, *, verb: Verb) -> None:
    """Make a parked row due now; ``remade`` replaces its body.

    verb  DELIVERY_RESENT (the attempt is ``manual``) or PARKED_REDRIVEN (of a dead letter)

    Raises Conflict, naming what is allowed, when the row's state forbids it.
    """
    is_redrive = verb is Verb.PARKED_REDRIVEN
    states = REDRIVABLE if is_redrive else RESENDABLE
    reason = Reason.FAILED if is_redrive else Reason.RESEND
    with transaction.atomic():
        if remade is None:
            done = parking.due_now(row.pk, reason, states)
        else:
            done = parking.refill(
                row.pk,
                reason,
                states,
                body=remade.content,
                is_sensitive=is_sensitive(row.topic),
                headers=remade.headers,
                grant_version=remade.grant_version,
            )
        if not done:
            raise _refused(row, "redriven" if is_redrive else "resent")
        audit.append(actor, verb, _subject(row), {"state": (row.state, State.SCHEDULED)})


def send_delivered_again(
    actor: Actor, subscription: Subscription, place: Place, remade: Remade
) -> None:
    """Send a record again that is parked no more; raise Conflict when it was parked meanwhile."""
    record = remade.record
    values = {
        "id": place.webhook_id,
        "subscription": subscription.id,
        "topic": record.topic,
        "partition": record.partition,
        "offset": record.offset,
        "generation": _generation(place.position),
        "key": record.key,
        "record_time": _moment(record.timestamp_ms),
        "body": remade.content,
        "grant_version": remade.grant_version,
        "reason": Reason.RESEND,
        "sends": place.sends,
    }
    with transaction.atomic():
        if not parking.insert(values, remade.headers, is_sensitive=is_sensitive(record.topic)):
            raise Conflict("The delivery is parked, or was discarded, just now; look at it again.")
        subject = Subject("delivery", place.webhook_id, subscription.partner_id)
        audit.append(actor, Verb.DELIVERY_RESENT, subject, {"state": (None, State.SCHEDULED)})


def discard(actor: Actor, row: ParkedDelivery, reason: str) -> None:
    """Give a parked row up; it is listed no more. Raises Conflict while it is being sent."""
    with transaction.atomic():
        parking.hold([row.pk])
        if not parking.discard([row.pk], DISCARDABLE):
            raise _refused(row, "discarded")
        changes = {"state": (row.state, State.DISCARDED)}
        audit.append(actor, Verb.PARKED_DISCARDED, _subject(row), changes, reason)


def discard_many(
    actor: Actor, rows: QuerySet[ParkedDelivery], reason: str, *, expected_count: int
) -> int:
    """Give all these rows up if there are as many as expected; return their number.

    Raises Conflict, and changes nothing, when there are more or less. Rows being sent are left.
    """
    with transaction.atomic():
        wanted = rows.filter(state__in=DISCARDABLE)
        parking.hold(list(wanted.values_list("pk", flat=True)[: expected_count + 1]))
        found = wanted.select_for_update(of=("self",), no_key=True)
        row_ids = list(found.order_by("pk").values_list("pk", flat=True)[: expected_count + 1])
        if len(row_ids) != expected_count:
            found_text = "more" if len(row_ids) > expected_count else str(len(row_ids))
            text = f"{expected_count} rows were expected, there are {found_text}."
            raise Conflict(f"{text} Nothing was done.")
        if len(parking.discard(row_ids, DISCARDABLE)) != len(row_ids):
            raise Conflict("Some of the rows are about to be sent just now. Nothing was done.")
        if row_ids:
            subject = Subject("parked", f"{len(row_ids)} rows", actor.partner)
            changes = {"count": (len(row_ids), 0)}
            audit.append(actor, Verb.PARKED_DISCARDED, subject, changes, reason)
    return len(row_ids)


def send_test(
    actor: Actor,
    endpoint: Endpoint,
    subscription: Subscription,
    topic: Topic,
    *,
    event_type: str | None,
    data: object,
) -> str:
    """Park one test delivery that is due now; return its ``tst_…`` id.

    data  any JSON value

    Raises RateLimited after ``TESTS_PER_MINUTE`` of this endpoint.
    """
    webhook_id = TEST_PREFIX + base62(secrets.token_bytes(16))
    made = _test_body(subscription, topic, webhook_id, event_type, data)
    values = {
        "id": webhook_id,
        "subscription": subscription.id,
        "topic": topic.name,
        "partition": TEST_PARTITION,
        "offset": secrets.randbits(62),  # unique, which is all that is asked of it
        "generation": 0,
        "key": None,
        "record_time": None,
        "body": made.content,
        "grant_version": 0,
        "reason": Reason.TEST,
        "sends": 0,
    }
    with transaction.atomic():
        _limit_tests(endpoint)
        headers = {**dict(made.headers), "kafkahub-test": "1"}
        parking.insert(values, headers, is_sensitive=False)  # its data came with the request
        audit.append(actor, Verb.TEST_SENT, endpoint, {"test": (None, webhook_id)})
    return webhook_id


def _test_body(
    subscription: Subscription,
    topic: Topic,
    webhook_id: str,
    event_type: str | None,
    data: object,
) -> envelope.Body:
    now_ms = int(clock.now().timestamp() * 1000)
    value = json.dumps(data, ensure_ascii=False, separators=(",", ":")).encode()
    record = Record(topic.name, TEST_PARTITION, 0, now_ms, None, value)
    shape = envelope.Shape(
        format=_format(subscription.format),
        include=(),
        topic_format="json",
        content_type="application/json",
        source=f"/topics/{topic.name}",
    )
    known = envelope.event_type(record, topic.type_source, topic.type_value, topic.name)
    return envelope.render(record, shape, webhook_id=webhook_id, event_type=event_type or known)


def _format(name: str) -> envelope.Format:
    match name:
        case "raw" | "cloudevents_structured" | "cloudevents_binary":
            return name
        case _:
            return "envelope"


def _limit_tests(endpoint: Endpoint) -> None:
    # By the index on object_id; the row of the endpoint is locked, so two cannot both pass.
    Endpoint.objects.select_for_update(no_key=True).get(pk=endpoint.pk)
    recent = AuditEvent.objects.filter(
        object_id=endpoint.pk,
        verb=Verb.TEST_SENT,
        at__gt=clock.now() - timedelta(minutes=1),
    )
    if recent.count() >= TESTS_PER_MINUTE:
        text = f"An endpoint takes {TESTS_PER_MINUTE} tests a minute."
        raise RateLimited(text, retry_after_s=60)


def _moment(unix_ms: int | None) -> datetime | None:
    """Return a record's time; None where it has none that can be kept."""
    possible = possible_ms(unix_ms)
    return None if possible is None else datetime.fromtimestamp(possible / 1000, UTC)


def _generation(position: Position) -> int:
    row = PartitionPosition.objects.filter(
        topic=position.topic, partition=position.partition
    ).values_list("generation", flat=True)
    return row.first() or 1


def _refused(row: ParkedDelivery, what: str) -> Conflict:
    now = ParkedDelivery.objects.filter(pk=row.pk).values_list("state", flat=True).first()
    state = str(now or State.DISCARDED)
    allowed = ALLOWED.get(state, "nothing: it is parked no more")
    return Conflict(f"The row is {state}, so it cannot be {what}; that state allows {allowed}.")


def _subject(row: ParkedDelivery) -> Subject:
    return Subject("parkeddelivery", row.pk, row.subscription.partner_id)
