"""What becomes of endpoints by showing, or not, that they want what they are sent."""

import hashlib
import secrets
from datetime import datetime, timedelta

from django.db import transaction

from kafkahub.errors import Conflict, NotFound, RateLimited
from subscriptions import audit, notices
from subscriptions.actions.rows import apply, lock
from subscriptions.audit import Actor, ActorKind, Verb
from subscriptions.models import Endpoint, Handshake, HandshakeRun
from subscriptions.notice_types import Kind

TRIES_AFTER = (timedelta(seconds=10), timedelta(seconds=60))
"""Waits before the second and the third try of one handshake; there is no fourth."""
GIVEN_UP_AFTER = timedelta(days=7)
PER_ENDPOINT, PER_HOST = 5, 20
"""Handshakes an hour with one endpoint, and with one host over all partners."""
HOUR = timedelta(hours=1)
CALLBACK_LIFE = timedelta(hours=1)
CLAIM = timedelta(seconds=60)
"""How long a try is left to the process that has begun it: its deadlines end it far earlier."""
SYSTEM = Actor(ActorKind.SYSTEM, "verification")

Status, Reason, Method = Endpoint.Status, Endpoint.StatusReason, Endpoint.Method
State = Handshake.State


def begin(endpoint: Endpoint, now: datetime) -> None:
    """Let a handshake begin, inside the caller's transaction, as soon as its limits allow.

    For an endpoint that is new, or dialled otherwise than when it was verified.
    """
    due_at = max(now, now if (free_at := _free_at(endpoint, now)) is None else free_at)
    HandshakeRun.objects.create(endpoint=endpoint.pk, host=endpoint.host, at=due_at)
    fresh = {"state": State.PENDING, "tries": 0, "due_at": due_at, "since": now, "detail": ""}
    Handshake.objects.update_or_create(endpoint=endpoint, defaults=fresh)


def begin_again(endpoint: Endpoint, method: Endpoint.Method | None, now: datetime) -> None:
    """Begin a handshake that somebody asks for; the first try is theirs to make, now.

    method  how, from now on; None: as before

    Raises RateLimited beyond the limits of an hour, Conflict for one that is trusted.
    """
    with transaction.atomic():
        row = lock(endpoint)
        if row.verification_method == Method.TRUSTED:
            raise Conflict("The endpoint is trusted: it needs no handshake.")
        if free_at := _free_at(row, now):
            wait_s = int((free_at - now).total_seconds()) + 1
            text = f"{PER_ENDPOINT} handshakes an hour for an endpoint, {PER_HOST} for a host."
            raise RateLimited(text, retry_after_s=wait_s)
        if method is not None:
            apply(row, {"verification_method": method})
        HandshakeRun.objects.create(endpoint=row.pk, host=row.host, at=now)
        again = {"state": State.PENDING, "tries": 0, "due_at": now + CLAIM, "last_at": now}
        Handshake.objects.update_or_create(
            endpoint=row, defaults=again, create_defaults={**again, "since": now}
        )


def _free_at(endpoint: Endpoint, now: datetime) -> datetime | None:
    """Return when another handshake may begin; None for now.

    By handshakes_of_endpoint and handshakes_of_host.
    """
    recent = HandshakeRun.objects.filter(at__gt=now - HOUR).order_by("-at")
    of_endpoint = recent.filter(endpoint=endpoint.pk).values_list("at", flat=True)
    of_host = recent.filter(host=endpoint.host).values_list("at", flat=True)
    ends = [
        found[-1] + HOUR
        for found, limit in (
            (list(of_endpoint[:PER_ENDPOINT]), PER_ENDPOINT),
            (list(of_host[:PER_HOST]), PER_HOST),
        )
        if len(found) == limit
    ]
    return max(ends, default=None)


def claim_due(now: datetime, limit: int) -> list[Endpoint]:
    """Return endpoints whose next try is due; no other process gets them for ``CLAIM``."""
    with transaction.atomic():
        due = Handshake.objects.filter(due_at__lte=now).order_by("due_at")
        rows = list(due.select_for_update(skip_locked=True, of=("self",))[:limit])
        ids = [row.endpoint_id for row in rows]
        Handshake.objects.filter(pk__in=ids).update(due_at=now + CLAIM)
    return list(Endpoint.objects.filter(pk__in=ids).select_related("handshake").order_by("pk"))


def new_callback(endpoint: Endpoint, now: datetime) -> str:
    """Return a token that consents for the endpoint, once, within an hour."""
    token = secrets.token_urlsafe(32)
    Handshake.objects.filter(endpoint=endpoint).update(
        callback_hash=_digest(token), callback_until=now + CALLBACK_LIFE
    )
    return token


def consent(token: str, now: datetime) -> None:
    """Verify the endpoint that was sent this token; raise NotFound for any other token."""
    with transaction.atomic():
        found = Handshake.objects.select_for_update(of=("self",)).filter(
            callback_hash=_digest(token), callback_until__gt=now
        )
        row = found.select_related("endpoint").first()  # few handshakes are under way
        if row is None:
            raise NotFound
        Handshake.objects.filter(pk=row.pk).update(callback_hash=None, callback_until=None)
        succeed(row.endpoint, row.endpoint.allowed_rate_per_min, now, why="by its callback")


