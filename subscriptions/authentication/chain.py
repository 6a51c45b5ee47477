"""From the ``Authorization`` header to a Principal: the form decides who verifies.

What was verified is kept in memory, by the SHA-256 of the credential, and all of it is dropped
when ``access_version`` moved: a revoked key ends within ``POLL_S`` in every process.
"""

import hashlib
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

from django.db import DatabaseError, connection

from kafkahub import clock
from kafkahub.errors import Invalid, InvalidToken, RateLimited, Unauthenticated, Unavailable
from subscriptions import sightings
from subscriptions.authentication import credentials, verifiers
from subscriptions.authentication.known import Known
from subscriptions.authentication.last_use import LastUse, Use
from subscriptions.authentication.throttle import FailureThrottle, network_of
from subscriptions.authentication.verifiers import Presented
from subscriptions.grants import Principal

POLL_S = 1.0
"""Longest time for which a cached verdict is believed without looking at the version."""
STALE_S = 300.0
"""How long verified keys go on while PostgreSQL is away."""
MAX_KNOWN = 50_000
MAX_REFUSED = 10_000
REFUSED_S = 5.0
"""How long a credential that was refused is refused again without a look-up."""

UNSHOWN = "The credential is bound to a client certificate, which was not shown."
Digest = bytes


@dataclass(slots=True)
class Chain:
    """Verifies credentials and remembers them.

    Shared by all threads of a process; ``lock`` guards the three memories, and is never held
    during a query.

    glanced      what is in ``known``, by the SHA-256 of the whole header
    monotonic_s  the clock of all deadlines here
    """

    monotonic_s: Callable[[], float] = time.monotonic
    lock: threading.Lock = field(default_factory=threading.Lock)
    known: OrderedDict[Digest, Known] = field(default_factory=OrderedDict)
    glanced: OrderedDict[Digest, Known] = field(default_factory=OrderedDict)
    refused: OrderedDict[Digest, float] = field(default_factory=OrderedDict)
    version: int = 0
    looked_s: float = float("-inf")
    failures: FailureThrottle = field(default_factory=FailureThrottle)
    last_use: LastUse = field(default_factory=LastUse)

    def authenticate(
        self,
        authorization_header: str | None,
        address: str,
        agent: str = "",
        certificate: str = "",
    ) -> Principal:
        """Return who this is.

        address      the caller's IP address, behind trusted proxies the one they tell
        agent        the caller's ``User-Agent``, kept with the last use
        certificate  the ``Client-Cert`` that a trusted proxy has set, or ""

        Raises Unauthenticated, KeyExpired, InvalidToken naming the check, RateLimited for too many
        failures from there, Invalid for two credentials at once, IssuerUnavailable, Unavailable
        while PostgreSQL is away.
        """
        presented = verifiers.read(credentials.parse(authorization_header).text)
        if presented is None:
            raise self._failure(address, "")
        self._refresh()
        try:
            found = self._find(presented)
        except InvalidToken as error:
            raise self._failure(address, "", error) from None
        now = clock.now()
        if found is None or not found.allows(address) or now < found.not_before:
            raise self._failure(address, presented.public_id)
        if not found.is_shown_with(certificate):
            raise InvalidToken(UNSHOWN)
        if (fault := found.fault(now)) is not None:
            raise fault
        if found.principal.kind == "key":
            use = Use(found.principal.id, now, address or None, agent)
            self.last_use.note(use, self.monotonic_s())
        return found.principal

    def glance(
        self,
        authorization_header: str | None,
        address: str,
        agent: str = "",
        certificate: str = "",
    ) -> Principal | None:
        """Return who this is where memory alone can tell, for an event loop that must not wait.

        None says nothing about the credential: ``authenticate`` has to.
        """
        now_s = self.monotonic_s()
        if authorization_header is None or now_s - self.looked_s >= POLL_S:
            return None
        digest = hashlib.sha256(authorization_header.encode("latin-1")).digest()
        found = self.glanced.get(digest)
        if found is None:
            found = self._glance_by_text(authorization_header, digest)
        now = clock.now()
        if found is None or not found.allows(address) or not found.holds(now):
            return None
        if not found.is_shown_with(certificate):
            return None
        if found.principal.kind != "key":
            return found.principal
        use = Use(found.principal.id, now, address or None, agent)
        return found.principal if self.last_use.remember(use, now_s) else None

    def _glance_by_text(self, header: str, digest: Digest) -> Known | None:
        """Return what is known of the credential in a header; remember it by the whole header."""
        try:
            text = credentials.parse(header).text
        except (Unauthenticated, Invalid):
            return None
        with self.lock:
            found = self.known.get(_digest(text))
            if found is not None:
                self.glanced[digest] = found
                _shorten(self.glanced, MAX_KNOWN)
        return found

    def _refresh(self) -> None:
        """Forget everything when the version moved since the last look, at most ``POLL_S`` ago."""
        now_s = self.monotonic_s()
        if now_s - self.looked_s < POLL_S:
            return
        try:
            version = access_version()
        except DatabaseError:
            if now_s - self.looked_s > STALE_S:
                raise
            return
        with self.lock:
            if version != self.version:
                self.known.clear()
                self.glanced.clear()
                self.refused.clear()
            self.version, self.looked_s = version, now_s

    def _find(self, presented: Presented) -> Known | None:
        digest = _digest(presented.text)
        with self.lock:
            found = self.known.get(digest)
            if found is not None:
                self.known.move_to_end(digest)
                return found
            if self.refused.get(digest, 0.0) > self.monotonic_s():
                return None
            version = self.version
        try:
            found = presented.verify()
        except DatabaseError as error:
            raise Unavailable("Credentials cannot be checked right now.") from error
        self._remember(digest, found, version)
        return found

    def _remember(self, digest: Digest, found: Known | None, version: int) -> None:
        with self.lock:
            if version != self.version:
                return  # read before a change that another thread has seen already
            if found is None:
                self.refused[digest] = self.monotonic_s() + REFUSED_S
                _shorten(self.refused, MAX_REFUSED)
            else:
                self.known[digest] = found
                _shorten(self.known, MAX_KNOWN)

    def _failure(
        self, address: str, public_id: str, error: Unauthenticated | None = None
    ) -> Unauthenticated | RateLimited:
        """Count a failure and return what the caller gets for it: ``error``, or the one text.

        Only who fails is slowed down: a right credential from the same place still works, so
        nobody can lock a partner out.
        """
        names = [f"net:{network_of(address)}"] + ([f"key:{public_id}"] if public_id else [])
        sightings.process_sightings().failed(names)
        wait_s = self.failures.note(tuple(names), self.monotonic_s())
        if wait_s:
            text = "Too many credentials failed from here or for this key."
            return RateLimited(text, retry_after_s=int(wait_s) + 1)
        return error or credentials.malformed()


def _digest(text: str) -> Digest:
    return hashlib.sha256(text.encode()).digest()


def _shorten(memory: OrderedDict[Digest, Known] | OrderedDict[Digest, float], limit: int) -> None:
    while len(memory) > limit:
        memory.popitem(last=False)


def access_version() -> int:
    """Return the number that rises with every change of who may do what."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT version FROM access_version")
        row = cursor.fetchone()
    return int(row[0])


process_chain = Chain()
"""The one of this process; tests make their own."""


def glance(
    authorization_header: str | None, address: str, agent: str = "", certificate: str = ""
) -> Principal | None:
    """Return who this is where memory can tell; see ``Chain.glance``."""
    return process_chain.glance(authorization_header, address, agent, certificate)


def authenticate(
    authorization_header: str | None, address: str, agent: str = "", certificate: str = ""
) -> Principal:
    """Return who this is, by the chain of this process; see ``Chain.authenticate``."""
    return process_chain.authenticate(authorization_header, address, agent, certificate)
