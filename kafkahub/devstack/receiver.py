"""The sample receiver: a partner's endpoint that verifies what it gets, and fails now and then."""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Protocol

import msgspec

from kafkahub import clock, signing

TOLERANCE_S = 300
"""How far ``webhook-timestamp`` may be from our clock, either way: Standard Webhooks' advice."""

FAILS_ONE_IN = 20
MAX_BODY_BYTES = 10 * 1024 * 1024
REMEMBERED = 10_000
"""Ids kept to tell a copy from a new delivery."""

SHOWN_IN_FULL = 10
SUMMARY_EVERY_S = 10.0

OK, NO_CONTENT, UNAUTHORIZED, TOO_LARGE, FAILURE = 200, 204, 401, 413, 500
VERIFICATION = "kafkahub.verification"


class Envelope(msgspec.Struct):
    """The members of a body that the receiver shows."""

    type: str
    timestamp: str | None


class Diary:
    """What has come, told on the terminal: the first deliveries one by one, then sums.

    Owns   its counters, behind a lock: requests come in several threads

    live_secrets  returns the ``whsec_…`` that sign now
    fails_one_in  how many new deliveries come to one that is answered with 500
    """

    def __init__(
        self,
        live_secrets: Callable[[], Sequence[str]],
        write: Callable[[str], object],
        fails_one_in: int = FAILS_ONE_IN,
    ) -> None:
        self._live_secrets = live_secrets
        self._secrets = live_secrets()
        self._write = write
        self._fails_one_in = fails_one_in
        self._lock = threading.Lock()
        self._seen: OrderedDict[str, None] = OrderedDict()
        self._verified = self._copies = self._failed = self._refused = 0
        self._summary_due = time.monotonic() + SUMMARY_EVERY_S

    def answer(self, headers: Mapping[str, str], body: bytes) -> int:
        """Return the status for one request: 204, 401 when it is not genuine, 500 by intention."""
        with self._lock:
            status = self._judge(headers, body)
            self._sum_up()
        return status

    def _judge(self, headers: Mapping[str, str], body: bytes) -> int:
        fault = self._fault(headers, body)
        if fault:
            self._refused += 1
            self._write(f"  NOT VALID  {headers.get('webhook-id', '?')}: {fault}")
            return UNAUTHORIZED
        webhook_id = headers["webhook-id"]
        if webhook_id in self._seen:
            self._copies += 1
            return NO_CONTENT
        arrived = self._verified + self._failed + 1
        if arrived % self._fails_one_in == 0:
            self._failed += 1
            return FAILURE
        self._remember(webhook_id)
        if self._verified <= SHOWN_IN_FULL:
            self._write(_line(headers, body))
        return NO_CONTENT

    def _fault(self, headers: Mapping[str, str], body: bytes) -> str:
        """Return what is wrong with a request, or ""."""
        try:
            webhook_id, header = headers["webhook-id"], headers["webhook-signature"]
            timestamp = int(headers["webhook-timestamp"])
        except KeyError as error:
            return f"the header {error} is missing"
        except ValueError:
            return "webhook-timestamp is no number"
        if abs(timestamp - clock.unix_seconds()) > TOLERANCE_S:
            return f"webhook-timestamp is more than {TOLERANCE_S} s away"
        if not self._fits(
            lambda key: signing.verify(key, webhook_id, timestamp, body, header=header)
        ):
            return "no signature fits"
        return ""

    def _fits(self, verifies: Callable[[str], bool]) -> bool:
        """Say whether a secret we know verifies; they are read again once, after a rotation."""
        if any(verifies(key) for key in self._secrets):
            return True
        self._secrets = self._live_secrets()
        return any(verifies(key) for key in self._secrets)

    def _remember(self, webhook_id: str) -> None:
        self._verified += 1
        self._seen[webhook_id] = None
        if len(self._seen) > REMEMBERED:
            self._seen.popitem(last=False)

    def _sum_up(self) -> None:
        if self._verified <= SHOWN_IN_FULL or time.monotonic() < self._summary_due:
            return
        self._summary_due = time.monotonic() + SUMMARY_EVERY_S
        self._write(
            f"  {self._verified} deliveries verified, {self._copies} copies,"
            f" {self._failed} failed on purpose, {self._refused} not valid"
        )


def _line(headers: Mapping[str, str], body: bytes) -> str:
    envelope = msgspec.json.decode(body, type=Envelope)
    topic, attempt = headers.get("kafkahub-topic", "?"), headers.get("kafkahub-attempt", "?")
    age = ""
    if envelope.timestamp is not None:
        written = datetime.fromisoformat(envelope.timestamp)
        age = f", {(clock.now() - written).total_seconds() * 1000:.0f} ms after it was written"
    return f"  verified   {headers['webhook-id']}  {topic:<8}  attempt {attempt}{age}"


def challenge_of(body: bytes) -> bytes:
    """Return what a handshake wants to hear, or b"" for every other request.

    A receiver that does not answer so is sent nothing, unless the operator trusts its host.
    """
    if VERIFICATION.encode() not in body:
        return b""
    asked = msgspec.json.decode(body)
    if asked["type"] != VERIFICATION:
        return b""
    return msgspec.json.encode({"challenge": asked["data"]["challenge"]})


class Answers(Protocol):
    """What a receiver asks about each request."""

    def answer(self, headers: Mapping[str, str], body: bytes) -> int:
        """Return the status of the answer."""
        ...


def server(port: int, diary: Answers) -> ThreadingHTTPServer:
    """Return a server on this machine that is ready to ``serve_forever``; port 0 takes any."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"  # connections are kept

        def do_POST(self) -> None:
            length = int(self.headers.get("content-length") or 0)
            if length > MAX_BODY_BYTES:
                self._end(TOO_LARGE)
                return
            headers = {name.lower(): value for name, value in self.headers.items()}
            body = self.rfile.read(length)
            status = diary.answer(headers, body)
            echo = challenge_of(body) if status == NO_CONTENT else b""
            self._end(OK if echo else status, echo)

        def _end(self, status: int, content: bytes = b"") -> None:
            self.send_response_only(status)
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            """Print nothing a request: the diary tells what matters."""

    return ThreadingHTTPServer(("127.0.0.1", port), Handler)
