"""An operator's view of a partner's portal: reads only, shows no values, ends, and is told."""

from datetime import timedelta

import pytest
import time_machine
from django.contrib.auth.models import Permission, User
from django.test import Client, RequestFactory
from django.utils.html import escape

from subscriptions.models import ApiKey, AuditEvent, Endpoint, Partner, Subscription, SupportVisit
from subscriptions.portal import support
from subscriptions.portal.base import SECTIONS
from subscriptions.portal.door import Door, Refused
from tests import factories
from tests.subscriptions.test_portal import PAGES, PARAMETER, Person, text_of

pytestmark = pytest.mark.django_db

REASON = "ticket 4711: orders do not arrive"
VALUE = "card-4111111111111111"
END = "support/end"


@pytest.fixture
def acme() -> Partner:
    acme = factories.partner("Acme")
    factories.grant(acme)
    return acme


@pytest.fixture
def olga(client: Client) -> Client:
    """An operator who may look at partners and at their portals."""
    user = User.objects.create_user("olga", is_staff=True)
    user.user_permissions.set(
        Permission.objects.filter(codename__in=["view_partner", "support_view"])
    )
    client.force_login(user)
    return client


def act(client: Client, partner: Partner, **answer: str) -> str:
    """Return where *View as partner* leads, or the page that asks."""
    asked = {"action": "view_as", "_selected_action": [partner.pk], **answer}
    response = client.post("/admin/subscriptions/partner/", asked)
    return response.headers.get("Location", response.content.decode())


@pytest.fixture
def visit(olga: Client, acme: Partner) -> SupportVisit:
    place = act(olga, acme, confirmed="yes", reason=REASON)
    assert place == f"/portal/{acme.pk}/start"
    return SupportVisit.objects.get(partner=acme)


def rows() -> list[int]:
    return [model.objects.count() for model in (ApiKey, Endpoint, Subscription)]


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
def test_every_write_is_refused_on_every_page(
    method: str, olga: Client, acme: Partner, visit: SupportVisit
) -> None:
    before = rows()

    answers = {
        path: olga.generic(method, f"/portal/{acme.pk}/{PARAMETER.sub('x', path)}")
        for path in PAGES
        if path != END
    }

    assert {path: answer.status_code for path, answer in answers.items()} == dict.fromkeys(
        answers, 403
    )
    assert all("read_only_view" in answer.content.decode() for answer in answers.values())
    assert rows() == before


def test_the_api_behind_the_pages_refuses_writes_by_itself(
    acme: Partner, visit: SupportVisit, rf: RequestFactory
) -> None:
    member = support.as_member(visit)
    door = Door(rf.get("/"), support.principal(visit, member))

    with pytest.raises(Refused) as refused:
        door.post("/filters/explain", {})

    assert (refused.value.status, refused.value.code) == (403, "read_only_view")


def test_a_visit_of_a_member_is_read_only_too(acme: Partner, olga: Client) -> None:
    both = Person(acme, "both@hub.example")
    both.user.is_superuser = both.user.is_staff = True
    both.user.save()
    assert both.post("keys", name="first").status_code != 403

    act(both.client, acme, confirmed="yes", reason=REASON)

    assert both.post("keys", name="second").status_code == 403


def test_pages_open_with_a_banner_and_without_values(
    olga: Client, acme: Partner, visit: SupportVisit
) -> None:
    sub = factories.subscription(acme)
    dead = factories.parked(sub, key=VALUE.encode(), body=VALUE.encode(), state="dead")
    factories.attempt(dead, key=VALUE.encode(), response_excerpt=VALUE, response_note=VALUE)
    owner = Person(acme, "ana@acme.example")
    deep = [f"deliveries/{dead.pk}", f"subscriptions/{sub.pk}", f"endpoints/{sub.endpoint_id}"]
    assert VALUE in text_of(owner.get(deep[0]))

    for place in [*(name for name, _, _ in SECTIONS), *deep]:
        page = olga.get(f"/portal/{acme.pk}/{place}")

        assert page.status_code == 200, place
        assert "Support view of Acme" in page.content.decode(), place
        assert VALUE not in page.content.decode(), place


def test_the_partner_sees_who_looked_when_why_and_at_what(
    olga: Client, acme: Partner, visit: SupportVisit
) -> None:
    for _ in range(2):
        olga.get(f"/portal/{acme.pk}/keys")
    olga.post(f"/portal/{acme.pk}/{END}")
    owner, viewer = Person(acme, "ana@acme.example"), Person(acme, "vic@acme.example")

    told = AuditEvent.objects.filter(partner=acme.pk, verb__startswith="support.").order_by("id")
    verbs = list(told.values_list("verb", "reason", "actor"))

    assert verbs == [
        ("support.opened", REASON, "olga"),
        ("support.looked", "", "olga"),
        ("support.ended", REASON, "olga"),
    ]
    assert told[1].changes == {"page": [None, f"/portal/{acme.pk}/keys"]}
    for person in (owner, viewer):
        assert escape(REASON) in text_of(person.get("alerts"))
    assert "support.looked" in text_of(owner.get("alerts"))


def test_it_ends_by_itself_after_thirty_minutes(
    olga: Client, acme: Partner, visit: SupportVisit
) -> None:
    codes = []
    for minutes in (29, 31):
        with time_machine.travel(visit.opened_at + timedelta(minutes=minutes), tick=False):
            codes.append(olga.get(f"/portal/{acme.pk}/keys").status_code)

    assert codes == [200, 404]


@pytest.mark.parametrize("over", ["ended", "right taken"])
def test_a_view_that_is_over_is_the_404_of_a_stranger(
    over: str, olga: Client, acme: Partner, visit: SupportVisit
) -> None:
    assert olga.get(f"/portal/{acme.pk}/keys").status_code == 200

    if over == "ended":
        olga.post(f"/portal/{acme.pk}/{END}")
    else:
        visit.user.user_permissions.clear()

    assert olga.get(f"/portal/{acme.pk}/keys").status_code == 404
    assert olga.post(f"/portal/{acme.pk}/{END}").status_code == 404


def test_it_opens_its_partner_only(olga: Client, visit: SupportVisit) -> None:
    other = factories.partner("Other")

    assert olga.get(f"/portal/{other.pk}/keys").status_code == 404


def test_it_needs_a_reason_and_the_right(olga: Client, acme: Partner) -> None:
    assert "at least 10 characters" in act(olga, acme, confirmed="yes", reason="short")
    User.objects.get(username="olga").user_permissions.remove(
        Permission.objects.get(codename="support_view")
    )

    act(olga, acme, confirmed="yes", reason=REASON)

    assert not SupportVisit.objects.exists()


def test_a_second_view_ends_the_first(olga: Client, acme: Partner, visit: SupportVisit) -> None:
    act(olga, acme, confirmed="yes", reason=REASON)

    visit.refresh_from_db()
    assert visit.ended_at is not None
    assert SupportVisit.objects.open().count() == 1
