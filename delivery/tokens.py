"""Access tokens of endpoints that want OAuth2: fetched when needed, kept while they are good."""

import json
import re
import threading
import time
from base64 import b64encode
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple
from urllib.parse import quote_plus, urlencode

import structlog

from kafkahub.egress.curl import Answer
from kafkahub.egress.fetch import Request
from kafkahub.egress.urls import Target
from kafkahub.errors import Invalid
from subscriptions.credentials import OAuth2

log = structlog.get_logger()

MAX_BYTES = 64 * 1024
FETCHERS = 4
"""Threads: a token URL that hangs for its ten seconds must not hold all others up."""
MARGIN_S = 60
"""How long before its end a token is given up, so that none ends on its way."""
UNTOLD_S = 300
"""Life of a token whose end is not told; RFC 6749 leaves that to us."""
MAX_LIFE_S = 86_400
MAX_TOKEN = 8_192
OK = 200

OnReady = Callable[[str | None], None]
_TOKEN = re.compile(r"[!-~]+")


class Token(NamedTuple):
    """A token; ``until`` is the monotonic time from which another is fetched."""

    value: str
    until: float


class Tokens:
    """Tokens by the credentials they are had for.

    Runs   up to ``FETCHERS`` threads, the first of them started at the first need
    Owns   the tokens; all methods may be called from any thread
    Ends   ``close`` waits for fetches that are out, each of which ends by its own deadline
    """

    def __init__(self, fetch: Callable[[Request], Answer], parse: Callable[[str], Target]) -> None:
        self._fetch = fetch
        self._parse = parse
        self._pool = ThreadPoolExecutor(FETCHERS, thread_name_prefix="tokens")
        self._lock = threading.Lock()
        self._kept: dict[OAuth2, Token] = {}
        self._waiting: dict[OAuth2, list[OnReady]] = {}

    def peek(self, oauth2: OAuth2) -> str | None:
        """Return the token if there is a good one."""
        token = self._kept.get(oauth2)
        return token.value if token is not None and token.until > time.monotonic() else None

    def ask(self, oauth2: OAuth2, on_ready: OnReady) -> None:
        """Fetch a token; all who ask meanwhile get the same one, or None, on another thread."""
        with self._lock:
            waiting = self._waiting.get(oauth2)
            if waiting is not None:
                waiting.append(on_ready)
                return
            self._waiting[oauth2] = [on_ready]
        self._pool.submit(self._serve, oauth2)

    def forget(self, oauth2: OAuth2, value: str) -> None:
        """Drop a token that was refused, unless a newer one has its place already."""
        with self._lock:
            token = self._kept.get(oauth2)
            if token is not None and token.value == value:
                del self._kept[oauth2]

    def close(self) -> None:
        """End the threads."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _serve(self, oauth2: OAuth2) -> None:
        try:
            token = self._fetched(oauth2)
        except Exception:  # outermost of the thread: whoever waits must hear of it
            log.exception("token.fetch_broken")
            token = None
        with self._lock:
            now = time.monotonic()
            self._kept = {key: kept for key, kept in self._kept.items() if kept.until > now}
            if token is not None:
                self._kept[oauth2] = token
            waiting = self._waiting.pop(oauth2)
        for on_ready in waiting:
            on_ready(None if token is None else token.value)

    def _fetched(self, oauth2: OAuth2) -> Token | None:
        try:
            target = self._parse(oauth2.token_url)
        except Invalid:
            return None  # the rules of today forbid what was allowed when it was saved
        answer = self._fetch(request(oauth2, target))
        if answer.outcome is not None or answer.status != OK or answer.note is not None:
            return None
        return read(answer.body, time.monotonic())


def request(oauth2: OAuth2, target: Target) -> Request:
    """Return the request for a token. Source: RFC 6749 sections 2.3.1 and 4.4.2."""
    form = {"grant_type": "client_credentials"}
    form |= {"scope": oauth2.scope} if oauth2.scope else {}
    form |= {"audience": oauth2.audience} if oauth2.audience else {}
    headers = ["accept: application/json", "content-type: application/x-www-form-urlencoded"]
    if oauth2.is_secret_posted:
        form |= {"client_id": oauth2.client_id, "client_secret": oauth2.client_secret}
    else:
        pair = f"{quote_plus(oauth2.client_id)}:{quote_plus(oauth2.client_secret)}"
        headers.append(f"authorization: Basic {b64encode(pair.encode()).decode('ascii')}")
    return Request(target, "POST", tuple(headers), urlencode(form).encode(), body_cap=MAX_BYTES)


def read(body: bytes, now: float) -> Token | None:
    """Return the token of a token URL's answer; None for whatever is none."""
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError):
        return None
    if not isinstance(answer, dict):
        return None
    value, kind = answer.get("access_token"), answer.get("token_type", "bearer")
    if not isinstance(value, str) or not _TOKEN.fullmatch(value) or len(value) > MAX_TOKEN:
        return None
    if not isinstance(kind, str) or kind.lower() != "bearer":
        return None
    life = answer.get("expires_in", UNTOLD_S)
    if isinstance(life, bool) or not isinstance(life, int | float):
        life = UNTOLD_S
    return Token(value, now + max(0, min(life, MAX_LIFE_S) - MARGIN_S))
