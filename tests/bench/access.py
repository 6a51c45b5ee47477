"""What a request pays to be known, allowed and within its limits, and a record to be projected.

``python -m tests.bench.access`` prints one JSON line, in microseconds of CPU. No database and no
Kafka: everything is as warm as in a process that has seen the credential before. With the Redis
that ``KAFKAHUB_REDIS_URL`` names, as the limits are leased in production.
"""

import functools
import hashlib
import ipaddress
import json
import os
import sys
import threading
import time
from collections.abc import Callable
from datetime import timedelta

import django
import structlog

from kafkahub import clock, config
from kafkahub.kafka.record import Record
from kafkahub.limits import policies
from kafkahub.limits.limiter import Limiter
from kafkahub.limits.policies import Rule
from subscriptions import grant_rules, masks
from subscriptions.access import authorize, authorize_and_project
from subscriptions.authentication.known import Known
from subscriptions.grants import Grant, Principal
from subscriptions.live import LiveTopic
from subscriptions.projection import Projection, TopicForm

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "kafkahub.settings")
django.setup()
# Django's models are behind these.
from subscriptions.authentication.chain import Chain  # noqa: E402
from subscriptions.authentication.last_use import Use  # noqa: E402

NOW_MS = 1_795_407_540_123
RUNS = 7
TIMES = 20_000
WIDE = 10**9
"""Units a second and at once: nothing is ever refused here."""
HEADER = "Bearer khk_live_0123456789ab_" + "x" * 40 + "_abcdef"
ADDRESS = "192.0.2.7"
VALUE = json.dumps(
    {
        "id": 7,
        "country": "DE",
        "total": 12.5,
        "customer": {"name": "Jane Doe", "email": "jane@example.com", "card": "4" * 16},
        "items": [{"sku": f"sku-{number}", "price": 1.25, "cost": 0.5} for number in range(5)],
        "filler": "x" * 620,
    }
).encode()


def main() -> None:
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    limiter = whole_limiter()
    told = {**asked(limiter), "record_bytes": len(VALUE), **projected()}
    limiter.stop()
    print(json.dumps(told))


def asked(limiter: Limiter) -> dict[str, object]:
    """Return what the steps of one request take, and all of them together."""
    principal, chain = caller()
    topic = LiveTopic("orders", "json", "application/json", "constant", "", False, False, True)
    grants = {
        (f"ptn_{number}", "orders", "read"): Grant("g", f"ptn_{number}", "orders", "read", 1)
        for number in range(5_000)
    }
    cost = policies.cost(requests=1, topic="orders")

    def known() -> object:
        return chain.glance(HEADER, ADDRESS, "curl")

    def allowed() -> object:
        return authorize(
            principal, "orders", "read", grants=grants, topics={"orders": topic}, now_ms=NOW_MS
        )

    def within() -> object:
        return limiter.admit(principal, ADDRESS, cost)

    if known() is not principal or within() is not None:
        raise SystemExit("the caller of the benchmark is not let in")
    return {
        "authentication_us": best(known),
        "access_us": best(allowed),
        "limit_us": best(within),
        "request_us": best(lambda: (known(), allowed(), within())),
    }


def caller() -> tuple[Principal, Chain]:
    """Return somebody with every limit there is, and a memory that knows them."""
    rules = [Rule(scope, one, WIDE, WIDE) for scope in policies.SCOPES for one in policies.POLICIES]
    now = clock.now()
    principal = Principal(
        partner="ptn_1",
        kind="key",
        id="key_1",
        name="bench",
        mode="live",
        scopes=frozenset({"topic:*:read"}),
        topics=None,
        expires_at_ms=NOW_MS * 2,
        limits=policies.limits(rules),
    )
    networks = (ipaddress.IPv4Network("192.0.2.0/24"),)
    chain = Chain(monotonic_s=lambda: 0.0, looked_s=0.0)
    digest = hashlib.sha256(HEADER.encode("latin-1")).digest()
    chain.glanced[digest] = Known(principal, networks, now, now + timedelta(days=9))
    chain.last_use.note(Use(principal.id, now, ADDRESS, "curl"), 0.0)
    return principal, chain


def projected() -> dict[str, object]:
    """Return what one record takes under grants that hide more and more of it."""
    record = Record("orders", 0, 7, NOW_MS, b"k", VALUE, (("trace", b"t"),))
    return {
        f"{name}_us": best(functools.partial(authorize_and_project, record, grant, NOW_MS))
        for name, grant in ruled_grants().items()
    }


def ruled_grants() -> dict[str, Grant]:
    """Return grants by what they hide of the record."""
    form = TopicForm("orders", "json", "constant", "")
    key = masks.key_of(bytes(range(32)), "ptn_1")
    row = {"value": {"country": "DE", "total": {"$gte": 10}}}
    shown = ["/id", "/total", "/customer/card", "/items/*/price"]
    cases: dict[str, dict[str, object]] = {
        "whole": {},
        "key_rule": {"key_rule": {"prefix": "k"}},
        "row_filter": {"row_filter": row},
        "one_mask": {"masks": {"/customer/card": "last4"}},
        "fields_and_mask": {"fields": shown, "masks": {"/customer/card": "hash"}},
        "all": {"row_filter": row, "fields": shown, "masks": {"/customer/card": "hash"}},
    }
    made = {}
    for name, values in cases.items():
        rules = grant_rules.read(values, topic_format="json", history_from_ms=None)
        projection = None if rules.is_plain else Projection(rules, form, key, name)
        made[name] = Grant("grt_1", "ptn_1", "orders", "read", 1, projection=projection)
    return made


def whole_limiter() -> Limiter:
    """Return a limiter that leases from Redis, once it is reached."""
    together = threading.Event()
    limiter = Limiter(
        config.load().redis_url.get_secret_value(),
        processes=4,
        on_away=lambda is_away: None if is_away else together.set(),
    )
    limiter.start()
    together.wait(10)
    return limiter


def best(act: Callable[[], object]) -> float:
    """Return the microseconds of CPU that one call takes in the best of some runs."""
    found = float("inf")
    for _ in range(RUNS):
        begun_s = time.thread_time()
        for _ in range(TIMES):
            act()
        found = min(found, time.thread_time() - begun_s)
    return round(found / TIMES * 1e6, 2)


if __name__ == "__main__":
    main()
