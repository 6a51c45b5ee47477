"""Whether an address could be an endpoint, step by step and before anything is saved.

Asks DNS and the host, so nothing here may run inside a transaction.
"""

import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from urllib.parse import urljoin

from delivery.words import Case, sentence
from kafkahub.egress.curl import Answer
from kafkahub.egress.fetch import Exchange, Request, exchange
from kafkahub.egress.urls import Target
from kafkahub.errors import Invalid, RateLimited
from kafkahub.limits.gcra import Meter, Rate
from subscriptions import verification

TIMEOUT_MS = 8_000
CONNECT_TIMEOUT_MS = 5_000
RATE = Rate(per_s=0.2, burst=10)
"""Checks of one partner, in each process: nobody may use us to feel out the Internet."""
REDIRECTS = range(300, 400)
LATER = "Asked when you save: it is sent a challenge that only your code can answer."


@dataclass(frozen=True, slots=True)
class Check:
    """One step.

    ok       None where it was not reached, or comes later
    took_ms  None where nothing was asked
    use      an address to enter instead, or ""
    """

    name: str
    ok: bool | None
    text: str = ""
    took_ms: float | None = None
    use: str = ""


@dataclass(slots=True)
class Throttle:
    """Meters the partners of one process; shared by its threads."""

    meter: Meter = field(default_factory=lambda: Meter(RATE))
    lock: threading.Lock = field(default_factory=threading.Lock)

    def take(self, partner: str) -> None:
        """Count one check; raise RateLimited when they come too fast."""
        with self.lock:
            wait_s = self.meter.take(partner, time.monotonic())
        if wait_s:
            text = "Too many addresses were checked just now; wait a moment."
            raise RateLimited(text, retry_after_s=int(wait_s) + 1)


process_throttle = Throttle()
"""The one of this process."""


def check(url: str, partner: str) -> list[Check]:
    """Return the six steps for an address; raise RateLimited.

    The request that is sent is an OPTIONS without a body: it asks nothing of the host.
    """
    process_throttle.take(partner)
    try:
        target = verification.parse_url(url)
    except Invalid as error:
        text = " ".join(fault.message for fault in error.faults)
        return [Check("URL", ok=False, text=text), *_unreached("DNS", "TCP", "TLS", "HTTP")]
    return [Check("URL", ok=True), *_asked(target), Check("Ownership", ok=None, text=LATER)]


def _asked(target: Target) -> Iterator[Check]:
    begun_s = time.monotonic()
    resolution = verification.resolver().resolve(target.host, verification.RESOLVE_S)
    took_ms = (time.monotonic() - begun_s) * 1000
    case = Case(target.host, target.port, waited_s=TIMEOUT_MS // 1000)
    if resolution.fault:
        yield Check("DNS", ok=False, text=sentence(resolution.fault, case), took_ms=took_ms)
        yield from _unreached("TCP", "TLS", "HTTP")
        return
    yield Check("DNS", ok=True, took_ms=took_ms)
    request = Request(
        target, "OPTIONS", timeout_ms=TIMEOUT_MS, connect_timeout_ms=CONNECT_TIMEOUT_MS
    )
    found = exchange(request, verification.profile(), verification.resolver())
    yield from _connected(target, found.answer, case)
    yield from _answered(target, found, case)


def _connected(target: Target, answer: Answer, case: Case) -> Iterator[Check]:
    """Yield the steps to a connection; of plain HTTP there is no TLS."""
    outcome = answer.outcome or ""
    text = sentence(outcome, case)
    if outcome in {"tcp_refused", "tcp_timeout", "address_denied"}:
        yield Check("TCP", ok=False, text=text)
        yield from _unreached("TLS")
        return
    yield Check("TCP", ok=True, took_ms=answer.timings.tcp / 1000)
    if not target.url.startswith("https:"):
        yield Check("TLS", ok=None, text="Plain HTTP: what is sent can be read on its way.")
    elif outcome.startswith("tls_"):
        yield Check("TLS", ok=False, text=text)
    else:
        yield Check("TLS", ok=True, took_ms=(answer.timings.tls - answer.timings.tcp) / 1000)


def _answered(target: Target, found: Exchange, case: Case) -> Iterator[Check]:
    answer, took_ms = found.answer, found.answer.duration_us / 1000
    if answer.outcome is not None:
        is_reached = not answer.outcome.startswith(("tls_", "tcp_refused", "tcp_timeout", "addr"))
        text = sentence(answer.outcome, case)
        yield Check("HTTP", ok=False, text=text) if is_reached else Check("HTTP", ok=None)
    elif answer.status in REDIRECTS:
        place = urljoin(target.url, found.headers.get("location", ""))
        text = f"{answer.status} to {place}. We never follow redirects; enter this URL instead."
        yield Check("HTTP", ok=False, text=text, took_ms=took_ms, use=place)
    else:
        yield Check("HTTP", ok=True, text=f"It answers ({answer.status}).", took_ms=took_ms)


def _unreached(*names: str) -> list[Check]:
    return [Check(name, ok=None) for name in names]
