"""What the portal's pages cost the server: ``make bench-portal``; the last line is JSON.

Fills the attempt log of an empty database (``ATTEMPTS`` rows, 10 million unless told), then opens
each page ``TIMES`` times as a member. CPU time of this process, and time of the answer with the
database's share: p50 and p95 in ms.
"""

import json
import os
import statistics
import sys
import time
from collections.abc import Iterator

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "kafkahub.settings")
django.setup()

# ruff: noqa: E402 - what follows imports models
from django.contrib.auth.models import User
from django.core.management import call_command
from django.db import connection
from django.test import Client

from kafkahub import ids
from subscriptions.models import Member, Partner, Role
from tests import factories

ATTEMPTS = int(os.environ.get("ATTEMPTS", "10000000"))
TIMES = int(os.environ.get("TIMES", "40"))
BATCH = 250_000
PAGES = (
    "start", "start/steps", "console", "keys", "endpoints", "subscriptions", "deliveries",
    "deliveries?state=dead_letter", "deliveries?http_status=5xx", "replays", "usage", "alerts",
    "doctor", "api", "members",
)  # fmt: skip
FILL = """
INSERT INTO delivery_attempt (at, partner, subscription, endpoint, delivery, topic, partition,
    "offset", number, kind, outcome, outcome_class, http_status, duration_us, timings_us, reused,
    request_bytes, secret_ids)
SELECT now() - (n * interval '82800 seconds' / %(all)s), %(partner)s, %(subscription)s,
       %(endpoint)s, 'msg_' || lpad(n::text, 22, '0'), 'orders', n %% 12, n, 1, 'first',
       CASE WHEN n %% 50 = 0 THEN 'http_5xx' ELSE 'delivered' END,
       CASE WHEN n %% 50 = 0 THEN 'failed' ELSE 'delivered' END,
       CASE WHEN n %% 50 = 0 THEN 503 ELSE 204 END,
       12000, '{100,200,300,400,11000,12000}', true, 512, '{sec_1}'
  FROM generate_series(%(low)s::bigint, %(high)s::bigint) AS n
"""


def fill(partner: Partner) -> tuple[str, str]:
    """Write the log; return an endpoint and a subscription that it is of."""
    hook = factories.endpoint(partner)
    sub = factories.subscription(partner, hook)
    for low in range(1, ATTEMPTS + 1, BATCH):
        values: dict[str, str | int] = {
            "all": ATTEMPTS,
            "partner": partner.pk,
            "subscription": sub.pk,
            "endpoint": hook.pk,
            "low": low,
            "high": min(low + BATCH - 1, ATTEMPTS),
        }
        with connection.cursor() as cursor:
            cursor.execute("SET statement_timeout = 0")
            cursor.execute(FILL, values)
        print(f"{values['high']:,} of {ATTEMPTS:,}", file=sys.stderr)
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE delivery_attempt")
        cursor.execute("SET statement_timeout = '5s'")
    return hook.pk, sub.pk


def measured(client: Client, root: str, pages: Iterator[str]) -> dict[str, dict[str, float]]:
    found = {}
    for page in pages:
        took, cpu = [], []
        for _ in range(TIMES + 1):
            begun, begun_cpu = time.perf_counter(), time.process_time()
            response = client.get(f"{root}{page}")
            took.append((time.perf_counter() - begun) * 1e3)
            cpu.append((time.process_time() - begun_cpu) * 1e3)
            if response.status_code != 200:
                raise SystemExit(f"{page}: {response.status_code}")
        cuts = statistics.quantiles(took[1:], n=20)
        found[page] = {
            "p50_ms": round(statistics.median(took[1:]), 1),
            "p95_ms": round(cuts[-1], 1),
            "cpu_ms": round(statistics.median(cpu[1:]), 1),
        }
        print(page, found[page], file=sys.stderr)
    return found


def main() -> None:
    call_command("migrate", verbosity=0)
    factories.roomy_plan()
    partner = factories.partner(f"Bench {ids.new('b')}")
    factories.grant(partner)
    user = User.objects.create_user(f"{ids.new('b')}@bench.example")
    Member.objects.create(partner=partner, user=user, role=Role.OWNER)
    hook, sub = fill(partner)
    client = Client(HTTP_HOST="127.0.0.1")
    client.force_login(user)
    one = f"msg_{ATTEMPTS // 2:022}"
    more = (f"endpoints/{hook}", f"subscriptions/{sub}", f"deliveries/{one}")
    root = f"/portal/{partner.pk}/"
    pages = measured(client, root, iter((*PAGES, *more)))
    worst = max(pages.values(), key=lambda one: one["p95_ms"])
    print(json.dumps({"attempts": ATTEMPTS, "worst_p95_ms": worst["p95_ms"], "pages": pages}))


if __name__ == "__main__":
    main()
