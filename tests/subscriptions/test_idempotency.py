"""Repeating a POST under an ``Idempotency-Key``."""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
import time_machine
from django.db import connection

from kafkahub import clock
from subscriptions.models import Endpoint, IdempotencyKey
from tests import factories
from tests.api import Caller, json_of

BODY = {"url": "https://192.0.3.7/in"}


def test_a_repeat_gets_the_stored_answer_and_makes_nothing(alice: Caller) -> None:
    first = alice.post("/endpoints", BODY, idempotency_key="one")
    again = alice.post("/endpoints", BODY, idempotency_key="one")

    assert (again.status_code, again.content) == (first.status_code, first.content)
    assert again.headers["Idempotency-Replayed"] == "true"
    assert again.headers["ETag"] == first.headers["ETag"]
    assert again.headers["Location"] == first.headers["Location"]
    assert "Idempotency-Replayed" not in first.headers
    assert Endpoint.objects.count() == 1


def test_another_body_under_the_same_key_is_refused(alice: Caller) -> None:
    alice.post("/endpoints", BODY, idempotency_key="one")

    other = alice.post("/endpoints", {**BODY, "name": "x"}, idempotency_key="one")

    assert other.status_code == 422
    assert json_of(other)["code"] == "idempotency_key_reused"


def test_partners_do_not_share_keys(alice: Caller, charlie: Caller) -> None:
    alice.post("/endpoints", BODY, idempotency_key="one")

    assert (
        "Idempotency-Replayed"
        not in charlie.post("/endpoints", BODY, idempotency_key="one").headers
    )


def test_a_refused_request_keeps_nothing(alice: Caller) -> None:
    alice.post("/endpoints", {"url": "nonsense"}, idempotency_key="one")

    assert not IdempotencyKey.objects.exists()
    assert alice.post("/endpoints", BODY, idempotency_key="one").status_code == 201


def test_a_key_is_forgotten_after_a_day(alice: Caller) -> None:
    alice.post("/endpoints", BODY, idempotency_key="one")

    with time_machine.travel(clock.now() + timedelta(hours=25), tick=False):
        fresh = alice.post("/endpoints", {**BODY, "name": "x"}, idempotency_key="one")

    assert fresh.status_code == 201
    assert Endpoint.objects.count() == 2


def test_the_stored_answer_does_not_show_the_secret_in_it(alice: Caller) -> None:
    made = json_of(alice.post("/endpoints", BODY, idempotency_key="one"))

    stored = IdempotencyKey.objects.get()
    assert made["secret"].encode() not in bytes(stored.body)


@pytest.mark.parametrize("key", ["", "x" * 256, "a b", "é"])
def test_a_key_that_is_no_visible_ascii_is_refused(alice: Caller, key: str) -> None:
    refused = alice.post("/endpoints", BODY, idempotency_key=key)

    assert refused.status_code == 400
    assert not Endpoint.objects.exists()


def test_of_many_equal_requests_at_once_one_makes_the_object(transactional_db: None) -> None:
    factories.roomy_plan()
    owner = factories.partner()
    row, key = factories.api_key(owner)

    def send(_: int) -> int:
        try:
            return (
                Caller(owner, row, key).post("/endpoints", BODY, idempotency_key="one").status_code
            )
        finally:
            connection.close()

    with ThreadPoolExecutor(8) as pool:
        statuses = Counter(pool.map(send, range(50)))

    assert Endpoint.objects.count() == 1
    assert statuses.keys() <= {201, 409}
    assert statuses[201] >= 1
