"""Stream tickets: made, looked up many at a time, and held against what is asked with them."""

import hashlib
import re
import secrets
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from django.db import DatabaseError, connection
from django.db.models import QuerySet

from kafkahub import clock
from kafkahub.errors import (
    Fault,
    Forbidden,
    Invalid,
    KeyExpired,
    OriginNotAllowed,
    Unauthenticated,
    Unavailable,
)
from subscriptions import plans
from subscriptions.authentication import api_key, member
from subscriptions.grants import Action, Principal
from subscriptions.models import Partner, StreamTicket

PREFIX = "kht_"
RANDOM_BYTES = 32
"""256 bits, 43 characters: nobody guesses one, so failures need no throttle of their own."""
NEAR = frozenset({"same-origin", "same-site"})

_FORM = re.compile(r"kht_[A-Za-z0-9_-]{43}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Ticket:
    """A ticket whose text was right, with all that decides what it opens.

    principal   who it opens for: its issuer, less all but the ticket's topics
    topics      in the order of its URL
    filter      None: the URL may bring one; so with ``format`` ""
    origin      the only page origin that may use it, or ""
    opened      whether a stream was opened with it before; until then it dies at ``open_before_ms``
    refusal     why it is over for good, or ""
    """

    id: str
    principal: Principal
    topics: tuple[str, ...]
    filter: object
    format: str
    transports: frozenset[str]
    origin: str
    produce: bool
    max_connections: int
    open_before_ms: int
    opened: bool
    refusal: str = ""

    @property
    def expires_at_ms(self) -> int:
        """Unix time in ms of its end, or of its issuer's where that is sooner."""
        return self.principal.expires_at_ms


@dataclass(frozen=True, slots=True, kw_only=True)
class Use:
    """What somebody who shows a ticket wants.

    topics      of the URL; None where they are named later, on a WebSocket
    parameters  names in the query
    origin      the ``Origin`` header, or None
    fetch_site  the ``Sec-Fetch-Site`` header, or None
    in_cookie   it came in the cookie, which other sites' pages send without meaning to
    """

    topics: Sequence[str] | None
    transport: str
    parameters: Collection[str] = ()
    origin: str | None = None
    fetch_site: str | None = None
    in_cookie: bool = False


def new_text() -> str:
    """Return the text of a fresh ticket."""
    return PREFIX + secrets.token_urlsafe(RANDOM_BYTES)


def digest(text: str) -> bytes:
    """Return the hash a ticket is found by; raise Unauthenticated for what is no ticket."""
    if not _FORM.fullmatch(text):
        raise unknown()
    return hashlib.sha256(text.encode()).digest()


def unknown() -> Unauthenticated:
    """Return the one answer to a ticket that is malformed or not there."""
    return Unauthenticated("The stream ticket is not accepted.")


def look_up(digests: Collection[bytes]) -> dict[bytes, Ticket]:
    """Return the tickets of these hashes that there are; by the unique index, and of all plans.

    Gives the thread's connection back, so a pool of threads holds none. Raises Unavailable.
    """
    rows = StreamTicket.objects.select_related(
        "issuer__partner", "member__user", "member__partner", "partner"
    )
    try:
        found = list(rows.filter(secret_hash__in=list(digests)))
        all_plans = plans.read() if found else plans.NONE
    except DatabaseError as error:
        raise Unavailable("Tickets cannot be checked right now.") from error
    finally:
        _give_back()
    return {bytes(row.secret_hash): known(row, all_plans) for row in found}


def mark_opened(ticket: str) -> None:
    """Write down that a first stream was opened in time: now it lives to its end.

    Raises KeyExpired when it was too late after all, Unavailable.
    """
    now = clock.now()
    rows = StreamTicket.objects.filter(pk=ticket, opened_at__isnull=True)
    try:
        changed = rows.filter(open_before__gt=now).update(opened_at=now)
        is_open = (
            changed or StreamTicket.objects.filter(pk=ticket, opened_at__isnull=False).exists()
        )
    except DatabaseError as error:
        raise Unavailable("Tickets cannot be checked right now.") from error
    finally:
        _give_back()
    if not is_open:
        raise _too_late()


def ended(tickets: Collection[str]) -> set[str]:
    """Return which of these ids are over: revoked, past their end, or with their issuer.

    For open streams, every few seconds: one query, by primary key. Raises Unavailable.
    """
    try:
        rows = StreamTicket.objects.select_related(
            "issuer__partner", "member__user", "member__partner", "partner"
        ).filter(pk__in=list(tickets))
        alive = {row.pk for row in rows if not _refusal(row)}
    except DatabaseError as error:
        raise Unavailable("Tickets cannot be checked right now.") from error
    finally:
        _give_back()
    return set(tickets) - alive


def _rows() -> QuerySet[StreamTicket]:
    return StreamTicket.objects.select_related(
        "issuer__partner", "member__user", "member__partner", "partner"
    )


def _give_back() -> None:
    if not connection.in_atomic_block:
        connection.close_if_unusable_or_obsolete()


def known(row: StreamTicket, all_plans: plans.Plans) -> Ticket:
    """Return a row, with issuer and partner, as a frozen value."""
    return Ticket(
        id=row.pk,
        principal=_principal(row, all_plans),
        topics=tuple(row.topics),
        filter=row.filter,
        format=row.format,
        transports=frozenset(row.transports),
        origin=row.origin,
        produce=row.produce,
        max_connections=row.max_connections,
        open_before_ms=_unix_ms(row.open_before),
        opened=row.opened_at is not None,
        refusal=_refusal(row),
    )


def _principal(row: StreamTicket, all_plans: plans.Plans) -> Principal:
    """Return whom the ticket opens for: what it holds and its issuer still has."""
    issuer = _issuer(row, all_plans)
    wanted: tuple[Action, ...] = ("read", "write") if row.produce else ("read",)
    scopes = frozenset(
        f"topic:{name}:{action}"
        for name in row.topics
        for action in wanted
        if issuer.may(name, action)
    )
    return replace(
        issuer,
        scopes=scopes,
        topics=frozenset(name for name in row.topics if issuer.reaches(name)),
        expires_at_ms=min(issuer.expires_at_ms, _unix_ms(row.expires_at)),
    )


def _issuer(row: StreamTicket, all_plans: plans.Plans) -> Principal:
    if row.issuer is not None:
        return api_key.known(row.issuer, all_plans).principal
    if row.member is None:
        raise AssertionError("a constraint gives every ticket an issuer")
    return member.principal(row.member, row.expires_at, all_plans)


def _refusal(row: StreamTicket) -> str:
    key, now = row.issuer, clock.now()
    if row.revoked_at is not None:
        return "The stream ticket was revoked."
    if row.expires_at <= now or (key is not None and key.expires_at <= now):
        return "The stream ticket has expired; ask for a new one."
    is_revoked = key is not None and key.revoked_at is not None
    if is_revoked or row.partner.status != Partner.Status.ACTIVE:
        return "The stream ticket ended with its issuer."
    return ""


def check(ticket: Ticket, use: Use, now_ms: int) -> None:
    """Return when the ticket opens what is asked for.

    Raises KeyExpired for one that is over or came too late, Unauthenticated for other topics or
    another transport, OriginNotAllowed, and Invalid for a parameter that the ticket has set.
    """
    if ticket.refusal or now_ms >= ticket.expires_at_ms:
        raise KeyExpired(ticket.refusal or "The stream ticket has expired; ask for a new one.")
    if not ticket.opened and now_ms >= ticket.open_before_ms:
        raise _too_late()
    if use.transport not in ticket.transports:
        raise Unauthenticated(f"The stream ticket is not for {use.transport}.")
    if use.topics is not None and set(use.topics) != set(ticket.topics):
        raise Unauthenticated("The stream ticket is for other topics.")
    _check_origin(ticket, use)
    fixed = [("filter", ticket.filter is not None), ("format", ticket.format != "")]
    found = [
        Fault("", "fixed_by_ticket", f"{name}: the ticket has set it.", {"parameter": name})
        for name, is_set in fixed
        if is_set and name in use.parameters
    ]
    if found:
        raise Invalid(found)


def _check_origin(ticket: Ticket, use: Use) -> None:
    """Raise OriginNotAllowed for a page that the ticket was not made for.

    A cookie goes with requests that its owner never meant, so it needs a page that is near, or
    exactly the ticket's; and it never opens a WebSocket.
    """
    is_exact = ticket.origin != "" and use.origin == ticket.origin
    is_own_page = use.origin is None and use.fetch_site == "same-origin"
    if ticket.origin and not (is_exact or is_own_page):
        raise OriginNotAllowed
    if use.in_cookie and use.transport != StreamTicket.Transport.SSE:
        raise Forbidden("A cookie opens no WebSocket; send the ticket in the URL.")
    if use.in_cookie and not (is_exact or use.fetch_site in NEAR):
        raise OriginNotAllowed


def _too_late() -> KeyExpired:
    return KeyExpired("The stream ticket was not opened in time; ask for a new one.")


def _unix_ms(moment: datetime) -> int:
    return int(moment.timestamp() * 1000)
