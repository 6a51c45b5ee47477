"""What engines tell of endpoints: gathered from windows, merged in PostgreSQL."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest

from delivery import health
from delivery.database import Conn
from delivery.health import Report
from delivery.models import EndpointStanding
from delivery.outcome import OutcomeClass
from delivery.window import Turns, Window
from subscriptions.models import Endpoint
from tests import factories

T0 = datetime(2026, 11, 23, 4, 0, tzinfo=UTC)
ONE, TWO = UUID(int=1), UUID(int=2)


def us(minutes: float) -> int:
    return int((T0 + timedelta(minutes=minutes)).timestamp() * 1e6)


def report(endpoint: str, **members: Any) -> Report:
    quiet = Report(endpoint, None, None, None, 0, "", None, 4, 0, False, False, None)
    return quiet._replace(**members)


@pytest.fixture
def endpoint(transactional_db: None) -> Endpoint:
    return factories.endpoint(factories.partner())


def told(endpoint: Endpoint, *reports: tuple[UUID, Report]) -> EndpointStanding:
    with factories.connect() as conn:
        for owner, one in reports:
            health.write(conn, owner, [one])
    return EndpointStanding.objects.get(pk=endpoint.pk)


def failing(endpoint: Endpoint, since: float, last: float, count: int) -> Report:
    return report(
        endpoint.pk,
        since_us=us(since),
        failure_us=us(last),
        failures=count,
        outcome="tcp_refused",
    )


def test_failures_add_up_until_a_success_begins_anew(endpoint: Endpoint) -> None:
    first = told(endpoint, (ONE, failing(endpoint, 1, 2, 3)), (ONE, failing(endpoint, 1, 5, 2)))
    assert (first.failures, first.failing_since) == (5, T0 + timedelta(minutes=1))
    assert first.last_outcome == "tcp_refused"

    then = told(endpoint, (ONE, report(endpoint.pk, success_us=us(6), failure_us=us(5))))

    assert (then.failures, then.failing_since) == (0, None)
    assert then.last_success_at == T0 + timedelta(minutes=6)


def test_a_success_of_one_engine_ends_what_failed_for_another(endpoint: Endpoint) -> None:
    then = told(
        endpoint,
        (ONE, failing(endpoint, 1, 2, 3)),
        (TWO, report(endpoint.pk, success_us=us(4))),
        (ONE, failing(endpoint, 1, 8, 1)),  # it failed before, and once after
    )

    assert (then.failures, then.failing_since) == (1, T0 + timedelta(minutes=8))


def test_an_older_success_told_again_ends_nothing(endpoint: Endpoint) -> None:
    then = told(
        endpoint,
        (ONE, report(endpoint.pk, success_us=us(1))),
        (ONE, failing(endpoint, 2, 3, 2)._replace(success_us=us(1))),
        (ONE, failing(endpoint, 2, 4, 1)._replace(success_us=us(1))),
    )

    assert (then.failures, then.failing_since) == (3, T0 + timedelta(minutes=2))


def test_each_engine_has_its_own_place(endpoint: Endpoint) -> None:
    then = told(
        endpoint,
        (ONE, report(endpoint.pk, size=8, in_flight=2)),
        (TWO, report(endpoint.pk, size=4, is_down=True, probe_us=us(9))),
        (ONE, report(endpoint.pk, size=9)),
    )

    assert then.engines[str(ONE)]["window"] == 9
    assert then.engines[str(TWO)]["is_down"] is True


def test_an_endpoint_that_is_gone_is_left_out(endpoint: Endpoint) -> None:
    told(endpoint, (ONE, report(endpoint.pk)), (ONE, report("ep_gone")))

    assert EndpointStanding.objects.count() == 1


def answered(window: Window, now: float, outcome_class: OutcomeClass) -> None:
    window.answered(outcome_class, 1_000, now)
    if outcome_class is not OutcomeClass.DELIVERED:
        window.failed.note("http_5xx", 500, now, window.delivered_at)


def test_a_report_tells_what_is_new_and_quiet_endpoints_are_left_out() -> None:
    turns = Turns()
    window = turns.window("ep_1", 32)
    turns.window("ep_quiet", 32)
    answered(window, 10, OutcomeClass.DELIVERED)
    for now in (11, 12, 13):
        answered(window, now, OutcomeClass.FAILED)

    [first] = health.gather(turns.windows(), 5, 13.5, int)
    answered(window, 14, OutcomeClass.FAILED)
    [second] = health.gather(turns.windows(), 13.5, 20, int)
    nothing = health.gather(turns.windows(), 20, 25, int)
    answered(window, 26, OutcomeClass.DELIVERED)
    [third] = health.gather(turns.windows(), 25, 30, int)

    assert (first.success_us, first.since_us, first.failure_us, first.failures) == (10, 11, 13, 3)
    assert (second.since_us, second.failures) == (11, 1)
    assert nothing == []
    assert (third.success_us, third.since_us, third.failures) == (26, None, 0)


def test_reports_never_wait_for_postgresql() -> None:
    reporter = health.Reporter(uuid4(), _away)

    for _ in range(10):
        reporter.submit([report("ep_1")])  # nobody writes them
    reporter.stop()


def _away() -> Conn:
    raise psycopg.OperationalError
