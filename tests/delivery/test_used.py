"""What webhooks use is counted for their partner, by the hour."""

import pytest

from delivery import used
from delivery.attempts import AttemptRow
from delivery.batch import Batch
from subscriptions.models import UsageHour
from subscriptions.usage import Usage
from tests import factories

pytestmark = pytest.mark.django_db


def test_each_attempt_is_a_request_and_only_what_arrived_is_a_record() -> None:
    owner = factories.partner()
    counting = Usage()
    rows = [
        attempt(owner.id, "orders", "delivered"),
        attempt(owner.id, "orders", "failed"),
        attempt(owner.id, "invoices", "delivered"),
    ]

    used.note(Batch(1, attempts=rows), counting)
    counting.flush()

    hours = {row.topic: row for row in UsageHour.objects.filter(partner=owner, door="webhook")}
    assert (hours["orders"].requests, hours["orders"].records_out) == (2, 1)
    assert (hours["orders"].bytes_out, hours["invoices"].bytes_out) == (200, 100)


def attempt(partner: str, topic: str, outcome_class: str) -> AttemptRow:
    return AttemptRow(
        at_us=1_795_407_540_123_456,
        partner=partner,
        subscription="sub_1",
        endpoint="ep_1",
        delivery="msg_1",
        topic=topic,
        partition=0,
        offset=1,
        record_time_ms=None,
        key=None,
        number=1,
        kind="first",
        outcome=outcome_class,
        outcome_class=outcome_class,
        http_status=None,
        duration_us=1_000,
        timings_us=(0, 1, 2, 3, 4, 5),
        reused=True,
        request_bytes=100,
        response_excerpt=None,
        response_note=None,
        retry_after_s=None,
        next_attempt_us=None,
        secret_ids=(),
    )
