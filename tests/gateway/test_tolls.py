"""Opening, writing and reading through streams counts against limits, and for the hour."""

import asyncio
from concurrent.futures import ThreadPoolExecutor

import pytest

from gateway.http import Porter, Request
from gateway.tickets import TicketDesk
from gateway.tolls import SOCKET, STREAM, Tolls
from kafkahub import config
from kafkahub.errors import RateLimited, Unauthenticated
from kafkahub.limits import policies
from kafkahub.limits.limiter import Limiter
from subscriptions.grants import Principal
from subscriptions.models import UsageHour
from subscriptions.usage import Usage, Used
from tests import factories

TIGHT = policies.limits(
    [
        policies.Rule(policies.KEY, policies.REQUESTS, 0.001, 2),
        policies.Rule(policies.KEY, policies.RECORDS_IN, 0.001, 10),
        policies.Rule(policies.KEY, policies.RECORDS_OUT, 10, 10),
    ]
)


@pytest.fixture
def tolls() -> Tolls:
    url = config.load().redis_url.get_secret_value()
    return Tolls(Limiter(url, processes=1), Usage())


def alice(partner: str = "ptn_1") -> Principal:
    return Principal(
        partner=partner,
        kind="key",
        id="key_1",
        name="alice",
        mode="live",
        scopes=frozenset(),
        topics=None,
        expires_at_ms=2**50,
        limits=TIGHT,
    )


@pytest.mark.django_db
def test_what_is_used_is_counted_by_door_and_topic(tolls: Tolls) -> None:
    owner = factories.partner()
    reader = alice(owner.id)

    tolls.enter(reader, "203.0.113.1", "ndjson")
    tolls.sent(reader, "ndjson", "orders", 7, 700)
    tolls.bring(reader, "ws", "orders", records=3, size=30)
    tolls.wrote(reader, "ws", "orders", Used(records_in=2, records_failed=1))
    tolls.heard(reader, "ws", 40)
    tolls.usage.flush()

    hours = {(row.door, row.topic): row for row in UsageHour.objects.filter(partner=owner)}
    assert hours["sse", ""].requests == 1
    assert (hours["sse", "orders"].records_out, hours["sse", "orders"].bytes_out) == (7, 700)
    written = hours["websocket", "orders"]
    assert (written.records_in, written.records_failed, written.bytes_in) == (2, 1, 30)
    assert hours["websocket", ""].bytes_in == 40


@pytest.mark.django_db
def test_openings_over_the_rate_are_refused_and_counted(tolls: Tolls) -> None:
    owner = factories.partner()
    reader = alice(owner.id)
    for _ in range(2):
        tolls.enter(reader, "203.0.113.1", "sse")

    with pytest.raises(RateLimited) as refused:
        tolls.enter(reader, "203.0.113.1", "sse")
    tolls.usage.flush()

    assert refused.value.violated == ("requests",)
    assert (refused.value.retry_after_s or 0) >= 1
    row = UsageHour.objects.get(partner=owner, door="sse")
    assert (row.requests, row.refused) == (3, 1)


def test_a_batch_is_taken_as_a_whole_or_not_at_all(tolls: Tolls) -> None:
    writer = alice()
    tolls.bring(writer, "ws", "orders", records=8, size=10)

    with pytest.raises(RateLimited) as refused:
        tolls.bring(writer, "ws", "orders", records=3, size=10)

    assert refused.value.violated == ("records-in",)
    tolls.bring(writer, "ws", "orders", records=2, size=10)


def test_what_was_written_is_charged_always_and_says_how_long_to_wait(tolls: Tolls) -> None:
    reader = alice()

    assert tolls.sent(reader, "sse", "orders", 5, 50) == 0.0
    assert tolls.sent(reader, "sse", "orders", 100, 50) > 0.0
    assert tolls.sent(reader, "sse", "orders", 100, 50) > 10.0


def test_answers_name_the_policies_of_their_door(tolls: Tolls) -> None:
    stream = tolls.headers(alice(), STREAM)
    socket = tolls.headers(alice(), SOCKET)

    for name in ('"requests"', '"records-out"', '"bytes-out"'):
        assert name in stream["RateLimit-Policy"]
        assert name in socket["RateLimit-Policy"]
    assert '"records-in"' in socket["RateLimit-Policy"]
    assert '"requests";r=2;' in stream["RateLimit"]


def test_an_address_without_a_credential_pays_itself(tolls: Tolls) -> None:
    async def knock(times: int) -> list[type[BaseException]]:
        with ThreadPoolExecutor(1) as pool:
            porter = Porter(pool, TicketDesk(pool), tolls, is_secure=False)
            request = Request("GET", "/streams/orders", {}, (), "203.0.113.9")
            wishes = [porter.visitor(request, transport="sse", topics=None) for _ in range(times)]
            answers = await asyncio.gather(*wishes, return_exceptions=True)
        return [type(answer) for answer in answers if isinstance(answer, BaseException)]

    burst = policies.ANONYMOUS_RATE.burst

    refusals = asyncio.run(knock(2 * burst))

    assert set(refusals) == {Unauthenticated, RateLimited}
    assert refusals.count(Unauthenticated) >= burst // 4
