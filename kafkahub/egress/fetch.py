"""One small request, blocking: handshakes, key sets, token URLs. Never for deliveries."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import pycurl

from kafkahub.certificates import ClientTls
from kafkahub.egress.curl import (
    BODY_CAP_BYTES,
    TRANSPORT_HEADERS,
    Answer,
    Method,
    Pins,
    Profile,
    Transfer,
    unsent,
)
from kafkahub.egress.resolver import Resolver
from kafkahub.egress.urls import Target

TIMEOUT_MS = 10_000
CONNECT_TIMEOUT_MS = 5_000


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked for.

    headers             ``name: value``
    timeout_ms          over everything: DNS, connecting, the answer to its last byte
    connect_timeout_ms  over TCP and TLS
    body_cap            bytes of the answer read at most; more makes its note ``capped``
    tls                 client certificate and authorities of the host's own
    """

    target: Target
    method: Method = "GET"
    headers: tuple[str, ...] = ()
    body: bytes = b""
    timeout_ms: int = TIMEOUT_MS
    connect_timeout_ms: int = CONNECT_TIMEOUT_MS
    body_cap: int = BODY_CAP_BYTES
    tls: ClientTls | None = None


class Exchange(NamedTuple):
    """An answer, and its headers by lower-case name."""

    answer: Answer
    headers: Mapping[str, str]


def fetch(request: Request, profile: Profile, resolver: Resolver) -> Answer:
    """Return what came of the request; a host that fails is an answer, not an exception."""
    return exchange(request, profile, resolver).answer


def exchange(request: Request, profile: Profile, resolver: Resolver) -> Exchange:
    """Do what ``fetch`` does, and bring the headers of the answer too."""
    started = time.monotonic()
    found = resolver.resolve(request.target.host, request.timeout_ms / 1000)
    spent_ms = int((time.monotonic() - started) * 1000)
    if found.fault:
        return Exchange(unsent(found.fault, spent_ms * 1000), {})
    transfer = Transfer(profile, Pins(), body_cap=request.body_cap, tls=request.tls)
    try:
        transfer.prepare(
            request.target,
            found.addresses,
            [*request.headers, *TRANSPORT_HEADERS],
            request.body,
            timeout_ms=max(1, request.timeout_ms - spent_ms),
            connect_timeout_ms=request.connect_timeout_ms,
            method=request.method,
        )
        answer = _perform(transfer)
        return Exchange(answer, transfer.headers())
    finally:
        transfer.close()


def _perform(transfer: Transfer) -> Answer:
    try:
        transfer.easy.perform()
    except pycurl.error as error:
        code, text = error.args
        return transfer.answer(code, text)
    return transfer.answer()
