"""Notices and endpoints' proofs on the operators' pages."""

import pytest
from django.contrib.auth.models import User
from django.db import transaction
from django.test import Client

from kafkahub import clock
from subscriptions.actions import verification
from subscriptions.models import AuditEvent, Endpoint, Episode
from tests import factories

pytestmark = pytest.mark.django_db


@pytest.fixture
def olga(client: Client) -> Client:
    """An operator with all rights, signed in."""
    client.force_login(User.objects.create_superuser("olga", password="correct horse battery"))
    return client


def shown(client: Client, path: str) -> str:
    answer = client.get(f"/admin/subscriptions/{path}", follow=True)
    assert answer.status_code == 200
    return answer.content.decode()


def test_what_partners_were_told_is_listed_and_shown(olga: Client) -> None:
    told = factories.notice(factories.partner("Acme"))

    assert "The endpoint is disabled." in shown(olga, "notice/")
    page = shown(olga, f"notice/{told.pk}/change/")
    assert "kafkahub.endpoint.disabled" in page
    assert told.pk in page


def test_what_is_the_matter_now_is_listed(olga: Client) -> None:
    owner = factories.partner()
    Episode.objects.create(
        subject="ep_1", type="kafkahub.endpoint.failing", partner=owner, since=clock.now()
    )

    assert "ep_1" in shown(olga, "episode/")


def test_an_operator_sees_why_an_endpoint_is_not_verified_and_trusts_it(olga: Client) -> None:
    endpoint = factories.endpoint(factories.partner())
    unproven = {"status": "unverified", "is_verified": False, "verification_method": "challenge"}
    Endpoint.objects.filter(pk=endpoint.pk).update(**unproven)
    endpoint.refresh_from_db()
    with transaction.atomic():
        verification.begin(endpoint, clock.now())
    verification.fail(endpoint, "It answered 404.", clock.now())

    page = shown(olga, f"endpoint/{endpoint.pk}/change/")
    olga.post(
        "/admin/subscriptions/endpoint/",
        {
            "action": "trust",
            "_selected_action": [endpoint.pk],
            "confirmed": "yes",
            "reason": "a receiver of our own",
        },
        follow=True,
    )

    assert "It answered 404." in page
    assert Endpoint.objects.get().status == "active"
    assert AuditEvent.objects.order_by("-id")[0].verb == "endpoint.trusted"
