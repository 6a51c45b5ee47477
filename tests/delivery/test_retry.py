"""The schedule, its jitter, and what an endpoint may ask for."""

from datetime import UTC, datetime, timedelta

import pytest

from delivery import retry
from subscriptions.models.subscriptions import DEFAULT_SCHEDULE_S

NOW = datetime(2026, 11, 23, 4, 0, tzinfo=UTC)
HOUR = 3_600


def delay(
    attempts: int,
    *,
    chance: float = 0.5,
    retry_after_s: float | None = None,
    is_overloaded: bool = False,
) -> float | None:
    return retry.next_delay_s(
        DEFAULT_SCHEDULE_S,
        attempts,
        jitter=0.2,
        chance=chance,
        retry_after_s=retry_after_s,
        is_overloaded=is_overloaded,
    )


def test_ten_attempts_in_75_h_35_m_5_s() -> None:
    delays = [delay(attempts) for attempts in range(1, 10)]

    assert sum(filter(None, delays)) == timedelta(hours=75, minutes=35, seconds=5).total_seconds()
    assert delay(10) is None


def test_no_schedule_means_one_attempt() -> None:
    assert (
        retry.next_delay_s([], 1, jitter=0.2, chance=0.5, retry_after_s=None, is_overloaded=False)
        is None
    )


@pytest.mark.parametrize(("chance", "expected"), [(0.0, 240.0), (0.5, 300.0), (1.0, 360.0)])
def test_jitter_is_a_fifth_either_way(chance: float, expected: float) -> None:
    assert delay(2, chance=chance) == pytest.approx(expected)


def test_an_overloaded_endpoint_gets_a_minute() -> None:
    assert delay(1, is_overloaded=True) == 60
    assert delay(2, is_overloaded=True) == 300


@pytest.mark.parametrize("chance", [0.0, 0.3, 0.99])
def test_retry_after_is_never_undercut_and_little_exceeded(chance: float) -> None:
    wait = delay(1, chance=chance, retry_after_s=100)

    assert wait is not None
    assert 100 <= wait <= 110


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (["10"], 10),
        ([" 10 "], 10),
        (["1.2"], 2),
        (["0"], None),
        (["-1"], None),
        (["1e9"], None),
        (["1000000000"], HOUR),
        (["soon"], None),
        ([""], None),
        (["10", "10"], 10),
        (["10", "20"], None),
        ([], None),
        (["Mon, 23 Nov 2026 04:00:30 GMT"], 30),
        (["Monday, 23-Nov-26 04:00:30 GMT"], 30),
        (["Mon, 23 Nov 2026 03:00:00 GMT"], None),
        (["Mon, 23 Nov 2026 09:00:00 GMT"], HOUR),
        (["٣"], None),
    ],
)
def test_retry_after_forms(values: list[str], expected: int | None) -> None:
    assert retry.retry_after(values, NOW, HOUR) == expected


def test_waits_without_retry_after_double_to_a_minute() -> None:
    assert [retry.throttle_s(times) for times in (1, 2, 3, 6, 7, 100)] == [1, 2, 4, 32, 60, 60]
