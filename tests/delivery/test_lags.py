"""How far lanes are behind, as metrics: in records, in seconds, and until retention comes."""

from dataclasses import replace

import pytest
from prometheus_client import Gauge

from delivery import lags, metrics
from delivery.inbox import Ends, Found
from delivery.lags import Lags
from kafkahub import clock
from tests.delivery import makers
from tests.delivery.rig import PLACE, Rig, record, row

A = makers.subscription("sub_a")
OWNER = {"partner": "ptn_1", "subscription": "sub_a"}
HOUR_MS = 3_600_000


def value(gauge: Gauge, **labels: str) -> float | None:
    [metric] = gauge.collect()
    found = [one.value for one in metric.samples if one.labels == labels]
    return found[0] if found else None


def look(hub: Rig, end: int, *, kept_ms: int | None = None) -> None:
    """Let the shared reader tell where the log ends."""
    kept = {} if kept_ms is None else {makers.TOPIC: kept_ms}
    hub.standings = replace(hub.standings, kept_ms=kept)
    hub.post(Ends({PLACE: end}))


def age_s() -> float:
    return clock.now().timestamp() - (record(0).timestamp_ms or 0) / 1000


def test_a_live_lane_is_behind_by_what_lies_above_the_floor() -> None:
    hub = Rig(A)
    hub.assign()
    hub.feed(0, 1, 2)

    look(hub, 10)

    assert value(metrics.lane_lag, **OWNER) == 10
    assert value(metrics.partition_lag, topic=makers.TOPIC, partition="0") == 10
    assert value(metrics.lanes, state="live") == 1
    assert value(metrics.oldest_undelivered, **OWNER) == pytest.approx(age_s(), abs=60)


def test_headroom_is_what_retention_leaves_to_the_oldest() -> None:
    hub = Rig(A)
    hub.assign()
    hub.feed(0)
    kept_ms = int(age_s() * 1000) + HOUR_MS

    look(hub, 1, kept_ms=kept_ms)

    assert value(metrics.headroom, **OWNER) == pytest.approx(3_600, abs=60)


def test_without_debt_nothing_is_old_and_nothing_is_at_risk() -> None:
    hub = Rig(A)
    hub.assign()
    hub.feed(0)
    look(hub, 1, kept_ms=HOUR_MS)
    hub.land(*hub.take())

    look(hub, 1, kept_ms=HOUR_MS)

    assert value(metrics.lane_lag, **OWNER) == 0
    assert value(metrics.oldest_undelivered, **OWNER) == 0
    assert value(metrics.headroom, **OWNER) == float("inf")


def test_a_paused_lane_grows_older_by_what_was_known_last() -> None:
    hub = Rig(A)
    hub.assign()
    hub.feed(0, 1)
    look(hub, 2)
    hub.set_sending("sub_a", sending=False)

    look(hub, 5)

    assert value(metrics.lanes, state="paused") == 1
    assert value(metrics.lane_lag, **OWNER) == 5
    assert value(metrics.oldest_undelivered, **OWNER) == pytest.approx(age_s(), abs=60)


def test_a_floor_that_stands_with_records_above_it_grows_old() -> None:
    hub = Rig(A)
    hub.assign(Found(row("sub_a")))
    hub.feed(0)
    look(hub, 5)

    hub.now += 30.0
    look(hub, 5)
    old = value(metrics.floor_age)
    hub.land(*hub.take())
    look(hub, 5)

    assert (old, value(metrics.floor_age)) == (30.0, 0.0)


def test_a_partition_that_went_owes_nothing_here() -> None:
    hub = Rig(A)
    hub.assign()
    look(hub, 10)

    hub.board.lose([PLACE])
    look(hub, 10)

    assert value(metrics.partition_lag, topic=makers.TOPIC, partition="0") == 0
    assert value(metrics.lane_lag, **OWNER) == 0


def test_series_are_capped_and_the_rest_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lags, "MAX_SERIES", 1)
    hub = Rig(makers.subscription("sub_x"), makers.subscription("sub_y"))
    hub.assign()

    Lags().show(hub.board.partitions.values(), {PLACE: 4}, kept_ms={}, now=0.0, unix_ms=0)

    assert value(metrics.lane_lag, partner="ptn_1", subscription="sub_x") == 4
    assert value(metrics.lane_lag, partner="other", subscription="other") == 4
