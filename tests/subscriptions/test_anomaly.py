"""Each rule of unusual use finds its attack, and is silent through a quiet week."""

from datetime import UTC, datetime, timedelta

import pytest

from subscriptions import anomaly
from subscriptions.anomaly import Hour, Minute, Rule, Use, judge

NOW = datetime(2026, 11, 23, 14, 30, tzinfo=UTC)
HOME = frozenset({"198.51.0.0/16"})
AGENT = frozenset({"python-requests"})


def minute(ago: int = 0, **counts: object) -> Minute:
    return Minute(at=NOW - timedelta(minutes=ago), **counts)  # type: ignore[arg-type]  # named by the test


def habits(days: int, hours: range = range(24)) -> list[Hour]:
    """Return use from home in these hours of each of the last days."""
    midnight = NOW.replace(hour=0, minute=0)
    return [
        Hour(midnight - timedelta(days=day) + timedelta(hours=hour), HOME, AGENT)
        for day in range(days, 0, -1)
        for hour in hours
    ]


def rules(use: Use) -> set[Rule]:
    return {found.rule for found in judge(use, NOW)}


def names(count: int) -> frozenset[str]:
    return frozenset(f"{number:x}" for number in range(count))


def many_networks(count: int) -> frozenset[str]:
    return frozenset(f"10.{number}.0.0/16" for number in range(count))


ATTACKS = [
    (Rule.ENUMERATION, Use("key_1", [minute(missing=names(20), requests=20)])),
    (Rule.AUTH_FAILURES, Use("net:4:c63364", [minute(failures=10)])),
    (
        Rule.NEW_SOURCE,
        Use("key_1", [minute(requests=1, networks=many_networks(1))], habits(3)),
    ),
    (Rule.SPREAD, Use("key_1", [minute(requests=6, networks=many_networks(6))])),
    (Rule.OFF_HOURS, Use("key_1", [minute(requests=1, networks=HOME)], habits(20, range(3, 6)))),
    (
        Rule.STREAM_CHURN,
        Use("key_1", [minute(ago, streams=16, short_streams=9) for ago in range(4)]),
    ),
    (Rule.ERROR_BURST, Use("key_1", [minute(requests=200, errors=101)])),
]


@pytest.mark.parametrize(("rule", "attack"), ATTACKS, ids=[rule.value for rule, _ in ATTACKS])
def test_a_rule_finds_its_attack(rule: Rule, attack: Use) -> None:
    assert rules(attack) == {rule}


NEARLY = [
    Use("key_1", [minute(missing=names(19), requests=19)]),
    Use("net:4:c63364", [minute(failures=9)]),
    Use("key_1", [minute(requests=1, networks=many_networks(1))], habits(0)),
    Use("key_1", [minute(requests=5, networks=many_networks(5))]),
    Use("key_1", [minute(requests=1, networks=HOME, agents=AGENT)], habits(13, range(3, 6))),
    Use("key_1", [minute(streams=60, short_streams=60)]),
    Use("key_1", [minute(streams=70, short_streams=35)]),
    Use("key_1", [minute(requests=199, errors=199)]),
    Use("key_1", [minute(requests=200, errors=100)]),
    Use("key_1", [minute(12, missing=names(32), failures=50, requests=500, errors=500)]),
]


@pytest.mark.parametrize("use", NEARLY)
def test_just_under_a_bound_is_no_attack(use: Use) -> None:
    assert not judge(use, NOW)


def test_a_quiet_week_is_silent() -> None:
    """A client that polls all day, mistypes now and then, reconnects, from one place."""
    for step in range(7 * 24 * 6):
        now = NOW - timedelta(days=7) + timedelta(minutes=10 * step)
        minutes = [
            Minute(
                at=now - timedelta(minutes=ago),
                requests=60 + step % 7,
                errors=step % 3,
                failures=step % 2,
                streams=2,
                short_streams=step % 2,
                missing=names(step % 3),
                networks=HOME,
                agents=AGENT,
            )
            for ago in range(9, -1, -1)
        ]
        past = [
            Hour(now - timedelta(hours=hour), HOME, AGENT)
            for hour in range(min(step // 6, 672), 0, -1)
        ]
        assert not judge(Use("key_1", minutes, past), now)


def test_asking_over_the_end_of_a_minute_is_seen() -> None:
    first = frozenset(f"a{number}" for number in range(12))
    second = frozenset(f"b{number}" for number in range(12))

    use = Use("key_1", [minute(1, missing=first), minute(0, missing=second)])

    assert rules(use) == {Rule.ENUMERATION}


MIB = 1024 * 1024


@pytest.mark.parametrize(
    ("today", "before", "is_found"),
    [
        (60 * MIB, [10 * MIB] * 7, True),
        (50 * MIB, [10 * MIB] * 7, False),
        (9 * MIB, [1] * 7, False),  # large against the usual, but small
        (900 * MIB, [0, 0, 0, 0, 0, MIB, MIB], False),  # two days make no habit
    ],
)
def test_volume_is_judged_by_the_same_hour_of_the_days_before(
    today: int, before: list[int], is_found: bool
) -> None:
    found = anomaly.judge_volume(today, before, records=7)

    assert (found is not None) == is_found
    assert found is None or found.evidence["bytes"] == today


def test_a_replay_three_times_as_large_as_any_is_told() -> None:
    assert anomaly.judge_replays(301, 100, is_whole=False) is not None
    assert anomaly.judge_replays(300, 100, is_whole=False) is None
    assert anomaly.judge_replays(10, 0, is_whole=False) is None
    assert anomaly.judge_replays(10, 0, is_whole=True) is not None


def test_much_that_is_read_after_a_grant_was_widened_is_told() -> None:
    assert anomaly.judge_widening(["grt_1"], 10_001) is not None
    assert anomaly.judge_widening(["grt_1"], 10_000) is None
    assert anomaly.judge_widening([], 99_999) is None
