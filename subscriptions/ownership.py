"""The door to rows: a partner's objects, or NotFound. Nobody else queries one of them by id.

Unknown, foreign and deleted ids are the same to the caller: every query starts at the tenant.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from django.db import models
from django.db.models import Q, QuerySet

from kafkahub import clock, ids
from kafkahub.errors import ActionNotGranted, NotFound
from subscriptions import grant_rows
from subscriptions.access import authorize
from subscriptions.grants import ACTIONS, Action, Grant, Grants, Principal
from subscriptions.models import (
    ApiKey,
    AuditEvent,
    Endpoint,
    Invitation,
    LanePosition,
    Member,
    Notice,
    Partner,
    Replay,
    SigningSecret,
    StreamTicket,
    Subscription,
    SupportVisit,
    Topic,
    UsageHour,
)
from subscriptions.models import Grant as GrantRow
from subscriptions.models.members import InvitationQuerySet
from subscriptions.models.tickets import StreamTicketQuerySet

Row = TypeVar("Row", bound=models.Model)


def endpoints_of(partner: str) -> QuerySet[Endpoint]:
    """Return the partner's endpoints."""
    return Endpoint.objects.filter(partner_id=partner).select_related("handshake")


def subscriptions_of(partner: str) -> QuerySet[Subscription]:
    """Return the partner's subscriptions with their endpoint and partner."""
    return Subscription.objects.filter(partner_id=partner).select_related("endpoint", "partner")


def replays_of(partner: str) -> QuerySet[Replay]:
    """Return the partner's replays with all that is shown of them."""
    return Replay.objects.filter(partner_id=partner).select_related(
        "subscription__endpoint", "endpoint", "progress"
    )


def keys_of(partner: str) -> QuerySet[ApiKey]:
    """Return the partner's API keys."""
    return ApiKey.objects.filter(partner_id=partner)


def members_of(partner: str) -> QuerySet[Member]:
    """Return the partner's members with their accounts, in the order they came."""
    return (
        Member.objects.filter(partner_id=partner).select_related("user", "partner").order_by("id")
    )


def invitations_of(partner: str) -> InvitationQuerySet:
    """Return the partner's invitations, used and ended ones too."""
    rows: InvitationQuerySet = Invitation.objects.filter(partner_id=partner)
    return rows


def visits_of(partner: str) -> QuerySet[SupportVisit]:
    """Return the visits of support to the partner's portal, newest first. By its index."""
    return SupportVisit.objects.filter(partner_id=partner)


def audit_of(partner: str) -> QuerySet[AuditEvent]:
    """Return what was done to the partner's objects, by whomever."""
    return AuditEvent.objects.filter(partner=partner)


def tickets_of(principal: Principal) -> StreamTicketQuerySet:
    """Return the stream tickets that this key made; with ``keys:manage`` all of its partner."""
    rows: StreamTicketQuerySet = StreamTicket.objects.filter(partner_id=principal.partner)
    if principal.has("keys:manage"):
        return rows
    own = Q(member_id=principal.id) if principal.kind == "member" else Q(issuer_id=principal.id)
    return rows.filter(own)


def is_any_partners_origin(origin: str) -> bool:
    """Return whether some active partner lets pages of this origin in; says not which."""
    active = Partner.objects.filter(status=Partner.Status.ACTIVE)
    return active.filter(allowed_origins__contains=[origin]).exists()


def secrets_of(endpoint: Endpoint) -> QuerySet[SigningSecret]:
    """Return the secrets of an endpoint that was got from here."""
    return SigningSecret.objects.filter(endpoint=endpoint)


def lanes_of(subscription: Subscription) -> QuerySet[LanePosition]:
    """Return the lane rows of a subscription that was got from here."""
    return LanePosition.objects.filter(subscription=subscription)


def notices_of(partner: str) -> QuerySet[Notice]:
    """Return what the partner was told."""
    return Notice.objects.filter(partner_id=partner)


def get_notice(partner: str, notice: str) -> Notice:
    """Return one thing that the partner was told."""
    return _one(notices_of(partner), notice, "ntc")


def usage_of(principal: Principal) -> QuerySet[UsageHour]:
    """Return what the partner used, of the topics that exist for this principal and of none."""
    seen = ["", *topics_of(principal)]
    return UsageHour.objects.filter(partner_id=principal.partner, topic__in=seen)


@dataclass(frozen=True, slots=True)
class SeenTopic:
    """A topic that exists for a principal, and what the grants let it do there.

    is_filtered  whether records are hidden
    is_masked    whether values are shown in part only
    example      a value as the partner sees it, or None
    """

    topic: Topic
    actions: tuple[Action, ...]
    is_filtered: bool = False
    is_masked: bool = False
    example: object = None


