"""The small HTTP server beside a worker, on ``KAFKAHUB_METRICS_PORT``.

It runs in the parent of the prefork children, which does nothing else, so it answers while every
child is busy, and ``/metrics`` is the sum over the children.
"""

import os
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from kafkahub.config import Config
from kafkahub.observability import health

STOP_DEADLINE_S = 2.0
"""Longest wait for the accepting thread at the end."""


class HealthServer:
    """Serves ``/livez``, ``/readyz`` and ``/metrics`` of a worker.

    Runs   one thread that accepts, one a request; started by the parent of the children
    Owns   the listening socket, of which a forked child closes its copy, and the watch
    Ends   ``stop``
    """

    def __init__(self, address: str, port: int, watch: health.Watch) -> None:
        handler = type("Handler", (_Handler,), {"watch": watch})
        self._watch = watch
        self._server = ThreadingHTTPServer((address, port), handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(
            target=self._server.serve_forever, name="health", daemon=True
        )
        os.register_at_fork(after_in_child=self._server.socket.close)

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

    def start(self) -> None:
        self._watch.start()
        self._thread.start()

    def drain(self, **_: object) -> None:
        """Be unready from now on; takes what Celery's signals say besides."""
        self._watch.is_draining = True

    def stop(self, **_: object) -> None:
        """Stop answering; takes what Celery's signals say besides."""
        self._watch.stop()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(STOP_DEADLINE_S)


class _Handler(BaseHTTPRequestHandler):
    watch: health.Watch
    timeout = health.LOOK_DEADLINE_S
    server_version = "kafkahub"
    sys_version = ""

    def do_GET(self) -> None:
        status, content_type, body = health.answer(
            self.path.partition("?")[0], self.watch, with_parts=True
        )
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing: a probe every few seconds is no news."""


def serve(config: Config) -> HealthServer | None:
    """Start the server of a worker and return it; None where no port is set.

    Called in the parent, before or after its children are made.
    """
    if not config.metrics_port:
        return None
    watch = health.Watch(health.neighbours(config, health.dial_kafka(config.kafka_bootstrap)))
    server = HealthServer(config.metrics_address, config.metrics_port, watch)
    server.start()
    return server