def succeed(
    endpoint: Endpoint, allowed_rate: int | None, now: datetime, why: str = "by a handshake"
) -> bool:
    """Let an endpoint be sent to that has shown that it wants it.

    endpoint      as it was when the handshake began: if it changed meanwhile, nothing is shown
    allowed_rate  requests a minute that it consented to; None for any

    Returns whether that held. What the endpoint was disabled for otherwise stays as it is.
    """
    with transaction.atomic():
        row = lock(endpoint)
        if _dialled(row) != _dialled(endpoint):
            return False
        was_verified = row.is_verified
        wanted: dict[str, object] = {"is_verified": True, "allowed_rate_per_min": allowed_rate}
        if row.status == Status.UNVERIFIED or row.status_reason == Reason.UNVERIFIED:
            wanted |= {"status": Status.ACTIVE, "status_reason": Reason.NONE}
        changes = apply(row, wanted)
        done = {"state": State.VERIFIED, "detail": "", "due_at": None, "last_at": now}
        Handshake.objects.filter(endpoint=row).update(
            **done if was_verified else {**done, "since": now}
        )
        if not was_verified:
            _tell(row, Kind.ENDPOINT_VERIFIED, why)
        if changes:
            audit.append(SYSTEM, Verb.ENDPOINT_VERIFIED, row, changes, why)
    return True


def fail(endpoint: Endpoint, detail: str, now: datetime) -> None:
    """Note a try that failed: the next comes by itself, after the last the partner is told."""
    with transaction.atomic():
        row = Handshake.objects.select_for_update().filter(endpoint=endpoint).first()
        if row is None or row.state == State.VERIFIED:
            return
        row.tries += 1
        row.detail, row.last_at = detail[:500], now
        is_over = row.tries > len(TRIES_AFTER)
        row.due_at = None if is_over else now + TRIES_AFTER[row.tries - 1]
        row.state = State.FAILED if is_over else State.PENDING
        row.save(update_fields=["tries", "detail", "last_at", "due_at", "state"])
        if is_over:
            _tell(endpoint, Kind.ENDPOINT_VERIFICATION_FAILED, row.detail)


def withdraw(endpoint: Endpoint, detail: str, now: datetime) -> None:
    """Send nothing more to an endpoint that consents no more; it may consent again."""
    with transaction.atomic():
        row = lock(endpoint)
        changes = apply(row, unverified(row))
        Handshake.objects.filter(endpoint=row).update(
            state=State.FAILED, detail=detail[:500], due_at=None, last_at=now, since=now
        )
        if changes:
            _tell(row, Kind.ENDPOINT_VERIFICATION_FAILED, detail[:500])
            audit.append(SYSTEM, Verb.ENDPOINT_UNVERIFIED, row, changes, detail[:200])


def unverified(endpoint: Endpoint) -> dict[str, object]:
    """Return what an endpoint becomes whose proof does not hold any more."""
    wanted: dict[str, object] = {"is_verified": False, "allowed_rate_per_min": None}
    if endpoint.status == Status.ACTIVE:
        wanted["status"] = Status.UNVERIFIED
    return wanted


def trust(actor: Actor, endpoint: Endpoint, reason: str = "") -> Endpoint:
    """Vouch for an endpoint that cannot take part in a handshake; operators only."""
    with transaction.atomic():
        row = lock(endpoint)
        wanted: dict[str, object] = {"is_verified": True, "verification_method": Method.TRUSTED}
        if row.status == Status.UNVERIFIED or row.status_reason == Reason.UNVERIFIED:
            wanted |= {"status": Status.ACTIVE, "status_reason": Reason.NONE}
        changes = apply(row, wanted)
        Handshake.objects.filter(endpoint=row).delete()
        if "is_verified" in changes:
            _tell(row, Kind.ENDPOINT_VERIFIED, "by an operator")
        if changes:
            audit.append(actor, Verb.ENDPOINT_TRUSTED, row, changes, reason)
    return row


def give_up(now: datetime, limit: int) -> int:
    """Disable endpoints that were not verified in 7 days; return how many."""
    late = Endpoint.objects.filter(
        status=Status.UNVERIFIED, handshake__since__lt=now - GIVEN_UP_AFTER
    )  # by handshake_missing
    rows = list(late.order_by("pk")[:limit])
    for endpoint in rows:
        with transaction.atomic():
            row = lock(endpoint)
            if row.status != Status.UNVERIFIED:
                continue
            wanted = {"status": Status.DISABLED, "status_reason": Reason.UNVERIFIED}
            changes = apply(row, wanted)
            Handshake.objects.filter(endpoint=row).update(due_at=None)
            _tell(row, Kind.ENDPOINT_DISABLED, Reason.UNVERIFIED)
            audit.append(SYSTEM, Verb.ENDPOINT_DISABLED, row, changes, "not verified in 7 days")
    return len(rows)


def forget_runs(now: datetime) -> None:
    """Delete what the limits of an hour need no more."""
    HandshakeRun.objects.filter(at__lt=now - timedelta(days=1)).delete()


def _tell(endpoint: Endpoint, kind: Kind, reason: str) -> None:
    members = {"endpoint": endpoint.pk, "reason": reason, "by": SYSTEM.id}
    notices.write(kind, endpoint.partner_id, members, endpoint=endpoint.pk)


def _dialled(endpoint: Endpoint) -> tuple[str, str, str]:
    """Return what decides whom we speak with; sealed values as they stand."""
    auth, tls = endpoint.auth, endpoint.tls
    return endpoint.url, auth.sealed if auth else "", tls.sealed if tls else ""


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()
