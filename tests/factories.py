"""Plain functions that make what a test needs; every member may be named, none must be."""

from contextlib import closing
from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

import psycopg
from django.contrib.auth.models import User
from django.db import connection

from delivery import ledger
from delivery.ledger import AttemptRow
from delivery.models import ParkedDelivery
from kafkahub import clock, ids
from subscriptions import streams
from subscriptions.actions.clients import ClientRights, create_client
from subscriptions.actions.keys import Rights, create_key
from subscriptions.actions.tickets import Wish, create_ticket
from subscriptions.audit import Actor, ActorKind
from subscriptions.authentication import api_key as api_key_values
from subscriptions.models import (
    ApiKey,
    Endpoint,
    Grant,
    Member,
    Notice,
    OAuthClient,
    Partner,
    Plan,
    Replay,
    ReplayProgress,
    Role,
    StreamTicket,
    Subscription,
    Topic,
)
from subscriptions.streams import OpenStream
from tests.api import Caller

Conn = psycopg.Connection[tuple[Any, ...]]


def partner(name: str = "") -> Partner:
    return Partner.objects.create(name=name or ids.new("acme"))


def member(owner: Partner, user: User, role: Role = Role.OWNER) -> Member:
    return Member.objects.create(partner=owner, user=user, role=role)


def topic(name: str = "orders", **members: object) -> Topic:
    made, _ = Topic.objects.get_or_create(name=name, defaults=members)
    return made


def grant(owner: Partner, topic_name: str = "orders") -> Grant:
    return Grant.objects.create(partner=owner, topic=topic(topic_name))


def endpoint(owner: Partner, url: str = "https://hooks.example.com/in") -> Endpoint:
    return Endpoint.objects.create(partner=owner, name="hook", url=url)


def subscription(
    owner: Partner, target: Endpoint | None = None, topics: tuple[str, ...] = ("orders",)
) -> Subscription:
    return Subscription.objects.create(
        partner=owner, endpoint=target or endpoint(owner), name="orders", topics=list(topics)
    )


def parked(
    owner: Subscription, offset: int = 42, *, lease_s: float = 60, **members: Any
) -> ParkedDelivery:
    """Return a row in state ``scheduled`` and due now, or as ``members`` say.

    lease_s  how long the claim of a row that is being sent lasts
    """
    now = clock.now()
    values: dict[str, Any] = {
        "id": f"msg_{ids.new('x')[-22:]}",
        "topic": owner.topics[0],
        "partition": 0,
        "offset": offset,
        "body": b'{"type":"orders","timestamp":null,"data":1}',
        "headers": {"content-type": "application/json"},
        "state": "scheduled",
        "attempts": 1,
        "sends": 1,
        "next_attempt_at": now,
    }
    values |= members
    if values["state"] == "sending":
        values |= {"claimed_by": uuid4(), "lease_until": now + timedelta(seconds=lease_s)}
    if values["state"] in {"dead", "discarded"}:
        values["next_attempt_at"] = None
    return ParkedDelivery.objects.create(subscription=owner, **values)


def attempt(row: ParkedDelivery, *, at: datetime | None = None, **members: Any) -> None:
    """Write one attempt of the delivery that the row stands for; a failed one unless told."""
    moment = at or clock.now()
    values = AttemptRow(
        at_us=int(moment.timestamp()) * 1_000_000 + moment.microsecond,
        partner=row.subscription.partner_id,
        subscription=row.subscription_id,
        endpoint=row.subscription.endpoint_id or "",
        delivery=row.pk,
        topic=row.topic,
        partition=row.partition,
        offset=row.offset,
        record_time_ms=None,
        key=None if row.key is None else bytes(row.key),
        number=1,
        kind="first",
        outcome="http_5xx",
        outcome_class="failed",
        http_status=None,
        duration_us=1_600,
        timings_us=(0, 100, 200, 300, 1_500, 1_600),
        reused=False,
        request_bytes=93,
        response_excerpt=None,
        response_note=None,
        retry_after_s=None,
        next_attempt_us=None,
        secret_ids=("sec_1",),
    )._replace(**members)
    connection.ensure_connection()
    with connection.connection.cursor() as cursor:
        ledger.copy_attempts(cursor, [values])


