"""Fixtures of every test: clock, broker, endpoint, alice, bob, charlie."""

import pytest
from django.db import connection
from pytest_django.plugin import DjangoDbBlocker


@pytest.fixture(scope="session")
def django_db_setup(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> None:
    """Let transactional tests empty the audit log, which its trigger forbids everywhere else."""
    with django_db_blocker.unblock(), connection.cursor() as cursor:
        cursor.execute("ALTER TABLE subscriptions_auditevent DISABLE TRIGGER audit_no_truncate")
