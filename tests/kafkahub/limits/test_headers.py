"""What a client is told: quota and window, units left, seconds to wait."""

import math

from hypothesis import given
from hypothesis import strategies as st

from kafkahub.errors import RateLimited
from kafkahub.limits.gcra import Rate
from kafkahub.limits.headers import Refusal, Standing, limit_value, policy_value
from kafkahub.limits.policies import BYTES_IN, REQUESTS, STANDARD_RATES


def test_the_policies_are_told_with_quota_window_and_unit() -> None:
    rates = [(name, STANDARD_RATES[name]) for name in (REQUESTS, BYTES_IN)]

    assert policy_value(rates) == (
        '"requests";q=200;w=2, "bytes-in";q=20971520;w=2;qu="content-bytes"'
    )


def test_units_left_are_told_of_the_two_tightest() -> None:
    rate = Rate(100, 200)
    standings = [
        Standing("records-in", rate, 150),
        Standing("requests", rate, 183),
        Standing("bytes-in", rate, 3),
    ]

    assert limit_value(standings) == '"bytes-in";r=3;t=2, "records-in";r=150;t=1'


@given(st.floats(0, 1e6, allow_nan=False))
def test_the_wait_is_told_in_whole_seconds_that_are_enough(wait_s: float) -> None:
    told = Refusal(wait_s, ("requests",)).retry_after_s

    assert told >= 1
    assert wait_s <= told < max(1, wait_s) + 1
    assert told == max(1, math.ceil(wait_s))


def test_a_refusal_becomes_an_error_that_names_its_policies() -> None:
    error = Refusal(2.1, ("requests", "bytes-in")).error()

    assert isinstance(error, RateLimited)
    assert error.retry_after_s == 3
    assert error.violated == ("requests", "bytes-in")
