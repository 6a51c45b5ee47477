"""Query parameters: declared, once, readable."""

from datetime import UTC, datetime

import pytest
from django.http import QueryDict

from kafkahub.drf import parameters
from kafkahub.drf.parameters import Arguments
from kafkahub.errors import Invalid

DECLARED = (
    parameters.LIMIT,
    parameters.moment("since", "From then on."),
    parameters.flag("all", "All of them."),
    parameters.choice("state", "Only those.", ["on", "off"]),
)


def read(query: str) -> Arguments:
    return parameters.read(QueryDict(query), DECLARED)


def test_what_is_absent_has_its_default() -> None:
    arguments = read("")

    assert arguments.whole("limit") == 50
    assert arguments.moment("since") is None
    assert arguments.flag("all") is False


def test_what_is_there_is_read() -> None:
    arguments = read("limit=7&since=2026-11-23T05:19:00.123%2B01:00&all=true&state=off")

    assert arguments.whole("limit") == 7
    assert arguments.moment("since") == datetime(2026, 11, 23, 4, 19, 0, 123_000, tzinfo=UTC)
    assert arguments.flag("all") is True
    assert arguments.text("state") == "off"


def test_all_faults_are_told_at_once() -> None:
    with pytest.raises(Invalid) as refused:
        read("limit=0&since=yesterday&all=1&state=of&stat=on&limit2=1&state2=a&state2=b")

    found = {str(fault.more["parameter"]): fault.code for fault in refused.value.faults}
    assert found == {
        "limit": "out_of_range",
        "since": "out_of_range",
        "all": "not_one_of",
        "state": "not_one_of",
        "stat": "unknown_parameter",
        "limit2": "unknown_parameter",
        "state2": "unknown_parameter",
    }


@pytest.mark.parametrize(
    "text",
    [
        "2026-11-23",
        "2026-11-23T04:19:00",
        "2026-11-23 04:19:00Z",
        "2026-13-23T04:19:00Z",
        "2026-11-23T04:19:00+24:00",
        "0001-01-01T00:00:00+23:00",
        "٢026-11-23T04:19:00Z",
    ],
)
def test_a_time_without_zone_or_sense_is_refused(text: str) -> None:
    query = QueryDict(mutable=True)
    query["since"] = text

    with pytest.raises(Invalid):
        parameters.read(query, DECLARED)
