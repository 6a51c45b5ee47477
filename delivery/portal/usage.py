"""Usage: what went through each door, by day or hour, as a chart and as a table."""

import csv
import io
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from typing import Any, TypedDict

from django.http import HttpRequest, HttpResponse

from delivery import stats
from kafkahub import clock
from kafkahub.templatetags.portal import period
from subscriptions import limiting
from subscriptions.portal.base import PortalPage

RANGES = {"24h": ("hour", timedelta(hours=24)), "7d": ("day", timedelta(days=7)),
          "30d": ("day", timedelta(days=30)), "90d": ("day", timedelta(days=90))}  # fmt: skip
COLUMNS = ("requests", "refused", "records_in", "bytes_in", "records_out", "bytes_out")
PAGE = 200
MAX_PAGES = 20


class Chart(TypedDict):
    """Series of equal length, oldest period first.

    periods  starts in RFC 3339
    """

    periods: list[str]
    records_out: list[int]
    records_in: list[int]
    refused: list[int]


class Usage(PortalPage):
    """The page."""

    section = "usage"
    template = "usage.html"

    def get(self, request: HttpRequest) -> HttpResponse:
        chosen = request.GET.get("range", "7d")
        chosen = chosen if chosen in RANGES else "7d"
        per, _ = RANGES[chosen]
        rows = used(self, chosen)
        if request.GET.get("as") == "csv":
            return _csv(rows)
        chart = by_period(rows)
        return self.show(
            rows=rows,
            chosen=chosen,
            per=per,
            ranges=list(RANGES),
            chart=chart,
            summary=summary(chart, per),
            totals={name: sum(row[name] for row in rows) for name in COLUMNS},
            limits=stats.limits(self.principal, limiting.process_limiter()),
        )


def used(page: PortalPage, chosen: str) -> list[dict[str, Any]]:
    """Return the rows of a range, newest first."""
    per, length = RANGES[chosen]
    asked = {"per": per, "since": clock.rfc3339(clock.now() - length), "limit": PAGE}
    rows: list[dict[str, Any]] = []
    cursor: str | None = ""
    for _ in range(MAX_PAGES):
        found = page.door.get("/usage", **asked, cursor=cursor)
        rows += found["data"]
        cursor = found["next_cursor"]
        if not cursor:
            break
    return rows


def by_period(rows: Iterable[Mapping[str, Any]]) -> Chart:
    """Return the series of the chart: periods, records out and in, refusals."""
    sums: dict[str, list[int]] = defaultdict(lambda: [0, 0, 0])
    for row in rows:
        kept = sums[row["period"]]
        for at, name in enumerate(("records_out", "records_in", "refused")):
            kept[at] += row[name]
    periods = sorted(sums)
    return {
        "periods": periods,
        "records_out": [sums[one][0] for one in periods],
        "records_in": [sums[one][1] for one in periods],
        "refused": [sums[one][2] for one in periods],
    }


def summary(chart: Chart, per: str) -> str:
    """Return what a chart shows as one sentence; "" for a chart without periods."""
    if not chart["periods"]:
        return ""
    most, at = max(zip(chart["records_out"], chart["periods"], strict=True))
    began = f"{'in the hour from' if per == 'hour' else 'on'} {period(at, per)}"
    total, refused = sum(chart["records_out"]), sum(chart["refused"])
    return f"Most records went out {began} ({most:,} of {total:,}); requests refused: {refused:,}."


def _csv(rows: Sequence[Mapping[str, Any]]) -> HttpResponse:
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(["period", "topic", "door", *COLUMNS])
    for row in rows:
        writer.writerow(
            [row["period"], _plain(row["topic"]), row["door"], *(row[c] for c in COLUMNS)]
        )
    headers = {"Content-Disposition": 'attachment; filename="usage.csv"'}
    return HttpResponse(text.getvalue(), content_type="text/csv; charset=utf-8", headers=headers)


def _plain(text: str) -> str:
    """Return a text that no spreadsheet takes for a formula."""
    return f"'{text}" if text[:1] in {"=", "+", "-", "@", "\t", "\r"} else text
