"""The Celery application: its settings, its schedule, and that nothing it holds matters."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from celery.exceptions import QueueNotFound
from django.db import connection
from redis import Redis

from delivery.models import ParkedDelivery
from kafkahub import celery, config
from tests import factories

ROOT = Path(__file__).resolve().parents[2]
DEADLINE_S = 60.0
OWN_DATABASE = "/9"
"""A Redis database of this test's own, so that it may be emptied."""

TRANSPORT = {
    "visibility_timeout": 60,
    "unacked_restore_interval": 5,
    "unacked_restore_throttle": 1,
    "unacked_mutex_expire": 30,
    "health_check_interval": 10,
    "socket_timeout": 10,
    "socket_connect_timeout": 2,
    "socket_keepalive": True,
    "retry_on_timeout": True,
    "global_keyprefix": "kh:",
}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("task_acks_late", True),
        ("task_reject_on_worker_lost", True),
        ("task_acks_on_failure_or_timeout", True),
        ("worker_prefetch_multiplier", 1),
        ("task_ignore_result", True),
        ("result_backend", None),
        ("task_serializer", "json"),
        ("accept_content", ["json"]),
        ("task_create_missing_queues", False),
        ("task_default_queue", "control"),
        ("task_publish_retry", False),
        ("broker_pool_limit", 4),
        ("task_soft_time_limit", 30),
        ("task_time_limit", 45),
        ("worker_eta_task_limit", 100),
        ("broker_connection_max_retries", None),
        ("broker_connection_retry_on_startup", True),
        ("worker_cancel_long_running_tasks_on_connection_loss", True),
        ("worker_soft_shutdown_timeout", 25),
        ("worker_enable_soft_shutdown_on_idle", True),
        ("worker_proc_alive_timeout", 10),
        ("worker_send_task_events", False),
        ("worker_hijack_root_logger", False),
        ("worker_redirect_stdouts", False),
        ("broker_transport_options", TRANSPORT),
    ],
)
def test_every_value_is_the_one_that_reliability_asks_for(name: str, value: object) -> None:
    assert celery.app.conf[name] == value


def test_a_running_job_is_never_handed_out_a_second_time() -> None:
    conf = celery.app.conf

    assert conf.task_time_limit < conf.broker_transport_options["visibility_timeout"]


def test_every_entry_of_the_schedule_names_a_job_of_the_control_queue() -> None:
    celery.app.loader.import_default_modules()

    for entry in celery.SCHEDULE.values():
        task = celery.app.tasks[str(entry["task"])]
        assert celery.app.amqp.router.route({}, task.name)["queue"].name == celery.CONTROL


def test_a_misspelt_queue_is_an_error() -> None:
    with pytest.raises(QueueNotFound):
        celery.app.amqp.router.route({"queue": "contorl"}, "delivery.tasks.sweep_parked")


@pytest.mark.parametrize(
    ("given", "queues"),
    [
        ("delivery", {"delivery"}),
        ("delivery, control", {"delivery", "control"}),
        (["control"], {"control"}),
        (None, set()),
    ],
)
def test_the_queues_of_a_worker_are_read_from_its_command_line(
    given: object, queues: set[str]
) -> None:
    assert celery.queues_of({"queues": given}) == queues


@pytest.fixture
def redis_url() -> str:
    parts = urlsplit(config.load().redis_url.get_secret_value())
    return parts._replace(path=OWN_DATABASE).geturl()


@pytest.fixture
def control_worker(redis_url: str, tmp_path: Path) -> Iterator[Path]:
    """Run a control worker on the test's database; give the file of its log."""
    settings = connection.settings_dict
    user, host, port = settings["USER"], settings["HOST"], settings["PORT"]
    password = f":{settings['PASSWORD']}" if settings["PASSWORD"] else ""
    url = f"postgresql://{user}{password}@{host}:{port}/{settings['NAME']}"
    env = os.environ | {"KAFKAHUB_DATABASE_URL": url, "KAFKAHUB_REDIS_URL": redis_url}
    log = tmp_path / "worker.log"
    command = "-m celery -A kafkahub worker -Q control -c 1 --without-gossip --without-mingle"
    with log.open("wb") as out:
        worker = subprocess.Popen(
            [sys.executable, *command.split()], cwd=ROOT, env=env, stdout=out, stderr=out
        )
        try:
            yield log
        finally:
            worker.terminate()
            worker.wait(DEADLINE_S)


def wait_for(met: Callable[[], bool], log: Path) -> None:
    deadline = time.monotonic() + DEADLINE_S
    ticks = threading.Event()
    while not met():
        if time.monotonic() > deadline:
            pytest.fail(f"not within {DEADLINE_S} s; the worker said:\n{log.read_text()}")
        ticks.wait(0.05)


@pytest.mark.redis
@pytest.mark.django_db(transaction=True)
def test_jobs_go_on_after_redis_was_emptied(redis_url: str, control_worker: Path) -> None:
    publisher = celery.make_app(redis_url)
    subscription = factories.subscription(factories.partner())

    with closing(Redis.from_url(redis_url)) as redis:
        for _ in range(2):
            factories.parked(subscription, state="sending", lease_s=-1)
            publisher.send_task("delivery.tasks.sweep_parked")
            wait_for(ParkedDelivery.objects.filter(state="scheduled").exists, control_worker)
            ParkedDelivery.objects.all().delete()
            redis.flushdb()
    publisher.close()
