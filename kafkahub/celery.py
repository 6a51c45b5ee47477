"""The Celery application: doorbells and jobs, never the only copy of a delivery.

``celery -A kafkahub worker -Q delivery`` carries the engines, ``-Q control`` the jobs. Every value
of ``SETTINGS`` has its reason beside it; what Celery does by default was measured to lose tasks or
to run them several times.
"""

import os
from collections.abc import Mapping
from typing import Any, Final

from celery import Celery, signals
from kombu import Queue
from kombu.utils.imports import symbol_by_name

from kafkahub import config
from kafkahub.observability import health_server, logs

DELIVERY, CONTROL = "delivery", "control"

SETTINGS: Final[Mapping[str, object]] = {
    # A job mostly survives a killed worker; what does not is found by the next sweep. One that
    # fails is acknowledged, or it would come back for ever.
    "task_acks_late": True,
    "task_reject_on_worker_lost": True,
    "task_acks_on_failure_or_timeout": True,
    "worker_prefetch_multiplier": 1,
    # Nobody reads results; nothing but JSON is taken.
    "task_ignore_result": True,
    "result_backend": None,
    "task_serializer": "json",
    "accept_content": ["json"],
    # A misspelt queue is an error, and publishing never holds up a request.
    "task_queues": [Queue(DELIVERY), Queue(CONTROL)],
    "task_create_missing_queues": False,
    "task_default_queue": CONTROL,
    "task_publish_retry": False,
    "broker_pool_limit": 4,
    # Below the visibility timeout, so that a running job is not handed out a second time.
    "task_soft_time_limit": 30,
    "task_time_limit": 45,
    "worker_eta_task_limit": 100,
    # Engines start, and go on, while Redis is away; the default gives up after 100 tries.
    "broker_connection_max_retries": None,
    "broker_connection_retry_on_startup": True,
    "worker_cancel_long_running_tasks_on_connection_loss": True,
    # The drain of an engine; its start returns at once, so 10 s are plenty.
    "worker_soft_shutdown_timeout": 25,
    "worker_enable_soft_shutdown_on_idle": True,
    "worker_proc_alive_timeout": 10,
    # An engine is not recycled by counters; ``_recycle_jobs`` sets both for the other worker.
    "worker_max_tasks_per_child": None,
    "worker_max_memory_per_child": None,
    "broker_transport_options": {
        # Same for all workers of one broker: the smallest wins.
        "visibility_timeout": 60,
        # A killed worker's tasks come back within seconds, and its lock on that within 30.
        "unacked_restore_interval": 5,
        "unacked_restore_throttle": 1,
        "unacked_mutex_expire": 30,
        "health_check_interval": 10,
        "socket_timeout": 10,
        "socket_connect_timeout": 2,
        "socket_keepalive": True,
        "retry_on_timeout": True,
        "global_keyprefix": "kh:",
    },
    # Logs and metrics are our own.
    "worker_send_task_events": False,
    "worker_hijack_root_logger": False,
    "worker_redirect_stdouts": False,
    "timezone": "UTC",
    "enable_utc": True,
}

ENGINES = "delivery.worker:connect"
"""By name: it needs Django, which Celery sets up after this file is read, and before a worker."""

JOBS_PER_CHILD = 1_000
JOBS_MEMORY_KIB = 300_000
"""When a child of the control worker is replaced: a leak in a job must not last."""


def _every(seconds: int, task: str) -> dict[str, object]:
    """Return one beat entry; a tick nobody took in time is dropped, the next one does its work."""
    return {"task": task, "schedule": float(seconds), "options": {"expires": seconds}}