def topics_of(principal: Principal) -> dict[str, SeenTopic]:
    """Return the topics that exist for this principal, by name and in its order."""
    rows = list(
        GrantRow.objects.alive()
        .filter(partner_id=principal.partner)
        .select_related("topic")
        .order_by("topic_id", "action")
    )
    grants: Grants = {(row.partner_id, row.topic_id, _action(row)): _grant(row) for row in rows}
    topics = {row.topic_id: row.topic for row in rows}
    seen: dict[str, SeenTopic] = {}
    for name, topic in topics.items():
        allowed = tuple(
            action
            for action in ACTIONS
            if _may(principal, name, action, grants=grants, topics=topics)
        )
        if allowed:
            own = [row for row in rows if row.topic_id == name and row.action in allowed]
            seen[name] = SeenTopic(
                topic,
                allowed,
                is_filtered=any(row.is_filtered for row in own),
                is_masked=any(row.is_masked for row in own),
                example=_example(topic, own),
            )
    return seen


def _example(topic: Topic, own: Sequence[GrantRow]) -> object:
    """Return the topic's example as these grants show it."""
    example: object = topic.example
    for row in own:
        if example is not None and row.is_masked:
            example = grant_rows.shown_value(row, topic, example)
    return example


@dataclass(frozen=True, slots=True)
class Telling:
    """What may be told of places and keys in the topics that a partner may read now.

    placed  topics whose partitions and offsets are shown
    plain   topics whose cursors are in the open; those of any other are sealed
    hashed  topics whose keys are hidden
    """

    placed: frozenset[str]
    plain: frozenset[str]
    hashed: frozenset[str]


def telling_of(partner: str) -> Telling:
    """Return what may be told a partner, whichever key asks."""
    rows = list(GrantRow.objects.alive().filter(partner_id=partner, action=GrantRow.Action.READ))
    placed = frozenset(row.topic_id for row in rows if not row.is_filtered)
    return Telling(
        placed=placed,
        plain=placed - {row.topic_id for row in rows if row.is_masked},
        hashed=frozenset(row.topic_id for row in rows if not row.key_visible),
    )


def readable_names(partner: str) -> frozenset[str]:
    """Return the topics that a partner may read now, whichever key asks."""
    alive = GrantRow.objects.alive().filter(partner_id=partner, action=GrantRow.Action.READ)
    return frozenset(alive.values_list("topic_id", flat=True))


def get_topic(principal: Principal, name: str) -> SeenTopic:
    """Return a topic that exists for the principal."""
    seen = topics_of(principal).get(name)
    if seen is None:
        raise NotFound
    return seen


def _may(
    principal: Principal,
    topic: str,
    action: Action,
    *,
    grants: Grants,
    topics: Mapping[str, Topic],
) -> bool:
    now_ms = int(clock.now().timestamp() * 1000)
    try:
        authorize(principal, topic, action, grants=grants, topics=topics, now_ms=now_ms)
    except (NotFound, ActionNotGranted):
        return False
    return True


def _action(row: GrantRow) -> Action:
    return "write" if row.action == GrantRow.Action.WRITE else "read"


def _grant(row: GrantRow) -> Grant:
    until = row.valid_until
    return Grant(
        id=row.id,
        partner=row.partner_id,
        topic=row.topic_id,
        action=_action(row),
        version=row.version,
        valid_until_ms=None if until is None else int(until.timestamp() * 1000),
    )


def get_partner(partner: str, *, lock: bool = False) -> Partner:
    """Return the partner itself; ``lock`` holds it to the end of the transaction."""
    return _one(Partner.objects.all(), partner, "ptn", lock=lock)


def get_endpoint(partner: str, endpoint: str, *, lock: bool = False) -> Endpoint:
    """Return the partner's endpoint; ``lock`` holds it to the end of the transaction."""
    return _one(endpoints_of(partner), endpoint, "ep", lock=lock)


def get_subscription(partner: str, subscription: str, *, lock: bool = False) -> Subscription:
    """Return the partner's subscription; ``lock`` holds it to the end of the transaction."""
    return _one(subscriptions_of(partner), subscription, "sub", lock=lock)


def get_replay(partner: str, replay: str) -> Replay:
    """Return the partner's replay."""
    return _one(replays_of(partner), replay, "rep")


def get_key(partner: str, key: str, *, lock: bool = False) -> ApiKey:
    """Return the partner's API key; ``lock`` holds it to the end of the transaction."""
    return _one(keys_of(partner), key, "key", lock=lock)


def get_member(partner: str, member: str) -> Member:
    """Return the partner's member."""
    return _one(members_of(partner), member, "mem")


def get_invitation(partner: str, invitation: str) -> Invitation:
    """Return the partner's invitation."""
    return _one(invitations_of(partner), invitation, "inv")


def get_ticket(principal: Principal, ticket: str) -> StreamTicket:
    """Return a stream ticket that the principal may see."""
    return _one(tickets_of(principal), ticket, "tkt")


def get_secret(endpoint: Endpoint, secret: str, *, lock: bool = False) -> SigningSecret:
    """Return a secret of an endpoint that was got from here."""
    return _one(secrets_of(endpoint), secret, "sec", lock=lock)


def _one(rows: QuerySet[Row], key: str, prefix: str, *, lock: bool = False) -> Row:
    if not ids.is_id(key, prefix):
        raise NotFound
    if lock:
        rows = rows.select_for_update(of=("self",), no_key=True)
    row = rows.filter(pk=key).first()
    if row is None:
        raise NotFound
    return row
