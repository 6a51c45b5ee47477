"""Attempts as they stand in the log, for tests that only look at them."""

from typing import Any

from django.db import connection

from kafkahub import clock
from subscriptions.models import Subscription

USUAL: dict[str, Any] = {
    "delivery": "msg_0000000000000000000000",
    "topic": "orders",
    "partition": 0,
    "offset": 7,
    "number": 1,
    "kind": "first",
    "outcome": "http_5xx",
    "outcome_class": "failed",
    "http_status": 500,
    "duration_us": 12_345,
    "timings_us": [100, 200, 300, 400, 12_000, 12_345],
    "reused": False,
    "request_bytes": 321,
    "secret_ids": ["sec_1"],
}


def write(subscription: Subscription, **columns: Any) -> None:
    """Insert one attempt of a subscription; every column may be named."""
    values = {
        **USUAL,
        "at": clock.now(),
        "partner": subscription.partner_id,
        "subscription": subscription.pk,
        "endpoint": subscription.endpoint_id,
        **columns,
    }
    names = ", ".join(f'"{name}"' for name in values)
    places = ", ".join(["%s"] * len(values))
    with connection.cursor() as cursor:
        cursor.execute(
            f"INSERT INTO delivery_attempt ({names}) VALUES ({places})",  # noqa: S608 - names of ours
            list(values.values()),
        )


def clear() -> None:
    """Empty the log, which Django does not manage and so does not empty between tests."""
    with connection.cursor() as cursor:
        cursor.execute("TRUNCATE delivery_attempt")
