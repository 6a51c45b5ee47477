"""Gives each of the processes that share a test run its own Redis database and Kafka group.

Also lets no test of properties fail for want of speed.

Loaded before Django's settings are: pytest imports what ``-p`` names first. PostgreSQL needs
nothing here, because pytest-django makes a database a worker, and topics have names of their own.
"""

import os
from collections.abc import MutableMapping

from hypothesis import settings

WORKER = "PYTEST_XDIST_WORKER"
"""``gw0``, ``gw1`` … in a worker of pytest-xdist; not set where one process runs all tests."""


def separate(environment: MutableMapping[str, str]) -> None:
    """Let this worker use nothing that another one does."""
    worker = environment.get(WORKER)
    if worker is None:
        return
    redis = environment.get("KAFKAHUB_REDIS_URL")
    if redis is not None:
        database = 1 + int(worker.removeprefix("gw"))
        environment["KAFKAHUB_REDIS_URL"] = f"{redis.rsplit('/', 1)[0]}/{database}"
    environment["KAFKAHUB_KAFKA_GROUP"] = f"test-{worker}"


separate(os.environ)
# These machines are shared: how long an example took says nothing of the code.
settings.register_profile("shared", deadline=None)
settings.load_profile("shared")
