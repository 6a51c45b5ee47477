"""Turns requests into answers: many at once, on one thread."""

import os
import select
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Protocol, Self

import msgspec
import pycurl

from delivery import metrics
from delivery.request import Login, Request
from delivery.tokens import Tokens
from delivery.transfers import OwnTransfers
from kafkahub.config import Config
from kafkahub.egress.curl import Answer, Pins, Profile, Transfer, unsent
from kafkahub.egress.fetch import fetch
from kafkahub.egress.resolver import Resolution, Resolver
from kafkahub.egress.urls import Target
from kafkahub.errors import Invalid
from subscriptions import verification

TICK_S = 0.05
"""Longest time between two looks at what is due."""
EVENTS_MAX = 512
TARGETS_MAX = 10_000
"""Parsed URLs kept; beyond, all are parsed anew."""
UNAUTHORIZED = 401
READ, WRITE = select.EPOLLIN, select.EPOLLOUT
_MASKS = {
    pycurl.POLL_IN: READ,
    pycurl.POLL_OUT: WRITE,
    pycurl.POLL_INOUT: READ | WRITE,
}


class Source(Protocol):
    """Where requests come from and answers go; called on the sender's thread only."""

    def take(self, now: float) -> Request | None: ...

    def land(self, sent: Request, answer: Answer, now: float) -> None: ...

    def tick(self, now: float) -> None: ...


