"""A receiver as a partner writes one: it checks signatures, and refuses what is forged or old."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from standardwebhooks.webhooks import Webhook, WebhookVerificationError

NEEDED = ("webhook-id", "webhook-timestamp", "webhook-signature")


class Receiver(ThreadingHTTPServer):
    """Knows the secret once it is told; before that it refuses everything."""

    secret = ""
    taken: list[bytes]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/hook"

    def judge(self, body: bytes, headers: dict[str, str]) -> int:
        if not self.secret:
            return 401
        try:
            Webhook(self.secret).verify(body, headers)
        except WebhookVerificationError:
            return 401
        self.taken.append(body)
        return 204


class Answers(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        headers = {name: self.headers.get(name, "") for name in NEEDED}
        self._answer(self.server.judge(body, headers))

    def do_OPTIONS(self) -> None:
        self._answer(204)

    def _answer(self, status: int) -> None:
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - as in the library
        """Say nothing."""


@contextmanager
def receiving() -> Iterator[Receiver]:
    with Receiver(("127.0.0.1", 0), Answers) as server:
        server.taken = []
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()