def replay(of: Subscription) -> Replay:
    """Return a replay of all of a subscription, still being counted."""
    made = Replay.objects.create(
        partner=of.partner, subscription=of, kind="kafka", source={"kafka": {"from": "earliest"}}
    )
    ReplayProgress.objects.create(replay=made)
    return made


def connect() -> closing[Conn]:
    """Return a connection of its own to the test's database, in autocommit mode."""
    settings = connection.settings_dict
    return closing(
        psycopg.connect(
            dbname=settings["NAME"],
            host=settings["HOST"],
            port=settings["PORT"],
            user=settings["USER"],
            password=settings["PASSWORD"],
            autocommit=True,
        )
    )


def roomy_plan() -> Plan:
    """Return a default plan under which no test meets a rate limit."""
    wide = {"per_s": 1_000_000, "burst": 1_000_000}
    rules = {"key": dict.fromkeys(("requests", "control", "records-in"), wide)}
    return Plan.objects.create(name="roomy", is_default=True, rules=rules)


def notice(owner: Partner) -> Notice:
    """Return something that the partner was told."""
    return Notice.objects.create(
        partner=owner, type="kafkahub.endpoint.disabled", text="The endpoint is disabled.", data={}
    )


ALL_SCOPES = (
    "webhooks:read",
    "webhooks:write",
    "deliveries:read",
    "deliveries:write",
    "keys:manage",
    "topic:*:read",
)


def api_key(owner: Partner, name: str = "key", **rights: Any) -> tuple[ApiKey, str]:
    """Return a key of the partner that may do everything but what ``rights`` narrows."""
    wanted = {"mode": "live", "scopes": frozenset(ALL_SCOPES), "topics": None} | rights
    system = Actor(kind=ActorKind.SYSTEM, id="tests")
    return create_key(
        system, owner.id, name=name, rights=Rights(**{"cidrs": frozenset(), **wanted})
    )


def ticket(issuer: Caller, **wishes: Any) -> tuple[StreamTicket, str]:
    """Return a ticket for ``orders`` that a caller's key made, and its text."""
    wish = {
        "topics": ("orders",),
        "transports": ("sse",),
        "filter": None,
        "format": "",
        "origin": "",
        "produce": False,
        "open_within": timedelta(seconds=60),
        "expires_in": timedelta(hours=1),
        "max_connections": 2,
    }
    principal = api_key_values.known(issuer.row).principal
    return create_ticket(principal, Wish(**{**wish, **wishes}))


def open_stream(reader: Caller, **members: Any) -> OpenStream:
    """Return a stream that a caller has open in some other web process."""
    values: dict[str, Any] = {
        "id": ids.new("str"),
        "partner": reader.partner.id,
        "transport": "sse",
        "key_id": reader.row.id,
        "ticket_id": None,
        "ip": "192.0.2.7",
        "user_agent": "curl/8",
        "origin": None,
        "topics": ("orders",),
        "filter": None,
        "format": "envelope",
        "opened_at_ms": 1_767_225_600_000,
        "expires_at_ms": None,
        "state": "live",
        "lag_records": 0,
        "lag_seconds": 0.0,
        "records": 7,
        "bytes": 700,
        "paused_ms": 0,
        "credit": None,
        "unacked": None,
        "process": f"test:{uuid4()}",
        "cursor": "AfK3kD",
    }
    stream = OpenStream(**{**values, **members})
    streams.publish(stream.process, [stream])
    return stream


def caller(owner: Partner, name: str = "key", **rights: Any) -> Caller:
    """Return a caller with a fresh key of the partner."""
    row, plain = api_key(owner, name, **rights)
    return Caller(owner, row, plain)


def client_rights(**rights: Any) -> ClientRights:
    """Return what a client may ask for: reading every topic, unless ``rights`` say otherwise."""
    wanted = {
        "mode": "live",
        "scopes": frozenset({"topic:*:read", "webhooks:read"}),
        "default_scopes": frozenset(),
        "topics": None,
        "cidrs": frozenset(),
        "may_introspect": False,
    }
    return ClientRights(**{**wanted, **rights})


def oauth_client(owner: Partner, name: str = "", **rights: Any) -> tuple[OAuthClient, str]:
    """Return an OAuth client of the partner and its secret."""
    system = Actor(kind=ActorKind.SYSTEM, id="tests")
    wanted = client_rights(**rights)
    return create_client(system, owner.id, name=name or ids.new("c"), rights=wanted)
