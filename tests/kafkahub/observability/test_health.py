"""Probes: what makes a process ready, degraded or unready, and who is told why."""

import json
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from kafkahub import config
from kafkahub.observability import health


class Neighbour:
    """A neighbour that answers or not."""

    def __init__(self) -> None:
        self.is_up = True

    def __call__(self) -> None:
        if not self.is_up:
            raise ConnectionError("refused by 10.0.0.7")


class Clock:
    """A monotonic clock that a test moves."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def watch_of(clock: Callable[[], float], **looks: Callable[[], None]) -> health.Watch:
    probes = {
        name: health.Probe(look, max_age_s=10, required=name != "redis")
        for name, look in looks.items()
    }
    return health.Watch(probes, clock)


@pytest.fixture
def clock() -> Clock:
    return Clock()


def looked(watch: health.Watch, *names: str) -> health.Watch:
    for name in names:
        watch.look(name)
    return watch


def test_nothing_is_ready_before_it_was_seen(clock: Clock) -> None:
    watch = watch_of(clock, postgres=Neighbour())

    assert watch.readiness().status == "unready"
    assert watch.readiness().http_status == 503


def test_a_process_whose_neighbours_answer_is_ready(clock: Clock) -> None:
    names = ("postgres", "kafka", "redis")
    watch = looked(watch_of(clock, **{name: Neighbour() for name in names}), *names)

    assert watch.readiness().status == "ready"
    assert watch.readiness().http_status == 200


def test_without_redis_a_process_is_degraded_and_still_gets_traffic(clock: Clock) -> None:
    redis = Neighbour()
    redis.is_up = False
    watch = looked(watch_of(clock, postgres=Neighbour(), redis=redis), "postgres", "redis")

    assert watch.readiness().status == "degraded"
    assert watch.readiness().http_status == 200


@given(age_s=st.floats(0, 60))
def test_one_missed_look_is_forgiven_until_the_last_answer_is_too_old(age_s: float) -> None:
    clock, postgres = Clock(), Neighbour()
    watch = looked(watch_of(clock, postgres=postgres), "postgres")
    postgres.is_up = False
    clock.now_s += age_s
    watch.look("postgres")

    part = watch.readiness().parts["postgres"]

    assert part.ok is (round(age_s, 1) <= 10)
    assert part.error == "ConnectionError"


def test_a_draining_process_is_unready_at_once(clock: Clock) -> None:
    watch = looked(watch_of(clock, postgres=Neighbour()), "postgres")

    watch.stop()

    assert watch.readiness().status == "unready"


def test_the_public_is_told_the_status_only(clock: Clock) -> None:
    readiness = looked(watch_of(clock, postgres=Neighbour()), "postgres").readiness()

    assert json.loads(readiness.body(with_parts=False)) == {"status": "ready"}
    assert json.loads(readiness.body(with_parts=True)) == {
        "status": "ready",
        "parts": {"postgres": {"ok": True, "age_s": 0.0, "error": None}},
    }


def test_losing_and_finding_a_neighbour_is_told_once_each(clock: Clock) -> None:
    postgres = Neighbour()
    watch = watch_of(clock, postgres=postgres)
    with capture_logs() as lines:
        for is_up in (True, False, False, True, True):
            postgres.is_up = is_up
            watch.look("postgres")

    assert [line["event"] for line in lines] == ["neighbour.lost", "neighbour.returned"]
    assert "10.0.0.7" not in str(lines)


def test_an_unknown_path_is_not_found(clock: Clock) -> None:
    assert health.answer("/other", watch_of(clock), with_parts=True).status == 404


def test_liveness_asks_nobody(clock: Clock) -> None:
    assert health.answer("/livez", watch_of(clock), with_parts=False).status == 200


def test_real_postgres_and_redis_are_seen_and_the_clocks_compared() -> None:
    probes = health.neighbours(config.load(), lambda: None)
    watch = looked(health.Watch(probes), "postgres", "postgres", "redis")

    parts = watch.readiness().parts
    watch.stop()

    assert parts["postgres"].ok
    assert parts["redis"].ok


def test_a_postgres_connection_that_broke_is_made_anew() -> None:
    look = health.PostgresLook(config.load().database_url.get_secret_value())
    look()
    assert look.connection is not None
    look.connection.close()

    look()

    assert not look.connection.closed
    look.close()


def test_a_broker_that_takes_a_connection_is_enough() -> None:
    health.dial_kafka(f"127.0.0.1:1, {config.load().kafka_bootstrap}")()


def test_no_broker_is_an_error() -> None:
    with pytest.raises(ConnectionError, match="no broker"):
        health.dial_kafka("127.0.0.1:1,[::1]:1")()