SCHEDULE: Final[Mapping[str, Mapping[str, object]]] = {
    "partitions": _every(3_600, "delivery.tasks.keep_partitions"),
    "dead-letters": _every(3_600, "delivery.tasks.expire_dead_letters"),
    "parked": _every(5, "delivery.tasks.sweep_parked"),
    "parked-anew": _every(5, "delivery.tasks.make_parked_anew"),
    "replays": _every(2, "delivery.tasks.keep_replays"),
    "gaps": _every(5, "delivery.tasks.announce_gaps"),
    "idempotency-keys": _every(3_600, "subscriptions.tasks.expire_idempotency_keys"),
    "stream-tickets": _every(3_600, "subscriptions.tasks.expire_stream_tickets"),
    "quotas": _every(60, "subscriptions.tasks.judge_quotas"),
    "usage": _every(3_600, "subscriptions.tasks.expire_usage"),
    "access-tokens": _every(86_400, "subscriptions.tasks.expire_access_tokens"),
    "produce-receipts": _every(3_600, "subscriptions.tasks.expire_receipts"),
    "pull-instances": _every(30, "subscriptions.tasks.expire_instances"),
    "handshakes": _every(5, "delivery.tasks.verify_endpoints"),
    "late-handshakes": _every(3_600, "delivery.tasks.give_up_unverified"),
    "suspensions": _every(30, "delivery.tasks.watch_subscriptions"),
    "lags": _every(60, "delivery.tasks.watch_lags"),
    "failing-endpoints": _every(60, "delivery.tasks.watch_endpoints"),
    "probes": _every(20, "delivery.tasks.probe_endpoints"),
    "new-dead-letters": _every(60, "delivery.tasks.announce_dead_letters"),
    "purges": _every(3_600, "delivery.tasks.warn_of_purge"),
    "expiries": _every(3_600, "subscriptions.tasks.warn_of_expiries"),
    "pull-groups": _every(5, "subscriptions.tasks.mirror_groups"),
    "notices": _every(5, "delivery.tasks.send_notices"),
    "mails": _every(30, "subscriptions.tasks.mail_notices"),
    "old-notices": _every(3_600, "subscriptions.tasks.expire_notices"),
    "sessions": _every(3_600, "subscriptions.tasks.expire_sessions"),
    "use": _every(60, "subscriptions.tasks.watch_use"),
    "state": _every(15, "subscriptions.tasks.watch_state"),
    "deliveries": _every(15, "delivery.tasks.watch_state"),
    "audit": _every(86_400, "subscriptions.tasks.verify_audit"),
    "sightings": _every(3_600, "subscriptions.tasks.expire_sightings"),
    "audit-head": _every(3_600, "subscriptions.tasks.write_audit_head"),
}
"""In code, because nobody edits it; jobs are idempotent, so two beats do no harm."""


def make_app(redis_url: str) -> Celery:
    """Return the application, not yet connected to anything."""
    app = Celery("kafkahub", broker=redis_url)
    app.conf.update(SETTINGS, beat_schedule=SCHEDULE)
    app.autodiscover_tasks(["subscriptions", "delivery"])
    return app


def queues_of(options: Mapping[str, Any]) -> frozenset[str]:
    """Return the queues a worker was started for, by its command line's ``-Q``."""
    given = options.get("queues") or ()
    names = given.split(",") if isinstance(given, str) else given
    return frozenset(str(name).strip() for name in names)


@signals.celeryd_init.connect
def _prepare_worker(conf: Any, options: Mapping[str, Any], **_: object) -> None:
    """Set up the log, and what the children are for: engines, or jobs that recycle them."""
    if DELIVERY in queues_of(options):
        logs.configure("delivery", config.load().log_level)
        symbol_by_name(ENGINES)()
        return
    logs.configure("control", config.load().log_level)
    conf.worker_max_tasks_per_child = JOBS_PER_CHILD
    conf.worker_max_memory_per_child = JOBS_MEMORY_KIB


@signals.setup_logging.connect
def _keep_our_logging(**_: object) -> None:
    """Do nothing: that this is connected keeps Celery from setting up its own."""


@signals.beat_init.connect
def _set_up_beat(**_: object) -> None:
    """Set up the log of a beat process, by itself or beside a worker."""
    logs.configure("beat", config.load().log_level)


@signals.worker_init.connect
def _serve_health(**_: object) -> None:
    """Answer probes in the parent, before its children are made and while Redis is away."""
    server = health_server.serve(config.load())
    if server is not None:
        signals.worker_shutting_down.connect(server.drain, weak=False)
        signals.worker_shutdown.connect(server.stop, weak=False)


os.environ.setdefault("DJANGO_SETTINGS_MODULE", "kafkahub.settings")
app = make_app(config.load().redis_url.get_secret_value())
