"""Makes the tenants of a run in the product's database, and their topics.

Run as ``python -m tests.torture.seed FILE``: a process of its own, because Django reads its
settings once. The file is JSON: ``mark``, ``count`` of tenants, ``ports`` of their sinks; the
answer is JSON on standard output, one object a tenant.
"""

import base64
import json
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import django

from tests.torture.tenants import PARTITIONS, SCHEDULE_S, TIMEOUT_MS, WANTED, Made, Tenant, Wanted


def main(path: Path) -> None:
    given = json.loads(path.read_text(encoding="utf-8"))
    django.setup()
    _roomy_plan()
    made = [
        _make(Tenant.numbered(number, given["mark"]), port, given["in_flight"])
        for number, port in enumerate(given["ports"])
    ]
    answer = [
        {"subscriptions": one.subscriptions, "secrets": one.secrets, "api_key": one.api_key}
        for one in made
    ]
    print(json.dumps(answer))


def _roomy_plan() -> None:
    from subscriptions.models import Plan  # noqa: PLC0415 - after django.setup

    wide = {"per_s": 1_000_000, "burst": 1_000_000}
    rules = {"key": dict.fromkeys(("requests", "control"), wide)}
    if not Plan.objects.filter(is_default=True).exists():
        Plan.objects.create(name="torture", is_default=True, rules=rules)


def _make(tenant: Tenant, port: int, in_flight: int) -> Made:
    """Make a partner with its topic, grant, key, and one endpoint and lane a subscription."""
    from kafkahub import clock, config  # noqa: PLC0415
    from kafkahub.kafka.admin import Admin  # noqa: PLC0415
    from kafkahub.kafka.options import admin_options  # noqa: PLC0415
    from subscriptions import models  # noqa: PLC0415

    Admin(admin_options(config.load())).create_topic(tenant.topic, PARTITIONS, deadline_s=30)
    partner = models.Partner.objects.create(name=tenant.topic)
    models.Topic.objects.create(name=tenant.topic)
    for action in ("read", "write"):
        models.Grant.objects.create(
            partner=partner,
            topic_id=tenant.topic,
            action=action,
            valid_until=clock.now() + timedelta(days=1),
        )
    made = Made(tenant, {}, {}, _api_key(partner))
    known = set(models.Subscription.Ordering.values)
    for wanted in WANTED:
        if wanted.ordering in known:
            _subscribe(made, partner, wanted, port=port, in_flight=in_flight)
    return made


def _subscribe(made: Made, partner: Any, wanted: Wanted, *, port: int, in_flight: int) -> None:
    """Make an endpoint, its secret, and a subscription that is owed everything."""
    from kafkahub import signing  # noqa: PLC0415
    from subscriptions import models  # noqa: PLC0415

    endpoint = models.Endpoint.objects.create(
        partner=partner,
        name=wanted.name,
        url=f"http://127.0.0.1:{port}/{wanted.name}",
        max_in_flight=in_flight,
        timeout_ms=TIMEOUT_MS,
        connect_timeout_ms=TIMEOUT_MS // 2,
    )
    secret = signing.new_secret()
    models.SigningSecret.objects.create(endpoint=endpoint, secret=secret)
    subscription = models.Subscription.objects.create(
        partner=partner,
        endpoint=endpoint,
        name=wanted.name,
        topics=[made.tenant.topic],
        ordering=wanted.ordering,
        filter={} if wanted.half is None else {"value": {"half": wanted.half}},
        retry_schedule_s=list(SCHEDULE_S),
        start="earliest",
    )
    for partition in range(PARTITIONS):
        models.LanePosition.objects.create(
            subscription=subscription,
            topic=made.tenant.topic,
            partition=partition,
            next_offset=0,
        )
    made.subscriptions[wanted.name] = subscription.id
    made.secrets[wanted.name] = base64.b64decode(secret.removeprefix("whsec_")).hex()


def _api_key(partner: Any) -> str:
    """Return a key of the partner that may read, write and look at its deliveries."""
    from subscriptions.actions.keys import Rights, create_key  # noqa: PLC0415
    from subscriptions.audit import Actor, ActorKind  # noqa: PLC0415

    scopes = frozenset({"webhooks:read", "deliveries:read", "topic:*:read", "topic:*:write"})
    rights = Rights(mode="live", scopes=scopes, topics=None, cidrs=frozenset())
    _, plain = create_key(Actor(ActorKind.SYSTEM, "torture"), partner.id, name="key", rights=rights)
    return str(plain)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
