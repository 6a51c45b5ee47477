"""Kafka, Redis or PostgreSQL away: every page of the portal says so in words, and none is a 500."""

import contextlib
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from django.conf import settings
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client

from kafkahub import config
from subscriptions.models import LanePosition, Partner
from tests import factories
from tests.fakes.severed import SeveredLine
from tests.streams.web import Web, running

pytestmark = pytest.mark.django_db(transaction=True)

NOWHERE = "127.0.0.1:1"
SECTIONS = (
    "start", "console", "keys", "endpoints", "endpoints/new", "subscriptions", "subscriptions/new",
    "deliveries", "replays", "usage", "alerts", "doctor", "api", "members",
)  # fmt: skip


@pytest.fixture
def partner() -> Partner:
    acme = factories.partner("Acme")
    factories.grant(acme)
    return acme


@pytest.fixture
def cookie(partner: Partner) -> Mapping[str, str]:
    user = User.objects.create_user("ana@acme.example", "ana@acme.example")
    factories.member(partner, user)
    client = Client()
    client.force_login(user)
    name = settings.SESSION_COOKIE_NAME
    return {"Cookie": f"{name}={client.cookies[name].value}"}


def seen(web: Web, partner: Partner, path: str, cookie: Mapping[str, str]) -> tuple[int, str]:
    status, body = web.get(f"/portal/{partner.pk}/{path}", **cookie)
    return status, body.decode()


def test_without_kafka_and_redis_every_page_renders(
    partner: Partner, cookie: Mapping[str, str], tmp_path: Path
) -> None:
    sub = factories.subscription(partner)
    LanePosition.objects.create(subscription=sub, topic="orders", partition=0, next_offset=0)
    away = {"kafka_bootstrap": NOWHERE, "redis_url": f"redis://{NOWHERE}/0"}

    with running(tmp_path, **away) as web:
        statuses = {path: seen(web, partner, path, cookie)[0] for path in SECTIONS}
        status, page = seen(web, partner, f"subscriptions/{sub.pk}", cookie)

    assert set(statuses.values()) == {200}, statuses
    assert status == 200
    assert "Kafka is not available right now" in page


def test_without_postgresql_every_page_says_so(
    partner: Partner, cookie: Mapping[str, str], tmp_path: Path
) -> None:
    url = urlsplit(config.load().database_url.get_secret_value())
    place = url.netloc.rpartition(":")[0]
    with contextlib.ExitStack() as parts:
        line = parts.enter_context(SeveredLine(url.hostname or "", url.port or 5432))
        name = connection.settings_dict["NAME"]
        cut = f"{url.scheme}://{place}:{line.port}/{name}"
        with running(tmp_path, database_url=cut) as web:
            assert seen(web, partner, "start", cookie)[0] == 200
            parts.close()
            found = {path: seen(web, partner, path, cookie) for path in (*SECTIONS, "../../admin/")}

    assert {status for status, _ in found.values()} == {503}
    assert all("The database does not answer" in page for _, page in found.values())
