"""One record read from Kafka a second time, and the body that a subscription gets of it."""

import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace

from delivery import request
from delivery.forms import Naming
from delivery.lanes import Delivery
from kafkahub import clock, config, crypto
from kafkahub.errors import NotFound, RecordGone, Unavailable
from kafkahub.kafka import envelope
from kafkahub.kafka.faults import KafkaUnavailable, OutOfRange, UnknownTopic
from kafkahub.kafka.options import reader_options
from kafkahub.kafka.reader import Reader
from kafkahub.kafka.record import Position, Record
from subscriptions import rows, starts
from subscriptions.access import authorize_and_project
from subscriptions.grant_rows import live_grant
from subscriptions.grants import Grant
from subscriptions.live import NOTHING, LiveSubscription, LiveTopic, Snapshot
from subscriptions.models import Grant as GrantRow
from subscriptions.models import SigningSecret, Subscription

DEADLINE_S = 5.0
"""Longest look for one record, in seconds."""
WAIT_S = 0.5
MAX_READERS = 4
"""Reads at one time: each is a Kafka client of 2.4 MB and 6 threads."""
UNDECODABLE, TOO_LARGE = "undecodable", "too_large"
ANY_BYTES = frozenset({"raw", "cloudevents_binary"})
"""Formats that carry a value whatever it holds."""

_readers = threading.BoundedSemaphore(MAX_READERS)


@dataclass(frozen=True, slots=True)
class Remade:
    """A delivery made anew from its record.

    headers        of the format, ``content-type`` among them
    grant_version  of the grant it was projected under
    """

    webhook_id: str
    record: Record
    content: bytes
    headers: Mapping[str, str]
    grant_version: int


def remake(subscription: Subscription, place: Position, *, generation: int) -> Remade:
    """Return what the subscription gets of the record at ``place`` as settings are now.

    Asks Kafka, so it must not run inside a transaction.
    Raises NotFound when the partner may not see the record, RecordGone when Kafka does not have
    it any more or it cannot be sent in this form, and Unavailable.
    """
    grant, topic = granted(subscription, place.topic)
    record = record_at(place)
    seen = authorize_and_project(record, grant, int(clock.now().timestamp() * 1000))
    if seen is None:
        raise NotFound
    live = live_of(subscription, grant)
    delivery = _delivery(live, topic, seen, generation)
    try:
        made = request.body(delivery)
    except request.Unsendable as error:
        raise RecordGone(_UNSENDABLE[error.reason]) from None
    return Remade(delivery.webhook_id, seen, made.content, dict(made.headers), grant.version)


_UNSENDABLE: Mapping[str, str] = {
    UNDECODABLE: "The record's value is not what its topic promises; only the format raw sends it.",
    TOO_LARGE: "The record is larger than max_body_bytes of the endpoint.",
}


def record_at(place: Position) -> Record:
    """Return the record at a place.

    Raises RecordGone when there is none any more, and Unavailable when Kafka does not answer.
    """
    with open_reader() as (reader, out_of_range):
        try:
            low, high = reader.watermarks(place.topic, place.partition)
        except UnknownTopic:
            raise RecordGone("Kafka does not have the topic of this record any more.") from None
        if not low <= place.offset < high:
            raise RecordGone(_GONE)
        reader.assign([place])
        deadline = time.monotonic() + DEADLINE_S
        while time.monotonic() < deadline and not out_of_range:
            for record in reader.read(1, WAIT_S):
                if record.offset == place.offset:
                    return record
            if reader.position(place.topic, place.partition) > place.offset:
                raise RecordGone(_GONE)  # compacted away, or part of an aborted transaction
    if out_of_range:
        raise RecordGone(_GONE)
    raise KafkaUnavailable("Kafka did not give the record in time.")


_GONE = "Kafka does not have this record any more; its attempts stay in the log."


@contextmanager
def open_reader() -> Iterator[tuple[Reader, list[OutOfRange]]]:
    """Give a reader, and a list that what is out of range is put into; few at one time.

    Raises Unavailable when too many are open.
    """
    if not _readers.acquire(timeout=DEADLINE_S):
        raise Unavailable("Too many records are being read again just now.")
    try:
        out_of_range: list[OutOfRange] = []
        options = reader_options(config.load())
        with closing(Reader(options, on_out_of_range=out_of_range.append)) as reader:
            yield reader, out_of_range
    finally:
        _readers.release()


def granted(subscription: Subscription, topic: str) -> tuple[Grant, LiveTopic]:
    """Return the grant by which a subscription's partner reads a topic now, or raise NotFound."""
    row = (
        GrantRow.objects.alive()
        .filter(partner_id=subscription.partner_id, topic_id=topic, action=GrantRow.Action.READ)
        .select_related("topic")
        .first()
    )
    if row is None:
        raise NotFound
    live = rows.live_topic(row.topic)
    grant = live_grant(row, live)
    if grant is None:
        raise NotFound
    return grant, live


def live_of(subscription: Subscription, grant: Grant) -> LiveSubscription:
    """Return the subscription as an engine would know it, as far as a body depends on it."""
    endpoint = subscription.endpoint
    if endpoint is None:
        raise NotFound  # a pull group is sent nothing
    secrets = list(SigningSecret.objects.filter(endpoint=endpoint).signing())
    around = rows.Surroundings(
        partners=frozenset({subscription.partner_id}),
        endpoints={endpoint.id: rows.live_endpoint(endpoint, secrets, None)},
        topics={},
        grants={(grant.partner, grant.topic, grant.action): grant},
    )
    return rows.live_subscription(subscription, around, None)


def _delivery(
    live: LiveSubscription, topic: LiveTopic, record: Record, generation: int
) -> Delivery:
    settings = config.load()
    naming = Naming(
        crypto.parse_key(settings.id_key.get_secret_value()),
        starts.process_admin().cluster_id(),
        settings.base_url,
    )
    snapshot: Snapshot = replace(NOTHING, subscriptions={live.id: live}, topics={topic.name: topic})
    form = naming.lane(
        snapshot,
        live.id,
        topic=topic.name,
        partition=record.partition,
        generation=generation,
    )
    if form is None:
        raise NotFound
    delivery = Delivery(form, record, record.offset, fault=_fault(record, form))
    delivery.webhook_id = form.deliveries.of(record.offset)
    return delivery


def _fault(record: Record, form: request.LaneForm) -> str:
    if form.shape.format in ANY_BYTES:
        return ""
    try:
        envelope.check_value(record.value, form.shape.topic_format)
    except envelope.Undecodable:
        return UNDECODABLE
    return ""
