"""From rows to the values of a snapshot; a value whose rows did not change is used again."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import NamedTuple
from urllib.parse import urlsplit

import structlog
from django.db import models

from kafkahub import clock, config, signing
from kafkahub.certificates import ClientTls
from kafkahub.crypto import SealBroken
from kafkahub.errors import Invalid
from kafkahub.fields import Sealed
from subscriptions.credentials import OAUTH2, OAuth2, authorization, client_tls
from subscriptions.filters.closures import Test, compile_filter
from subscriptions.filters.operators import Verdict
from subscriptions.filters.syntax import parse
from subscriptions.filters.view import View
from subscriptions.grants import Grant, Grants
from subscriptions.live import (
    BatchLimits,
    LiveEndpoint,
    LiveReplay,
    LiveSubscription,
    LiveTopic,
    SigningKey,
)
from subscriptions.models import Endpoint, Replay, SigningSecret, Subscription, Topic
from subscriptions.signatures import Signatures

log = structlog.get_logger()

Keys = tuple[SigningKey, ...]
Headers = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What decides, beside its own row, whether a subscription may send.

    partners  ids of the active ones
    """

    partners: frozenset[str]
    endpoints: Mapping[str, LiveEndpoint]
    topics: Mapping[str, LiveTopic]
    grants: Grants


def live_topic(row: Topic) -> LiveTopic:
    """Return a topic's row as a value."""
    return LiveTopic(
        name=row.name,
        format=row.format,
        content_type=row.content_type,
        type_source=row.type_source,
        type_value=row.type_value,
        is_sandbox=row.is_sandbox,
        is_sensitive=row.is_sensitive,
        is_enabled=row.is_enabled,
    )


def live_endpoint(
    row: Endpoint, secrets: Sequence[SigningSecret], old: LiveEndpoint | None
) -> LiveEndpoint:
    """Return an endpoint ready to send; ``secrets`` are those that sign, newest first."""
    source = [_source(row), *map(_source, secrets)]
    if old is not None and old.source == source:
        return old
    opened, fault = _opened(row, secrets)
    if fault:
        log.error("endpoint.found_unreadable", endpoint=row.id, reason=fault)
    return LiveEndpoint(
        id=row.id,
        partner=row.partner_id,
        url=row.url,
        status=row.status,
        timeout_ms=row.timeout_ms,
        connect_timeout_ms=row.connect_timeout_ms,
        max_in_flight=row.max_in_flight,
        max_body_bytes=row.max_body_bytes,
        headers=(*opened.headers, *_origin(row)),
        keys=opened.keys,
        is_unreadable=fault != "",
        version=row.version,
        source=source,
        tls=opened.tls,
        oauth2=opened.oauth2,
        signatures=None if row.signatures is None else Signatures.of(row.signatures),
        rate_per_s=_rate(row),
    )


def _origin(row: Endpoint) -> Headers:
    """Return the header by which an endpoint that consented as CloudEvents has it knows us."""
    if row.verification_method != Endpoint.Method.CLOUDEVENTS:
        return ()
    return (("webhook-request-origin", urlsplit(config.load().base_url).netloc),)


def _rate(row: Endpoint) -> float | None:
    """Return the requests a second an endpoint gets at most; None for no limit."""
    consented = row.allowed_rate_per_min
    limits = [row.rate_per_s, None if consented is None else consented / 60]
    return min((limit for limit in limits if limit is not None), default=None)


def live_subscription(
    row: Subscription, around: Surroundings, old: LiveSubscription | None
) -> LiveSubscription:
    """Return a subscription; the old object unless something it rests on has changed."""
    endpoint = around.endpoints[_endpoint_of(row)]
    grants = _grants_of(row, around.grants)
    source = _source(row)
    same = old if old is not None and old.source == source else None
    test, is_unreadable = (same.test, same.is_unreadable) if same else _compiled(row.filter, row.id)
    sending = not is_unreadable and _may_send(row, around)
    if same and same.endpoint is endpoint and same.grants == grants and same.sending == sending:
        return same
    return LiveSubscription(
        id=row.id,
        partner=row.partner_id,
        name=row.name,
        endpoint=endpoint,
        status=row.status,
        topics=tuple(row.topics),
        types=frozenset(row.types),
        test=test,
        format=row.format,
        include=tuple(row.include),
        ordering=row.ordering,
        schedule_s=tuple(row.retry_schedule_s),
        jitter=row.retry_jitter,
        holds=row.on_exhausted == Subscription.OnExhausted.HOLD,
        batch=None if row.batch is None else BatchLimits(**row.batch),
        trace=row.trace,
        grants=grants,
        sending=sending,
        is_unreadable=is_unreadable,
        version=row.version,
        source=source,
        seeks=row.seeks,
        rate_per_s=row.rate_per_s,
    )


