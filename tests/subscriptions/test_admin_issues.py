"""What needs an operator, on the overview, and the page that says what to do about it."""

import html
import re
from datetime import UTC, datetime, timedelta

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client

from subscriptions.admin_site import MAX_NEEDS
from subscriptions.issues import Kind
from subscriptions.models import Issue
from tests import factories

pytestmark = pytest.mark.django_db

NOW = datetime(2026, 11, 23, 8, 0, tzinfo=UTC)
RUNBOOK = "/admin/subscriptions/issue/runbook/"


@pytest.fixture
def olga(client: Client) -> Client:
    """An operator with all rights, signed in."""
    client.force_login(User.objects.create_superuser("olga", password="correct horse battery"))
    return client


def issue(text: str, severity: str = "warning", hours: int = 0, **members: object) -> Issue:
    """Make an issue that opened so many hours ago; its text is its subject."""
    opened = NOW - timedelta(hours=hours)
    values = {"kind": Kind.LANE_BEHIND, "subject": text, "opened_at": opened, **members}
    made: Issue = Issue.objects.create(text=text, severity=severity, **values)
    return made


def overview(client: Client) -> str:
    """Return the overview's words."""
    page = client.get("/admin/").content.decode()
    return html.unescape(re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page)))


def test_the_worst_stands_first_then_what_hits_everybody_then_the_oldest(olga: Client) -> None:
    acme = factories.partner("Acme")
    issue("young", hours=1, partner=acme.pk)
    issue("old", hours=9, partner=acme.pk)
    issue("of all", hours=0)
    issue("worst", "critical", partner=acme.pk)
    issue("over", "critical", state="resolved", resolved_at=NOW)

    shown = overview(olga)

    assert re.findall(r"\b(worst|of all|old|young|over)\b Affects", shown) == [
        "worst",
        "of all",
        "old",
        "young",
    ]
    assert "Affects Acme" in shown
    assert "Affects the whole installation" in shown


def test_the_overview_shows_so_many_and_says_that_there_are_more(olga: Client) -> None:
    for number in range(MAX_NEEDS + 1):
        issue(f"number {number}")

    shown = overview(olga)

    assert shown.count("What to do") == MAX_NEEDS
    assert f"All issues: there are more than {MAX_NEEDS}" in shown


def test_with_nothing_to_do_the_overview_says_when_the_last_issue_ended(olga: Client) -> None:
    assert "Nothing needs you." in overview(olga)

    issue("over", state="resolved", resolved_at=NOW)

    assert re.search(r"Nothing needs you\. Last issue resolved .+ ago\.", overview(olga))


def test_an_acknowledged_issue_stays_and_offers_no_button(olga: Client) -> None:
    issue("known", state="acknowledged", acknowledged_until=NOW + timedelta(days=1))

    shown = overview(olga)

    assert "acknowledged" in shown
    assert "Acknowledge " not in shown


def test_who_may_not_see_issues_sees_none_and_no_page_of_the_runbook(client: Client) -> None:
    user = User.objects.create_user("vera", password="x", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename="view_topic"))
    client.force_login(user)
    issue("secret trouble")

    assert "secret trouble" not in overview(client)
    assert client.get(f"{RUNBOOK}{Kind.GAP}/").status_code == 403


@pytest.mark.parametrize("kind", Kind)
def test_the_page_of_every_kind_opens_with_its_headings(olga: Client, kind: Kind) -> None:
    shown = olga.get(f"{RUNBOOK}{kind}/")

    assert shown.status_code == 200
    headings = re.findall(r"<h2>([^<]+)</h2>", shown.content.decode())
    assert [one for one in headings if one in {"What it means", "Check", "Do", "Undo"}] == [
        "What it means",
        "Check",
        "Do",
        "Undo",
    ]
    assert "`" not in shown.content.decode()


@pytest.mark.parametrize("kind", ["nothing", "lane_behind.md", "Gap"])
def test_what_is_no_kind_has_no_page(olga: Client, kind: str) -> None:
    assert olga.get(f"{RUNBOOK}{kind}/").status_code == 404


def test_an_issue_links_to_its_page(olga: Client) -> None:
    made = issue("behind")

    page = olga.get(f"/admin/subscriptions/issue/{made.pk}/change/").content.decode()

    assert f'href="{RUNBOOK}{made.kind}/"' in page
