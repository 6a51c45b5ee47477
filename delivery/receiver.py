"""Whether a receiver checks signatures: it must take what is good and refuse what is not.

Asks the endpoint, so nothing here may run inside a transaction.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta

from django.db import transaction

from delivery import handshake
from kafkahub import clock
from kafkahub.errors import Conflict, RateLimited
from subscriptions import audit
from subscriptions.audit import Actor, Verb
from subscriptions.live import LiveEndpoint
from subscriptions.models import AuditEvent, Endpoint

KIND = "kafkahub.receiver_check"
OLD_S = 600
"""Age of the signature that must be refused, in seconds: twice what receivers tolerate."""
PER_HOUR = 20
GOOD, REFUSAL = range(200, 300), range(400, 500)


@dataclass(frozen=True, slots=True)
class Sent:
    """One request and what the receiver made of it.

    outcome  what went wrong below HTTP, or None
    """

    name: str
    expected: str
    http_status: int | None
    outcome: str | None
    passed: bool
    duration_ms: float


def check(actor: Actor, endpoint: Endpoint) -> list[Sent]:
    """Send a good delivery, a forged one, an old one and the good one again; audited.

    Raises Conflict for an endpoint that is not verified or signs with nothing, and RateLimited
    after ``PER_HOUR``.
    """
    if not endpoint.is_verified:
        raise Conflict("The endpoint is not verified yet, so nothing is sent to it.")
    _limit(endpoint)
    sent = list(_sent(handshake.live(endpoint)))
    passed = sum(one.passed for one in sent)
    with transaction.atomic():
        audit.append(actor, Verb.RECEIVER_CHECKED, endpoint, {"passed": (None, passed)})
    return sent


def _sent(live: LiveEndpoint) -> Iterator[Sent]:
    now_s = clock.unix_seconds()
    good, forged = _content("a record as it was sent"), _content("a record that was changed")
    fresh = handshake.signed(live, good, unix_s=now_s)
    old = handshake.signed(live, good, unix_s=now_s - OLD_S)
    if fresh is None or old is None:
        raise Conflict("No secret of this endpoint opens; rotate it.")
    yield _tried(live, "good", fresh, good, GOOD)
    yield _tried(live, "changed body", fresh, forged, REFUSAL)
    yield _tried(live, "10 minutes old", old, good, REFUSAL)
    yield _tried(live, "the good one again", fresh, good, GOOD)


def _content(text: str) -> bytes:
    body = {"type": KIND, "timestamp": clock.rfc3339(clock.now()), "data": {"note": text}}
    return json.dumps(body, separators=(",", ":")).encode()


def _tried(
    live: LiveEndpoint, name: str, headers: tuple[str, ...], content: bytes, wanted: range
) -> Sent:
    answer = handshake.transmit(live, "POST", headers, content).answer
    return Sent(
        name=name,
        expected=f"{wanted.start // 100}xx",
        http_status=answer.status or None,
        outcome=answer.outcome,
        passed=answer.outcome is None and answer.status in wanted,
        duration_ms=answer.duration_us / 1000,
    )


def _limit(endpoint: Endpoint) -> None:
    # By the index on object_id.
    recent = AuditEvent.objects.filter(
        object_id=endpoint.pk,
        verb=Verb.RECEIVER_CHECKED,
        at__gt=clock.now() - timedelta(hours=1),
    )
    if recent.count() >= PER_HOUR:
        text = f"An endpoint is checked {PER_HOUR} times an hour at most."
        raise RateLimited(text, retry_after_s=600)
