"""Fixtures of every test: clock, broker, endpoint, alice, bob, charlie."""

import functools
import os
import shutil
from collections.abc import Callable
from uuid import uuid4

import pytest
from django.db import connection
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.signals import connection_created
from django.dispatch import receiver
from pytest_django.plugin import DjangoDbBlocker

from kafkahub import config
from kafkahub.kafka.admin import Admin
from kafkahub.kafka.faults import KafkaUnavailable
from kafkahub.kafka.options import admin_options
from subscriptions import limiting
from tests import factories
from tests.api import Caller

REQUIRE_PARTS = "KAFKAHUB_REQUIRE_PARTS"
"""Set by ``.ci/run``: there, a test whose part is missing fails instead of being skipped."""

MakeTopic = Callable[..., str]
"""``topic(partitions=1)``: makes a topic nobody else uses and returns its name."""


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip a test whose part is not here, or fail it where that part is required."""
    checks = {"kafka": _kafka_fault, "browser": _browser_fault, "node": _node_fault}
    for name in checks.keys() & {marker.name for marker in item.iter_markers()}:
        fault = checks[name]()
        if fault is not None and os.environ.get(REQUIRE_PARTS) == "1":
            pytest.fail(f"{fault}; {REQUIRE_PARTS} forbids to skip", pytrace=False)
        if fault is not None:
            pytest.skip(fault)


@functools.cache
def _kafka_fault() -> str | None:
    try:
        in_memory = Admin(admin_options(config.load())).is_in_memory()
    except KafkaUnavailable:
        return "Kafka does not answer"
    return "needs a real Apache Kafka; this one is in memory" if in_memory else None


@functools.cache
def _browser_fault() -> str | None:
    return None if shutil.which("chromium") else "needs chromium (Debian: apt install chromium)"


@functools.cache
def _node_fault() -> str | None:
    has_both = shutil.which("node") and shutil.which("npm")
    return None if has_both else "needs node and npm (Debian: apt install nodejs npm)"


@pytest.fixture(scope="session")
def bootstrap() -> str:
    """Return the address of the Kafka of this run."""
    return config.load().kafka_bootstrap


@pytest.fixture(scope="session")
def redis_url() -> str:
    """Return the URL of the Redis of this run; nobody else uses it."""
    return config.load().redis_url.get_secret_value()


@pytest.fixture
def topic(bootstrap: str) -> MakeTopic:
    """Return what makes topics."""
    admin = Admin(admin_options(config.load()))

    def make(partitions: int = 1) -> str:
        name = f"test-{uuid4().hex[:12]}"
        admin.create_topic(name, partitions, deadline_s=15)
        return name

    return make


@receiver(connection_created)
def _outlast_deadlocks(connection: BaseDatabaseWrapper, **_: object) -> None:
    """Let a process of ours lose, not the test that empties tables beside it: it tries again."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT current_setting('is_superuser') = 'on'")
        if cursor.fetchone() == (True,):
            cursor.execute("SET deadlock_timeout = '20s'")


@pytest.fixture(scope="session")
def django_db_setup(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> None:
    """Let transactional tests empty the audit log, which its trigger forbids everywhere else."""
    with django_db_blocker.unblock(), connection.cursor() as cursor:
        cursor.execute("ALTER TABLE subscriptions_auditevent DISABLE TRIGGER audit_no_truncate")


@pytest.fixture(autouse=True)
def _whole_limits() -> None:
    """Let each test begin with whole bursts: all of them call from one address."""
    limiting.process_limiter.cache_clear()


@pytest.fixture
def alice(db: None) -> Caller:
    """Return a caller of a partner who may read ``orders``."""
    owner = factories.partner()
    factories.grant(owner)
    return factories.caller(owner, "alice")


@pytest.fixture
def bob(alice: Caller) -> Caller:
    """Return another caller of alice's partner."""
    return factories.caller(alice.partner, "bob")


@pytest.fixture
def charlie(db: None) -> Caller:
    """Return a stranger: a caller of another partner, with the same rights there."""
    owner = factories.partner()
    factories.grant(owner)
    return factories.caller(owner, "charlie")
