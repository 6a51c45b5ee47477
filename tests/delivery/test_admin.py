"""The operators' pages of deliveries: bounded lists, payloads behind a right, parked rows moved."""

import re
from datetime import timedelta

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client

from delivery.models import DeliveryAttempt, ParkedDelivery
from kafkahub import clock
from subscriptions.models import AuditEvent, Subscription
from tests import attempt_log, factories

pytestmark = pytest.mark.django_db

ATTEMPTS = "/admin/delivery/deliveryattempt/"
PARKED = "/admin/delivery/parkeddelivery/"
BODY = "</pre><script>alert(1)</script>\u202ecanary"


@pytest.fixture
def olga(client: Client) -> Client:
    """An operator with all rights, signed in."""
    client.force_login(User.objects.create_superuser("olga", password="correct horse"))
    return client


@pytest.fixture
def owed() -> Subscription:
    owner = factories.partner("Acme")
    factories.grant(owner)
    return factories.subscription(owner)


def park(subscription: Subscription, number: int = 0, state: str = "scheduled") -> ParkedDelivery:
    return ParkedDelivery.objects.create(
        id=f"msg_{number:022}",
        subscription=subscription,
        topic="orders",
        partition=0,
        offset=number,
        body=BODY.encode(),
        state=state,
        next_attempt_at=clock.now() + timedelta(hours=1) if state == "scheduled" else None,
    )


def act(client: Client, action: str, *rows: ParkedDelivery, **answer: str) -> str:
    data = {"action": action, "_selected_action": [row.pk for row in rows], **answer}
    return client.post(PARKED, data, follow=True).content.decode()


def rows_of(client: Client, query: str = "") -> int:
    """Return how many rows the list of attempts shows."""
    return len(re.findall(r'class="field-at', client.get(ATTEMPTS + query).content.decode()))


def test_a_parked_delivery_is_resent_by_its_verb(olga: Client, owed: Subscription) -> None:
    row = park(owed)

    act(olga, "resend", row, confirmed="yes")

    fresh = ParkedDelivery.objects.get()
    assert fresh.reason == "resend"
    assert fresh.next_attempt_at is not None
    assert fresh.next_attempt_at <= clock.now()
    assert AuditEvent.objects.get().verb == "delivery.resent"


def test_only_dead_letters_are_redriven(olga: Client, owed: Subscription) -> None:
    dead, scheduled = park(owed, 1, "dead"), park(owed, 2)

    page = act(olga, "redrive", dead, scheduled, confirmed="yes")

    assert "so it cannot be redriven" in page
    assert ParkedDelivery.objects.get(pk=dead.pk).state == "scheduled"
    verbs = AuditEvent.objects.values_list("verb", "object_id")
    assert list(verbs) == [("parked.redriven", dead.pk)]


def test_giving_up_needs_a_reason(olga: Client, owed: Subscription) -> None:
    row = park(owed)

    act(olga, "discard", row, confirmed="yes", reason="")
    kept = ParkedDelivery.objects.get().state
    act(olga, "discard", row, confirmed="yes", reason="test data")

    assert kept == "scheduled"
    assert ParkedDelivery.objects.get().state == "discarded"
    assert AuditEvent.objects.get().reason == "test data"


def test_a_payload_is_shown_only_after_a_reason_and_as_text(
    olga: Client, owed: Subscription
) -> None:
    row = park(owed)

    before = olga.get(f"{PARKED}{row.pk}/change/").content.decode()
    asked = act(olga, "see_payload", row)
    shown = act(olga, "see_payload", row, confirmed="yes", reason="ticket 4711")

    assert "canary" not in before + asked
    assert "&lt;/pre&gt;&lt;script&gt;alert(1)&lt;/script&gt;\\u202ecanary" in shown
    event = AuditEvent.objects.get()
    assert (event.verb, event.reason) == ("payload.viewed", "ticket 4711")
    assert event.partner == owed.partner_id


def test_redriving_gives_no_right_to_see_payloads(client: Client, owed: Subscription) -> None:
    user = User.objects.create_user("otto", is_staff=True)
    rights = Permission.objects.filter(
        codename__in=["view_parkeddelivery", "change_parkeddelivery"]
    )
    user.user_permissions.set(rights)
    client.force_login(user)
    row = park(owed)

    page = client.get(f"{PARKED}{row.pk}/change/").content.decode()
    shown = act(client, "see_payload", row, confirmed="yes", reason="curiosity")

    assert 'value="resend"' in page
    assert 'value="see_payload"' not in page
    assert "canary" not in shown
    assert not AuditEvent.objects.exists()


def test_attempts_of_the_last_hour_are_listed_unless_asked(
    olga: Client, owed: Subscription
) -> None:
    attempt_log.write(owed)
    attempt_log.write(owed, at=clock.now() - timedelta(hours=2))

    assert rows_of(olga) == 1
    assert rows_of(olga, "?within=1d") == 2
    assert rows_of(olga, "?within=all&outcome_class=delivered") == 0


def test_a_delivery_is_found_however_old_it_is(olga: Client, owed: Subscription) -> None:
    old = clock.now() - timedelta(days=3)
    attempt_log.write(owed, at=old, delivery="msg_old0000000000000000000")
    attempt_log.write(owed)
    public_id = DeliveryAttempt.objects.get(at__lt=clock.now() - timedelta(days=1)).public_id

    assert rows_of(olga, "?q=msg_old0000000000000000000") == 1
    assert rows_of(olga, f"?q={public_id}") == 1
    assert rows_of(olga, f"?q={owed.pk}") == 1
    assert rows_of(olga, "?q=stock") == 0


def test_the_page_of_an_attempt_shows_the_answer_as_text(olga: Client, owed: Subscription) -> None:
    attempt_log.write(owed, response_excerpt=BODY)
    attempt = DeliveryAttempt.objects.get()

    page = olga.get(f"{ATTEMPTS}{attempt.public_id}/change/").content.decode()

    assert "&lt;script&gt;" in page
    assert "alert(1)</script>" not in page
    assert "DNS 0.1, TCP 0.2" in page


@pytest.mark.parametrize(
    "path", ["1", "att_x", "att_7zzzzzzzzzzzzzzzzzzzzzzzzz", "att_" + "0" * 26]
)
def test_what_is_no_attempt_has_no_page(olga: Client, path: str) -> None:
    response = olga.get(f"{ATTEMPTS}{path}/change/", follow=True)

    assert response.redirect_chain == [("/admin/", 302)]


def test_the_overview_counts_what_failed_and_what_is_parked(
    olga: Client, owed: Subscription
) -> None:
    park(owed, 1, "dead")
    attempt_log.write(owed)

    page = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", olga.get("/admin/").content.decode()))

    assert "Failed 1 " in page
    assert "Scheduled 0 Sending 0 Dead 1" in page
    assert "Subscriptions active 1" in page
