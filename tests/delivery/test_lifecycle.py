"""Failing, warned, disabled, recovered: from stored facts and a clock that tests move."""

from collections.abc import Iterator
from datetime import datetime, timedelta

import jsonschema
import pytest

from delivery import lifecycle
from delivery.models import EndpointStanding
from kafkahub import clock
from subscriptions import notices
from subscriptions.models import Endpoint, Episode, LanePosition, Notice
from subscriptions.notice_types import Kind, schema
from tests import factories
from tests.fakes import endpoint as fakes

pytestmark = pytest.mark.django_db
T0 = clock.now()
HOUR = timedelta(hours=1)


@pytest.fixture
def endpoint() -> Endpoint:
    """Return an endpoint that has failed since T0 and is owed something."""
    return failing(factories.endpoint(factories.partner()))


def failing(endpoint: Endpoint, failures: int = 100) -> Endpoint:
    owner = factories.subscription(endpoint.partner, endpoint)
    LanePosition.objects.create(
        subscription=owner, topic="orders", partition=0, state="behind", next_offset=7
    )
    EndpointStanding.objects.create(
        endpoint=endpoint.pk,
        failing_since=T0,
        last_failure_at=T0,
        failures=failures,
        last_outcome="http_5xx",
        last_status=503,
    )
    return endpoint


def watched(after: timedelta) -> list[str]:
    """Return what a look so long after T0 tells of; failures went on until then."""
    before = set(Notice.objects.values_list("pk", flat=True))
    EndpointStanding.objects.filter(failing_since__isnull=False).update(last_failure_at=T0 + after)
    lifecycle.watch(T0 + after)
    fresh = Notice.objects.exclude(pk__in=before).order_by("id")
    for one in fresh:
        jsonschema.validate(notices.data(one), schema(Kind(one.type)))
    return [one.type.removeprefix("kafkahub.endpoint.") for one in fresh]


def status(endpoint: Endpoint) -> tuple[str, str]:
    row = Endpoint.objects.get(pk=endpoint.pk)
    return row.status, row.status_reason


def test_five_days_of_failure_step_by_step(endpoint: Endpoint) -> None:
    steps = {hours: watched(hours * HOUR) for hours in (0.2, 0.25, 1, 59, 60, 61, 84, 96, 108, 119)}
    end = watched(120 * HOUR)
    after = watched(121 * HOUR)

    assert steps == {
        0.2: [],
        0.25: ["failing"],
        1: [],
        59: [],
        60: ["warning"],
        61: [],
        84: ["warning"],
        96: ["warning"],
        108: ["warning"],
        119: [],
    }
    assert (end, after) == (["disabled"], [])
    assert status(endpoint) == ("disabled", "failing")


def test_steps_that_were_missed_are_told_of_once(endpoint: Endpoint) -> None:
    assert watched(100 * HOUR) == ["failing", "warning"]
    assert watched(101 * HOUR) == []


def test_nothing_owed_is_nothing_to_tell(endpoint: Endpoint) -> None:
    LanePosition.objects.update(state="live")

    assert watched(200 * HOUR) == []


@pytest.mark.parametrize(
    ("members", "last"),
    [({"failures": 19}, 120 * HOUR), ({}, 23 * HOUR)],
)
def test_few_failures_or_close_ones_disable_nothing(
    endpoint: Endpoint, members: dict[str, int], last: timedelta
) -> None:
    EndpointStanding.objects.update(last_failure_at=T0 + last, **members)

    lifecycle.watch(T0 + 120 * HOUR)

    assert status(endpoint) == ("active", "")


def test_who_asked_not_to_be_disabled_is_not(endpoint: Endpoint) -> None:
    Endpoint.objects.update(is_auto_disabled=False)

    assert watched(500 * HOUR) == ["failing"]
    assert status(endpoint) == ("active", "")


def test_recovery_is_told_once_and_a_new_failure_is_a_new_episode(endpoint: Endpoint) -> None:
    watched(1 * HOUR)
    EndpointStanding.objects.update(last_success_at=T0 + 2 * HOUR, failing_since=None, failures=0)

    assert watched(2 * HOUR) == ["recovered"]
    assert watched(3 * HOUR) == []
    EndpointStanding.objects.update(failing_since=T0 + 3 * HOUR)
    assert watched(4 * HOUR) == ["failing"]


