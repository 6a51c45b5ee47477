"""Health and probes of endpoints by the control API."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta

import pytest

from delivery import ages, vitals
from delivery.ages import Times
from delivery.models import EndpointStanding
from kafkahub import clock, config
from kafkahub.kafka.options import producer_options
from kafkahub.kafka.producer import Producer
from kafkahub.kafka.record import Position
from subscriptions import limiting
from subscriptions.models import Endpoint, LanePosition
from tests import factories
from tests.api import Caller, json_of
from tests.conftest import MakeTopic
from tests.fakes import endpoint as fakes

pytestmark = pytest.mark.django_db
NOW = clock.now()


class Log:
    """A topic of 100 records, a minute apart, kept for an hour."""

    def ends(self, _: str) -> Mapping[int, tuple[int, int]]:
        return {0: (0, 100)}

    def kept_ms(self, _: str) -> int:
        return 3_600_000

    def first_times(self, positions: Sequence[Position]) -> Times:
        return {
            (one.topic, one.partition): NOW - timedelta(minutes=100 - one.offset)
            for one in positions
        }


LOG = Log()


def engine(**members: object) -> dict[str, object]:
    quiet = {"window": 4, "in_flight": 1, "is_down": False, "is_throttled": False}
    return {**quiet, "next_probe_at": None, "at": NOW.timestamp(), **members}


def standing(endpoint: Endpoint, *engines: dict[str, object], **members: object) -> None:
    named = {str(number): one for number, one in enumerate(engines)}
    EndpointStanding.objects.create(endpoint=endpoint.pk, engines=named, **members)


@pytest.fixture
def endpoint(alice: Caller) -> Endpoint:
    return factories.endpoint(alice.partner)


def test_an_endpoint_nothing_was_sent_to_is_healthy_and_unknown(
    alice: Caller, endpoint: Endpoint
) -> None:
    shown = json_of(alice.get(f"/endpoints/{endpoint.pk}/health"))

    assert shown["health"] == "healthy"
    assert shown["window"] is None
    assert shown["success_ratio"] == {"5m": None, "1h": None, "24h": None}
    assert shown["parked"] == {"scheduled": 0, "blocked": 0, "held": 0, "dead": 0}


def test_the_worst_engine_counts_and_an_old_one_does_not(endpoint: Endpoint) -> None:
    probe_at = NOW + timedelta(seconds=4)
    standing(
        endpoint,
        engine(window=8),
        engine(is_down=True, next_probe_at=probe_at.timestamp()),
        engine(window=99, at=NOW.timestamp() - 60),
        failing_since=NOW - timedelta(minutes=3),
        last_outcome="tcp_refused",
    )

    shown = vitals.of(endpoint, LOG, NOW)

    assert shown["health"] == "down"
    assert (shown["window"], shown["in_flight"]) == (12, 2)
    assert shown["next_probe_at"] == clock.rfc3339(probe_at)
    assert shown["disable_at"] == clock.rfc3339(NOW - timedelta(minutes=3) + timedelta(hours=120))


@pytest.mark.parametrize(
    ("minutes", "throttled", "health"),
    [(2, False, "failing"), (0.5, False, "healthy"), (0.5, True, "throttled")],
)
def test_failing_is_a_minute_without_success(
    endpoint: Endpoint, minutes: float, health: str, *, throttled: bool
) -> None:
    since = NOW - timedelta(minutes=minutes)
    standing(endpoint, engine(is_throttled=throttled), failing_since=since)

    assert vitals.of(endpoint, LOG, NOW)["health"] == health


def test_ratios_and_latencies_are_of_its_own_attempts(alice: Caller, endpoint: Endpoint) -> None:
    row = factories.parked(factories.subscription(alice.partner, endpoint))
    other = factories.parked(factories.subscription(alice.partner), 43)
    factories.attempt(row, at=NOW - timedelta(minutes=1), outcome_class="delivered")
    factories.attempt(row, at=NOW - timedelta(minutes=2), duration_us=9_000)
    factories.attempt(row, at=NOW - timedelta(minutes=30))
    factories.attempt(other, at=NOW - timedelta(minutes=1))

    shown = vitals.of(endpoint, LOG, NOW)

    assert shown["success_ratio"] == {"5m": 0.5, "1h": 0.3333, "24h": 0.3333}
    assert shown["latency_ms"] == {"p50": 9.0, "p99": 9.0}
    assert shown["parked"] == {"scheduled": 1, "blocked": 0, "held": 0, "dead": 0}


def test_lag_is_what_its_lanes_owe(alice: Caller, endpoint: Endpoint) -> None:
    owner = factories.subscription(alice.partner, endpoint)
    LanePosition.objects.create(
        subscription=owner, topic="orders", partition=0, state="behind", next_offset=70
    )

    shown = vitals.of(endpoint, LOG, NOW)

    assert shown["lag"] == {"records": 30, "seconds": 30 * 60}
    assert shown["oldest_undelivered_at"] == clock.rfc3339(NOW - timedelta(minutes=30))
    assert shown["headroom_s"] == 30 * 60


@pytest.mark.kafka
def test_ages_are_read_where_lanes_stand(topic: MakeTopic) -> None:
    name = topic(2)
    producer = Producer(producer_options(config.load()))
    for partition in (0, 1, 1):
        producer.produce(name, b"{}", partition=partition).result(timeout=15)
    producer.close()
    before = clock.now() - timedelta(minutes=1)

    both = ages.first_times([Position(name, 0, 0), Position(name, 1, 1)])
    none = ages.first_times([Position(name, 0, 1)])

    assert both is not None
    assert both.keys() == {(name, 0), (name, 1)}
    assert all(at > before for at in both.values())
    assert none is None  # nothing is owed there: it did not come in time


@pytest.fixture
def server() -> Iterator[fakes.Endpoint]:
    with fakes.Endpoint(fakes.status(503)) as server:
        yield server


def test_a_probe_tells_what_came_of_it_a_few_times_a_minute(
    alice: Caller, server: fakes.Endpoint
) -> None:
    endpoint = factories.endpoint(alice.partner, f"http://127.0.0.1:{server.port}/in")
    endpoint.secrets.create(secret="whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxw=")

    told = [alice.post(f"/endpoints/{endpoint.pk}/probe") for _ in range(7)]

    first = json_of(told[0])
    assert (first["ok"], first["http_status"], first["outcome"]) == (False, 503, "http_5xx")
    assert first["status"] == "active"
    # This process is alone with its share of the limit: Redis is not asked in tests.
    statuses = [answer.status_code for answer in told]
    assert statuses == sorted(statuses)
    assert statuses[-1] == 429


def test_two_good_probes_by_hand_enable_what_failing_disabled(
    alice: Caller, server: fakes.Endpoint
) -> None:
    server.script(fakes.ok())
    endpoint = factories.endpoint(alice.partner, f"http://127.0.0.1:{server.port}/in")
    endpoint.secrets.create(secret="whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxw=")
    Endpoint.objects.filter(pk=endpoint.pk).update(status="disabled", status_reason="failing")
    standing(endpoint, disabled_at=NOW)
    first = json_of(alice.post(f"/endpoints/{endpoint.pk}/probe"))
    EndpointStanding.objects.update(probe_good_at=NOW - timedelta(minutes=2))
    limiting.process_limiter.cache_clear()

    second = json_of(alice.post(f"/endpoints/{endpoint.pk}/probe"))

    assert (first["status"], second["status"]) == ("disabled", "active")
