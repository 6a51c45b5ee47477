"""What the Usage page says and costs."""

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from delivery.portal.usage import by_period, summary
from tests import factories

pytestmark = pytest.mark.django_db


def test_usage_shows_the_limits_and_counts_no_attempts() -> None:
    acme = factories.partner("Acme")
    factories.grant(acme)
    user = User.objects.create_user("ana@acme.example")
    factories.member(acme, user)
    client = Client()
    client.force_login(user)

    with CaptureQueriesContext(connection) as asked:
        page = client.get(f"/portal/{acme.pk}/usage")

    assert "Your limits" in page.content.decode()
    assert not [one for one in asked.captured_queries if "delivery_attempt" in one["sql"]]


def row(period: str, out: int, refused: int = 0) -> dict[str, object]:
    return {"period": period, "records_out": out, "records_in": 0, "refused": refused}


@pytest.mark.parametrize(
    ("per", "rows", "said"),
    [
        (
            "day",
            [row("2026-11-21T00:00:00.000Z", 1_500, 7), row("2026-11-20T00:00:00.000Z", 20)],
            "Most records went out on 21 Nov 2026 (1,500 of 1,520); requests refused: 7.",
        ),
        (
            "hour",
            [row("2026-11-21T09:00:00.000Z", 3)],
            (
                "Most records went out in the hour from 21 Nov 2026 09:00 (3 of 3);"
                " requests refused: 0."
            ),
        ),
        ("day", [], ""),
    ],
)
def test_the_chart_says_in_one_sentence_what_it_shows(
    per: str, rows: list[dict[str, object]], said: str
) -> None:
    assert summary(by_period(rows), per) == said
