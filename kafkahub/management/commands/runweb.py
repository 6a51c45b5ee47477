"""Serve the admin and the API with the limits on request heads."""

import argparse
import os
import ssl
from collections.abc import Callable
from functools import partial
from typing import Any

import uvicorn
from django.core.management.base import BaseCommand, CommandParser

from gateway.messages import MAX_MESSAGE_BYTES
from gateway.server import GuardedProtocol, GuardedWebSocket
from kafkahub import config
from kafkahub.observability import metrics
from kafkahub.serving import renewing_context

Tls = Callable[..., ssl.SSLContext]

DRAIN_S = 10
"""Seconds that running requests get at the end, after streams have been drained."""
PING_S = 20
"""Seconds between two pings of a WebSocket, and how long the answer may take."""
BACKLOG = 4_096
"""Connections that wait to be accepted: after a deploy all streams come back at once."""

MAX_PORT = 65_535


class Command(BaseCommand):
    """``manage.py runweb``."""

    help = "Run the web process: admin, API and probes, by uvicorn with limits on request heads."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--host", default="127.0.0.1", help="Address to listen on.")
        parser.add_argument("--port", type=_port, default=8000, help="Port to listen on.")
        parser.add_argument("--workers", type=int, default=1, help="Processes that serve.")

    def handle(self, *_: object, **options: Any) -> None:
        if options["workers"] > 1:
            metrics.share(os.environ)
        settings = config.load()
        tls: Tls | None = None
        if settings.tls_cert is not None and settings.tls_key is not None:
            tls = partial(renewing_context, settings.tls_cert, settings.tls_key)
        uvicorn.run(
            "kafkahub.asgi:application",
            host=options["host"],
            port=options["port"],
            workers=options["workers"],
            http=GuardedProtocol,
            loop="gateway.loop:Loop",
            lifespan="on",
            ws=GuardedWebSocket,
            ws_max_size=MAX_MESSAGE_BYTES,
            ws_per_message_deflate=False,
            ws_ping_interval=PING_S,
            ws_ping_timeout=PING_S,
            proxy_headers=False,
            server_header=False,
            access_log=False,
            log_config=None,
            timeout_graceful_shutdown=DRAIN_S,
            backlog=BACKLOG,
            ssl_context_factory=tls,
        )


def _port(text: str) -> int:
    number = int(text)
    if not 0 <= number <= MAX_PORT:
        raise argparse.ArgumentTypeError("a port is 0 to 65535")
    return number
