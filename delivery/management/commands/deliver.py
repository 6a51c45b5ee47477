"""``manage.py deliver``: one engine without Celery, for benchmarks, tests and profilers."""

import signal
import threading
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from delivery.engine import Engine
from kafkahub import config
from kafkahub.observability import logs
from subscriptions.snapshot import SnapshotKeeper, listen_dsn, load


class Command(BaseCommand):
    """Runs an engine until SIGTERM or SIGINT, then drains it."""

    help = "Run one delivery engine in this process, without Celery."

    def handle(self, *_args: Any, **_options: Any) -> None:
        settings = config.load()
        logs.configure("deliver", settings.log_level)
        ended = threading.Event()
        failed: list[str] = []

        def fail(thread: str) -> None:
            failed.append(thread)
            ended.set()

        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: ended.set())
        engine = Engine(settings, SnapshotKeeper(load, listen_dsn()), fail)
        engine.start()
        ended.wait()
        engine.stop(settings.delivery_drain_s)
        if failed:
            raise CommandError(f"the thread {failed[0]} of the engine died; see the log")
