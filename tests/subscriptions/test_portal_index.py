"""``/portal/`` without a partner."""

import pytest
from django.contrib.auth.models import User
from django.test import Client

from subscriptions.models import Partner
from tests import factories

pytestmark = pytest.mark.django_db


@pytest.fixture
def ana() -> User:
    return User.objects.create_user("ana@acme.example")


def led_to(user: User | None) -> str:
    client = Client()
    if user is not None:
        client.force_login(user)
    return client.get("/portal/").headers["Location"]


def test_who_is_not_signed_in_is_sent_there_and_back() -> None:
    assert led_to(None) == "/account/login/?next=/portal/"


def test_a_member_of_one_partner_is_led_to_its_portal(ana: User) -> None:
    acme, ended = factories.partner("Acme"), factories.partner("Ended")
    factories.member(acme, ana)
    factories.member(ended, ana)
    Partner.objects.filter(pk=ended.pk).update(status=Partner.Status.SUSPENDED)

    assert led_to(ana) == f"/portal/{acme.pk}/"


@pytest.mark.parametrize("names", [(), ("Acme", "Bolt")])
def test_a_member_of_several_or_none_is_led_to_the_list(ana: User, names: tuple[str, ...]) -> None:
    for name in names:
        factories.member(factories.partner(name), ana)

    assert led_to(ana) == "/account/"