def test_an_endpoint_that_is_gone_leaves_no_episode(endpoint: Endpoint) -> None:
    watched(1 * HOUR)
    endpoint.subscriptions.all().delete()
    endpoint.delete()

    assert watched(2 * HOUR) == []
    assert not Episode.objects.exists()


def test_what_a_person_enables_begins_anew(endpoint: Endpoint) -> None:
    watched(120 * HOUR)
    assert status(endpoint) == ("disabled", "failing")
    Endpoint.objects.update(status="active", status_reason="")

    lifecycle.watch(T0 + 121 * HOUR)

    assert status(endpoint) == ("active", "")
    row = EndpointStanding.objects.get()
    assert (row.failing_since, row.failures, row.disabled_at) == (None, 0, None)


def test_the_time_in_which_a_person_had_disabled_it_does_not_count(endpoint: Endpoint) -> None:
    Endpoint.objects.update(status="disabled", status_reason="manual")
    lifecycle.watch(T0 + 100 * HOUR)
    Endpoint.objects.update(status="active", status_reason="")

    assert watched(121 * HOUR) == []
    assert status(endpoint) == ("active", "")


def test_what_is_known_of_endpoints_that_are_gone_is_forgotten(endpoint: Endpoint) -> None:
    EndpointStanding.objects.create(endpoint="ep_gone")

    lifecycle.forget_gone()

    assert EndpointStanding.objects.get().endpoint == endpoint.pk


@pytest.fixture
def server() -> Iterator[fakes.Endpoint]:
    with fakes.Endpoint() as server:
        yield server


def disabled(server: fakes.Endpoint) -> Endpoint:
    target = factories.endpoint(factories.partner(), f"http://127.0.0.1:{server.port}/in")
    target.secrets.create(secret="whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxw=")
    failing(target)
    watched(120 * HOUR)
    assert status(target) == ("disabled", "failing")
    return target


def probed(at: datetime) -> int:
    return lifecycle.probe_due(at)


def test_two_good_probes_a_minute_apart_enable_it_again(server: fakes.Endpoint) -> None:
    endpoint = disabled(server)
    at = T0 + 120 * HOUR

    early = probed(at + timedelta(minutes=14))
    first = probed(at + timedelta(minutes=15))
    between = status(endpoint)
    second = probed(at + timedelta(minutes=16))

    assert (early, first, second) == (0, 1, 1)
    assert between == ("disabled", "failing")
    assert status(endpoint) == ("active", "")
    assert b"kafkahub.probe" in server.received[0].body
    assert watched(121 * HOUR) == ["recovered"]
    assert Notice.objects.filter(type=Kind.ENDPOINT_ENABLED).count() == 1


def test_a_bad_probe_begins_the_minute_anew(server: fakes.Endpoint) -> None:
    endpoint = disabled(server)
    server.script(fakes.ok(), fakes.status(500), fakes.ok())
    at = T0 + 120 * HOUR

    tried = [probed(at + timedelta(minutes=minute)) for minute in (15, 16, 17, 31, 32)]

    assert tried == [1, 1, 0, 1, 1]
    assert status(endpoint) == ("active", "")
    assert len(server.received) == 4


def test_probes_end_after_14_days_and_for_who_does_not_want_them(server: fakes.Endpoint) -> None:
    endpoint = disabled(server)

    assert probed(T0 + 120 * HOUR + timedelta(days=14, minutes=1)) == 0
    Endpoint.objects.filter(pk=endpoint.pk).update(is_auto_recovered=False)
    assert probed(T0 + 121 * HOUR) == 0


def test_what_a_person_disabled_meanwhile_stays_disabled(server: fakes.Endpoint) -> None:
    endpoint = disabled(server)
    Endpoint.objects.filter(pk=endpoint.pk).update(status_reason="operator")

    assert probed(T0 + 121 * HOUR) == 0
    assert status(endpoint) == ("disabled", "operator")
