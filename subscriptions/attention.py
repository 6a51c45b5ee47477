"""What needs an operator now, as the tables of this app and its neighbours tell it."""

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path

from kafkahub import clock, config
from kafkahub.certificates import first_end
from kafkahub.errors import HubError
from subscriptions.issues import Finding, Kind
from subscriptions.models import Endpoint, Episode
from subscriptions.notice_types import Kind as NoticeKind

EXPIRES_WITHIN = timedelta(days=14)
KINDS = frozenset(
    {
        Kind.ENDPOINT_FAILING,
        Kind.ENDPOINT_DISABLED,
        Kind.LANE_BEHIND,
        Kind.KAFKA_UNREACHABLE,
        Kind.SECRET_EXPIRING,
    }
)
"""All that ``findings`` looks for."""
BY_US = ("failing", "gone")
"""Reasons for which endpoints are disabled without a person."""
EPISODES = {
    NoticeKind.ENDPOINT_FAILING.value: (Kind.ENDPOINT_FAILING, "has answered no request with 2xx"),
    NoticeKind.SUBSCRIPTION_BEHIND.value: (Kind.LANE_BEHIND, "is behind"),
}


def findings(now: datetime, ask_kafka: Callable[[], object]) -> list[Finding]:
    """Return what is the matter now.

    ask_kafka  raises a HubError while the brokers do not answer
    """
    return [
        *_disabled(),
        *_episodes(),
        *_kafka(ask_kafka),
        *_certificates(now),
    ]


def _disabled() -> Iterator[Finding]:
    rows = Endpoint.objects.filter(status=Endpoint.Status.DISABLED, status_reason__in=BY_US)
    for row in rows:
        text = f"Endpoint {row.name} was disabled: {row.status_reason}."
        yield Finding(Kind.ENDPOINT_DISABLED, row.pk, text, row.partner_id)


def _episodes() -> Iterator[Finding]:
    for row in Episode.objects.filter(type__in=EPISODES):
        kind, words = EPISODES[row.type]
        text = f"{row.subject} {words} since {clock.rfc3339(row.since)}."
        evidence = {"since": clock.rfc3339(row.since), "reason": row.detail}
        yield Finding(kind, row.subject, text, row.partner_id, evidence)


def _kafka(ask_kafka: Callable[[], object]) -> Iterator[Finding]:
    try:
        ask_kafka()
    except HubError as error:
        yield Finding(Kind.KAFKA_UNREACHABLE, "kafka", f"Kafka does not answer: {error.detail}")


def _certificates(now: datetime) -> Iterator[Finding]:
    settings = config.load()
    for path in {settings.tls_cert, settings.grpc_tls_cert} - {None}:
        ends = _end_of(path) if path is not None else None
        if ends is not None and ends - now < EXPIRES_WITHIN:
            text = f"Our certificate {path} ends on {ends:%d %b %Y %H:%M} UTC."
            yield Finding(Kind.SECRET_EXPIRING, str(path)[-160:], text)


def _end_of(path: Path) -> datetime | None:
    """Return when a certificate ends; None where this process cannot read it: others serve it."""
    try:
        return first_end([path.read_text(encoding="ascii")])
    except (OSError, ValueError):
        return None