class Sender:
    """Sends what its source gives, up to ``max_in_flight`` at once.

    Runs   one thread, started by the engine
    Owns   the multi handle, its epoll, and the transfers, which are used again and again
    Takes  requests from ``source``, which it also ticks
    Ends   ``stop``: requests that are out get no answer

    ``socket_action`` on an epoll of our own, because ``perform`` walks all handles and ``select``
    ends at descriptor 1,023. Descriptors stay in the epoll while libcurl is done with them: a
    connection is used again within milliseconds, and taking it out and in costs 10 µs a request.
    """

    def __init__(
        self,
        source: Source,
        *,
        profile: Profile,
        resolver: Resolver,
        parse: Callable[[str], Target],
        max_in_flight: int,
    ) -> None:
        self._source = source
        self._profile = profile
        self._resolver = resolver
        self._parse = parse
        self._max_in_flight = max_in_flight
        self._stopping = threading.Event()
        self._wake_fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._is_awake = False
        self._waking = threading.Lock()
        self._epoll = select.epoll()
        self._epoll.register(self._wake_fd, READ)
        self._watched: dict[int, int] = {}
        self._idle: set[int] = set()
        self._timer_at: float | None = None
        self._pins = Pins()
        self._free: list[Transfer] = []
        self._tokens = Tokens(lambda asked: fetch(asked, profile, resolver), parse)
        self._fetched: deque[tuple[Request, str | None]] = deque()
        self._own = OwnTransfers(lambda tls: Transfer(profile, self._pins, tls=tls))
        self._out: dict[pycurl.Curl, tuple[Transfer, Request]] = {}
        self._targets: dict[str, Target] = {}
        self._resolving = 0
        self._resolved: deque[tuple[Request, Target, Resolution, float]] = deque()
        self._multi = pycurl.CurlMulti()
        self._multi.setopt(pycurl.M_SOCKETFUNCTION, self._on_socket)
        self._multi.setopt(pycurl.M_TIMERFUNCTION, self._on_timer)
        # Counts busy connections too; too small a number closes each after its use.
        self._multi.setopt(pycurl.M_MAXCONNECTS, 2 * max_in_flight)

    @classmethod
    def of(cls, config: Config, source: Source) -> Self:
        """Return a sender by the settings of this process."""
        profile = verification.profile()
        resolver = Resolver(profile.rules, config.egress_dns_servers)
        return cls(
            source,
            profile=profile,
            resolver=resolver,
            parse=verification.parse_url,
            max_in_flight=config.delivery_max_in_flight,
        )

    def wake(self) -> None:
        """Make the thread look at its source now; from any thread."""
        if self._is_awake:
            return
        with self._waking:
            if not self._is_awake:
                self._is_awake = True
                os.eventfd_write(self._wake_fd, 1)

    def stop(self) -> None:
        """End the thread; the caller joins it."""
        self._stopping.set()
        self.wake()

    def run(self) -> None:
        """Send until stopped."""
        try:
            while not self._stopping.is_set():
                self._turn()
        finally:
            self._close()

    def _turn(self) -> None:
        now = time.monotonic()
        self._source.tick(now)
        self._start_resolved()
        if self._fetched:
            self._start_fetched(now)
        if self._fill(now):
            self._multi.socket_action(pycurl.SOCKET_TIMEOUT, 0)
        elif self._timer_at is not None and self._timer_at <= now:
            self._timer_at = None
            self._multi.socket_action(pycurl.SOCKET_TIMEOUT, 0)
        else:
            self._wait(now)
        self._collect()

    # Requests out.

    def _fill(self, now: float) -> bool:
        """Start as many requests as there is room for; return whether any was."""
        before = len(self._out)
        while len(self._out) + self._resolving < self._max_in_flight:
            request = self._source.take(now)
            if request is None:
                break
            self._begin(request, now)
        metrics.inflight.set(len(self._out))
        return len(self._out) > before

    def _begin(self, request: Request, now: float) -> None:
        if request.login is not None and not self._has_token(request, request.login):
            return
        target = self._target(request.url)
        if target is None:
            self._source.land(request, unsent("address_denied"), now)
            return
        if target.address is not None:
            self._send(request, target, (target.address,))
            return
        known = self._resolver.peek(target.host)
        if known is not None:
            self._send_resolved(request, target, known)
            return
        self._resolving += 1

        def on_ready(resolution: Resolution) -> None:
            self._resolved.append((request, target, resolution, now))
            self.wake()

        owner = request.delivery.form.subscription.partner
        self._resolver.lookup(target.host, on_ready, owner=owner)

    def _has_token(self, request: Request, login: Login) -> bool:
        """Return whether the request has its token; if not, it is begun again when it has."""
        login.token = login.token or self._tokens.peek(login.oauth2) or ""
        if login.token:
            return True
        self._resolving += 1

        def on_ready(fetched: str | None) -> None:
            self._fetched.append((request, fetched))
            self.wake()

        self._tokens.ask(login.oauth2, on_ready)
        return False

    def _start_fetched(self, now: float) -> None:
        """Go on with requests whose token was fetched, or could not be had."""
        while self._fetched:
            request, token = self._fetched.popleft()
            self._resolving -= 1
            if request.login is None or token is None:
                self._source.land(request, unsent("auth_failed"), now)
                continue
            request.login.token = token
            self._begin(request, now)

    def _start_resolved(self) -> None:
        while self._resolved:
            request, target, resolution, asked_at = self._resolved.popleft()
            self._resolving -= 1
            request.dns_us = int((time.monotonic() - asked_at) * 1e6)
            self._send_resolved(request, target, resolution)

    def _send_resolved(self, request: Request, target: Target, resolution: Resolution) -> None:
        if resolution.fault is None:
            self._send(request, target, resolution.addresses)
        else:
            self._source.land(request, unsent(resolution.fault), time.monotonic())

    def _send(self, request: Request, target: Target, addresses: tuple[str, ...]) -> None:
        if request.tls is not None:
            transfer = self._own.take(request.tls)
        else:
            transfer = self._free.pop() if self._free else Transfer(self._profile, self._pins)
        transfer.prepare(
            target,
            addresses,
            request.headers if request.login is None else _with_token(request, request.login),
            request.body,
            timeout_ms=request.timeout_ms,
            connect_timeout_ms=request.connect_timeout_ms,
        )
        if request.reads_bytes:
            transfer.read_up_to(request.reads_bytes)
        self._out[transfer.easy] = (transfer, request)
        self._multi.add_handle(transfer.easy)

    def _target(self, url: str) -> Target | None:
        """Return the parsed URL, or None where it may not be dialled by the rules of today."""
        target = self._targets.get(url)
        if target is not None:
            return target
        if len(self._targets) >= TARGETS_MAX:
            self._targets.clear()
        try:
            target = self._parse(url)
        except Invalid:
            return None
        self._targets[url] = target
        return target

    # Answers in.

    def _wait(self, now: float) -> None:
        timeout = TICK_S
        if self._timer_at is not None:
            timeout = min(timeout, self._timer_at - now)
        for fd, events in self._epoll.poll(timeout, EVENTS_MAX):
            if fd == self._wake_fd:
                os.eventfd_read(fd)
                self._is_awake = False
            elif fd in self._idle:
                self._unwatch(fd)  # the far side closed a connection nobody uses
            else:
                self._multi.socket_action(fd, _bits(events))

    def _collect(self) -> None:
        while True:
            left, fine, failed = self._multi.info_read(EVENTS_MAX)
            now = time.monotonic()
            for easy in fine:
                self._land(easy, 0, "", now)
            for easy, code, text in failed:
                self._land(easy, code, text, now)
            if not left:
                return

    def _land(self, easy: pycurl.Curl, code: int, text: str, now: float) -> None:
        transfer, request = self._out.pop(easy)
        self._multi.remove_handle(easy)
        answer = transfer.answer(code, text)
        if request.tls is not None:
            self._own.give_back(request.tls, transfer)
        else:
            self._free.append(transfer)
        if request.login is not None and answer.status == UNAUTHORIZED:
            self._refused(request, request.login, answer, now)
        else:
            self._source.land(request, answer, now)

    def _refused(self, request: Request, login: Login, answer: Answer, now: float) -> None:
        """Send again with a fresh token, once; an old one may have been revoked."""
        if login.is_renewed:
            refused = msgspec.structs.replace(answer, outcome="auth_failed")
            self._source.land(request, refused, now)
            return
        login.is_renewed = True
        self._tokens.forget(login.oauth2, login.token)
        login.token = ""
        self._begin(request, now)

    # What libcurl asks for.

    def _on_socket(self, what: int, fd: int, _multi: object, _data: object) -> None:
        if what == pycurl.POLL_REMOVE:
            self._idle.add(fd)
            return
        self._idle.discard(fd)
        mask = _MASKS[what]
        # Only a connection used again begins by reading. Any other mask may be a new socket
        # with an old number: the kernel dropped the old one from the epoll when it was closed.
        if self._watched.get(fd) == mask == READ:
            return
        try:
            self._epoll.modify(fd, mask)
        except FileNotFoundError:
            self._epoll.register(fd, mask)
        self._watched[fd] = mask

    def _unwatch(self, fd: int) -> None:
        self._idle.discard(fd)
        if self._watched.pop(fd, None) is not None:
            self._epoll.unregister(fd)

    def _on_timer(self, timeout_ms: int) -> None:
        self._timer_at = None if timeout_ms < 0 else time.monotonic() + timeout_ms / 1000

    def _close(self) -> None:
        for easy in self._out:
            self._multi.remove_handle(easy)
        self._multi.close()
        for transfer in self._free:
            transfer.close()
        self._own.close()
        self._tokens.close()
        self._resolver.close()
        self._epoll.close()
        with self._waking:
            # Others still post notes, and the number of this descriptor may be theirs next.
            self._is_awake = True
            os.close(self._wake_fd)


def _with_token(request: Request, login: Login) -> list[str]:
    return [*request.headers, f"authorization: Bearer {login.token}"]


def _bits(events: int) -> int:
    bits = 0
    if events & (READ | select.EPOLLHUP):
        bits |= pycurl.CSELECT_IN
    if events & WRITE:
        bits |= pycurl.CSELECT_OUT
    if events & select.EPOLLERR:
        bits |= pycurl.CSELECT_ERR
    return bits
