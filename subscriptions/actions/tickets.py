"""Everything that is done to stream tickets. The text leaves these functions once."""

import threading
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from django.db import transaction

from kafkahub import clock
from kafkahub.errors import (
    ActionNotGranted,
    Fault,
    Forbidden,
    Invalid,
    NotFound,
    RateLimited,
)
from kafkahub.limits.gcra import Meter, Rate
from subscriptions import audit, ownership, streams
from subscriptions.actions.rows import lock
from subscriptions.audit import Actor, Verb
from subscriptions.authentication import tickets
from subscriptions.authentication.tickets import Ticket, Use
from subscriptions.grants import Action, Principal
from subscriptions.models import ApiKey, StreamTicket
from subscriptions.streams import Order

MAX_LIVE = 10_000
"""Live tickets of one partner: each open browser tab has one."""
RATE = Rate(per_s=50, burst=100)
"""Tickets one key makes, in each process."""
FULL_WAIT_S = 60
"""``Retry-After`` at ``MAX_LIVE``: an unopened ticket dies within this time by default."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What a ticket shall open.

    filter  None: the URL may bring one; so with ``format`` ""
    origin  in canonical form, or "" for pages of any origin
    """

    topics: tuple[str, ...]
    transports: tuple[str, ...]
    filter: object
    format: str
    origin: str
    produce: bool
    open_within: timedelta
    expires_in: timedelta
    max_connections: int


@dataclass(slots=True)
class Throttle:
    """Meters the keys of one process; shared by its threads."""

    meter: Meter = field(default_factory=lambda: Meter(RATE))
    lock: threading.Lock = field(default_factory=threading.Lock)

    def take(self, key: str) -> None:
        """Count one ticket of a key; raise RateLimited when it makes them too fast."""
        with self.lock:
            wait_s = self.meter.take(key, time.monotonic())
        if wait_s:
            text = f"A key makes {RATE.per_s:g} tickets a second at most."
            raise RateLimited(text, retry_after_s=int(wait_s) + 1)


process_throttle = Throttle()
"""The one of this process."""


def create_ticket(principal: Principal, wish: Wish) -> tuple[StreamTicket, str]:
    """Make a ticket; return its row and its text, which is kept nowhere.

    No audit row: a page makes one with every visit, and the row itself names its issuer.

    Raises NotFound for a topic that the issuer cannot read, ActionNotGranted and Forbidden where
    it lacks an action or scope, Invalid for an origin that its partner has not named, RateLimited.
    """
    process_throttle.take(principal.id)
    _check_topics(principal, wish)
    _check_origin(principal, wish.origin)
    issuer = _issuer(principal)
    if StreamTicket.objects.filter(partner_id=principal.partner).live().count() >= MAX_LIVE:
        text = f"A partner may have {MAX_LIVE} live tickets."
        raise RateLimited(text, retry_after_s=FULL_WAIT_S)
    text = tickets.new_text()
    now, end = clock.now(), datetime.fromtimestamp(principal.expires_at_ms / 1000, UTC)
    row = StreamTicket.objects.create(
        secret_hash=tickets.digest(text),
        partner_id=principal.partner,
        **issuer,
        topics=list(wish.topics),
        filter=wish.filter,
        format=wish.format,
        transports=list(wish.transports),
        origin=wish.origin,
        produce=wish.produce,
        max_connections=wish.max_connections,
        open_before=min(now + wish.open_within, end),
        expires_at=min(now + wish.expires_in, end),
    )
    return row, text


def revoke_ticket(actor: Actor, ticket: StreamTicket) -> StreamTicket:
    """End a ticket; its streams are closed within 5 s. One that was revoked stays as it is."""
    with transaction.atomic():
        row = lock(ticket)
        if row.revoked_at is not None:
            return row
        row.revoked_at = clock.now()
        row.save(update_fields=["revoked_at"])
        streams.give(Order(ticket=row.pk, reason="revoked"))
        changes = {"revoked_at": (None, row.revoked_at)}
        audit.append(actor, Verb.TICKET_REVOKED, row, changes)
    return row


def exchange(text: str, *, origin: str | None, fetch_site: str | None) -> Ticket:
    """Return the ticket that a page of the right origin wants as a cookie.

    Raises Unauthenticated, KeyExpired and OriginNotAllowed.
    """
    digest = tickets.digest(text)
    found = tickets.look_up([digest]).get(digest)
    if found is None:
        raise tickets.unknown()
    use = Use(topics=None, transport="sse", origin=origin, fetch_site=fetch_site, in_cookie=True)
    tickets.check(found, use, int(clock.now().timestamp() * 1000))
    return found


def _check_topics(principal: Principal, wish: Wish) -> None:
    wanted: tuple[Action, ...] = ("read", "write") if wish.produce else ("read",)
    seen = ownership.topics_of(principal)
    if not set(wish.topics) <= seen.keys():
        raise NotFound
    for name in wish.topics:
        for action in wanted:
            if action not in seen[name].actions:
                raise ActionNotGranted(f"The grant on {name} does not include {action}.")
            if not principal.may(name, action):
                raise Forbidden(f"The credential lacks the scope topic:{name}:{action}.")


def _check_origin(principal: Principal, origin: str) -> None:
    if origin and origin not in ownership.get_partner(principal.partner).allowed_origins:
        text = "The origin is not among the partner's allowed_origins; add it there first."
        raise Invalid([Fault("/origin", "origin_not_allowed", text)])


def _issuer(principal: Principal) -> dict[str, ApiKey | str]:
    """Return the column that says whose ticket it is; raise Forbidden for other credentials."""
    match principal.kind:
        case "key":
            return {"issuer": ownership.get_key(principal.partner, principal.id)}
        case "member":
            return {"member_id": principal.id}
    raise Forbidden("Stream tickets are made with an API key, whose end is theirs too.")
