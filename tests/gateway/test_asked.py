"""The beginning of a stream as it is asked for."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.asked import read_start
from gateway.starts import Earliest, Last, Latest, Since, Start
from kafkahub.errors import Invalid

NOW_MS = 1_767_225_600_000


@pytest.mark.parametrize(
    ("start", "since", "expected"),
    [
        (None, None, Latest()),
        ("latest", None, Latest()),
        ("earliest", None, Earliest()),
        ("-1", None, Last(1)),
        ("-1000", None, Last(1_000)),
        ("earliest", "15m", Since(NOW_MS - 900_000)),
        (None, "0s", Since(NOW_MS)),
        (None, "15", Since(15)),
        (None, "2d", Since(NOW_MS - 172_800_000)),
        (None, "999999999d", Since(0)),
        (None, "1767225599000", Since(NOW_MS - 1_000)),
        (None, 1_767_225_599_000, Since(NOW_MS - 1_000)),
        (None, "2025-12-31T23:59:59.500Z", Since(NOW_MS - 500)),
        (None, "2026-01-01T00:59:59+01:00", Since(NOW_MS - 1_000)),
    ],
)
def test_every_form_is_understood(
    start: str | None, since: str | int | None, expected: Start
) -> None:
    assert read_start(start, since, NOW_MS) == expected


@pytest.mark.parametrize(
    "start", ["newest", "LATEST", "-0", "-1001", "-01", "5", "-1.5", "-\u0661"]
)
def test_an_unknown_start_is_refused(start: str) -> None:
    with pytest.raises(Invalid) as refused:
        read_start(start, None, NOW_MS)

    assert refused.value.instance_code == "invalid_parameter"


@pytest.mark.parametrize(
    "since",
    ["", "yesterday", "-5", "15w", "2025-12-31T23:59:59", "2026-01-01T00:00:01Z", "9" * 15],
)
def test_a_time_that_cannot_be_is_refused(since: str) -> None:
    with pytest.raises(Invalid):
        read_start(None, since, NOW_MS)


@given(st.text())
def test_any_text_is_a_time_or_refused(text: str) -> None:
    try:
        found = read_start(None, text, NOW_MS)
    except Invalid:
        return
    assert isinstance(found, Since)