def live_replay(row: Replay, base: LiveSubscription, around: Surroundings) -> LiveReplay:
    """Return a replay of a subscription, as it sends."""
    endpoint = base.endpoint if row.endpoint_id is None else around.endpoints[row.endpoint_id]
    live, is_unreadable = narrowed(base, row.filter, row.id)
    sending = (
        row.state == Replay.State.RUNNING
        and not (base.is_unreadable or is_unreadable)
        and base.status == Subscription.Status.ACTIVE
        and base.partner in around.partners
        and endpoint.status == Endpoint.Status.ACTIVE
        and base.grants.keys() >= set(base.topics)
    )
    return LiveReplay(
        id=row.id,
        # What it gives up is a dead letter: a held row would stop the subscription's own lane.
        live=replace(live, endpoint=endpoint, sending=sending, holds=False),
        rate_per_s=row.rate_per_s,
        only_missing=row.only_missing,
        is_over=row.state not in Replay.OPEN,
    )


def narrowed(base: LiveSubscription, written: object, owner: str) -> tuple[LiveSubscription, bool]:
    """Return a subscription that a second filter narrows, and whether that cannot be read."""
    test, is_unreadable = _compiled(written, owner)
    return replace(base, test=_both(base.test, test)), is_unreadable


def _both(first: Test | None, second: Test | None) -> Test | None:
    """Return the test that lets pass what both let pass."""
    if first is None or second is None:
        return first or second
    one, other = first.run, second.run

    def run(view: View) -> Verdict:
        verdict = one(view)
        return other(view) if verdict is True else verdict

    return Test(run, first.needs_value or second.needs_value, first.index)


def _source(row: models.Model) -> list[object]:
    """Return all columns of a fresh row, to compare; sealed ones as they stand.

    From the row's own dictionary: 5,000 of them are looked at for every change of one.
    """
    return [
        value.sealed if isinstance(value, Sealed) else value
        for name, value in vars(row).items()
        if name != "_state"
    ]


class Opened(NamedTuple):
    """What an endpoint has sealed; nothing of it where one part does not open."""

    keys: Keys = ()
    headers: Headers = ()
    tls: ClientTls | None = None
    oauth2: OAuth2 | None = None


def _opened(row: Endpoint, secrets: Sequence[SigningSecret]) -> tuple[Opened, str]:
    """Return what was sealed, and what is wrong: with one fault nothing may be sent."""
    try:
        keys = tuple(_signing_key(secret) for secret in secrets)
        headers = json.loads(row.headers.reveal()) if row.headers else {}
        tls = client_tls(json.loads(row.tls.reveal())) if row.tls else None
        auth = json.loads(row.auth.reveal()) if row.auth else None
        oauth2 = OAuth2.of(auth) if auth and auth["type"] == OAUTH2 else None
        if auth and oauth2 is None:
            headers["authorization"] = authorization(auth)
    except (SealBroken, ValueError) as error:
        return Opened(), str(error)
    fault = "" if keys else "no secret of it signs"
    return Opened(keys, tuple(headers.items()), tls, oauth2), fault


def _signing_key(secret: SigningSecret) -> SigningKey:
    return SigningKey(
        id=secret.id,
        kind=secret.kind,
        signer=signing.signer(secret.secret.reveal()),
        expires_at_ms=_unix_ms(secret.expires_at),
    )


def _compiled(written: object, owner: str) -> tuple[Test | None, bool]:
    """Return the filter's test, None for "everything", and whether it cannot be read."""
    if written == {}:
        return None, False
    try:
        return compile_filter(parse(written)), False
    except Invalid as error:
        fault = error.detail
    log.error("subscription.found_unreadable", subscription=owner, reason=fault)
    return None, True


def _grants_of(row: Subscription, grants: Grants) -> dict[str, Grant]:
    found = ((topic, grants.get((row.partner_id, topic, "read"))) for topic in row.topics)
    return {topic: grant for topic, grant in found if grant is not None}


def _may_send(row: Subscription, around: Surroundings) -> bool:
    """Return whether nothing but its own filter could still keep it from sending.

    ``around.grants`` are living ones: of an active partner, on an open topic. The endpoint of an
    unreadable secret stays in: that is an outcome of its attempts, which the partner sees.
    """
    now_ms = int(clock.now().timestamp() * 1_000)
    grants = [around.grants.get((row.partner_id, topic, "read")) for topic in row.topics]
    is_granted = all(grant is not None and not grant.is_spent(now_ms) for grant in grants)
    return (
        row.status == Subscription.Status.ACTIVE
        and row.partner_id in around.partners
        and around.endpoints[_endpoint_of(row)].status == Endpoint.Status.ACTIVE
        and is_granted
    )


def _unix_ms(moment: datetime | None) -> int | None:
    return None if moment is None else int(moment.timestamp() * 1_000)


def _endpoint_of(row: Subscription) -> str:
    if row.endpoint_id is None:
        raise ValueError("a pull group sends nothing")  # the snapshot holds webhooks only
    return row.endpoint_id
