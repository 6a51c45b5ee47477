"""What the Usage page costs."""

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

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
