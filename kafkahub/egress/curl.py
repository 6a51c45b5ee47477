"""An easy handle of libcurl with guard, pin, TLS, deadlines and caps set, used again and again.

What never changes is set once; a request sets only what differs from the one before. Every
callback here runs inside libcurl and only judges or counts.
"""

import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

import certifi
import msgspec
import pycurl

from kafkahub.certificates import ClientTls
from kafkahub.egress import faults
from kafkahub.egress.addresses import AddressRules
from kafkahub.egress.proxy import Proxy
from kafkahub.egress.urls import Target

HEAD_CAP_BYTES = 32 * 1024
"""Status lines and headers read for one request, those of 1xx answers and trailers included."""
BODY_CAP_BYTES = 16 * 1024
"""Body read at most; the connection is closed behind it."""
EXCERPT_BYTES = 1_024
IDLE_MAX_S = 60
AGE_MAX_S = 300
"""How long a connection is used again; what was checked at its dial does not hold for ever."""
RECEIVE_BUFFER_BYTES = 16 * 1024
USER_AGENT = "KafkaHub/0.1.0"
TRANSPORT_HEADERS = ("accept-encoding: identity", "expect:")
"""To be among the headers of every request: no compressed answers, and no ``Expect`` line, which
libcurl adds to a large body. They are the caller's to give, so that its list is used as it is."""

SUPPRESS_CONNECT_HEADERS = 265
"""CURLOPT_SUPPRESS_CONNECT_HEADERS, which pycurl does not name."""
_ABORT = -1
"""What a collector returns to make libcurl stop with error 23."""
_RETRY_AFTER = b"retry-after:"
_GO_ON, _ABORT_REQUEST = 0, 1
_HTTP_STATUSES = range(200, 600)
_DELIVERED = range(200, 300)

Note = Literal["capped", "cut", "timeout_body"]
Method = Literal["POST", "GET", "OPTIONS"]
Place = tuple[str, int]


class Timings(NamedTuple):
    """How long each step took, in µs; ``tcp`` and ``tls`` are 0 on a connection used again."""

    tcp: int
    tls: int
    sent: int
    first_byte: int
    body: int


class Answer(msgspec.Struct, frozen=True, gc=False):
    """What came of one request.

    status       of the final answer; 0 where its head is not there or not complete
    outcome      name of what went wrong below HTTP, or None: then ``status`` decides
    retry_after  values as sent; not read for 2xx
    body         what was read of it, at most the cap
    note         why the body was not read to its end, or None
    duration_us  from the start of the transfer to its end
    detail       libcurl's words for an error; they may name the address, so they are for operators
    """

    status: int
    outcome: str | None
    retry_after: tuple[str, ...]
    body: bytes
    note: Note | None
    timings: Timings
    is_reused: bool
    duration_us: int
    detail: str = ""

    @property
    def excerpt(self) -> str:
        """The start of the body if it is text, else nothing."""
        head = self.body[:EXCERPT_BYTES]
        return "" if b"\0" in head else head.decode("utf-8", "replace")


def unsent(outcome: str, duration_us: int = 0) -> Answer:
    """Return the answer of a request that was not started, as when its name has no address."""
    return Answer(0, outcome, (), b"", None, Timings(0, 0, 0, 0, 0), False, duration_us)


@dataclass(frozen=True, slots=True)
class Profile:
    """What all requests of one multi handle share. A change of it needs a new multi handle.

    ca_file  the certificates that sign endpoints'
    proxy    what requests go through; None: nothing
    """

    rules: AddressRules
    allow_http: bool = False
    ca_file: Path = Path(certifi.where())
    proxy: Proxy | None = None


class Pins(dict[Place, tuple[str, ...]]):
    """The addresses that the name cache of one multi handle has, by host and port.

    Shared by the transfers of that multi handle: libcurl keeps an entry for all of them, so only
    the first has to bring it.
    """


class _HandedOver(socket.socket):
    """A socket that pycurl duplicates: ours is closed as soon as it lets go, without a warning."""

    def __del__(self) -> None:
        self.close()


class Transfer:
    """One easy handle: prepared, run by a multi handle or ``perform``, asked for its answer.

    Owns   the handle and what it collects; one transfer carries one request at a time
    Takes  a request through ``prepare``, which forgets the one before

    tls  what all of its requests show and believe; None: nothing, and the profile's authorities
    """

    __slots__ = (
        "_body",
        "_body_cap",
        "_body_left",
        "_connect_timeout_ms",
        "_has_dialled",
        "_has_peer",
        "_head",
        "_head_left",
        "_is_capped",
        "_is_denied",
        "_method",
        "_new_pin",
        "_pins",
        "_profile",
        "_target",
        "_through",
        "_timeout_ms",
        "easy",
    )

    def __init__(
        self,
        profile: Profile,
        pins: Pins,
        *,
        body_cap: int = BODY_CAP_BYTES,
        tls: ClientTls | None = None,
    ) -> None:
        self._profile = profile
        self._pins = pins
        self._body_cap = body_cap
        self._target: Target | None = None
        self._new_pin: tuple[Place, tuple[str, ...]] | None = None
        self._timeout_ms = self._connect_timeout_ms = 0
        self._method: Method = "POST"
        self._through: Place | None = None
        self._head: list[bytes] = []
        self._body: list[bytes] = []
        self._forget()
        self.easy = pycurl.Curl()
        _set_fixed_options(self.easy, profile)
        if tls is not None:
            _set_own_tls(self.easy, tls)
        self.easy.setopt(pycurl.OPENSOCKETFUNCTION, self._on_open_socket)
        self.easy.setopt(pycurl.PREREQFUNCTION, self._on_request)
        self.easy.setopt(pycurl.RESOLVER_START_FUNCTION, self._on_resolve)
        self.easy.setopt(pycurl.HEADERFUNCTION, self._on_header)
        self.easy.setopt(pycurl.WRITEFUNCTION, self._on_body)

    def prepare(
        self,
        target: Target,
        addresses: tuple[str, ...],
        headers: list[str],
        body: bytes,
        *,
        timeout_ms: int,
        connect_timeout_ms: int,
        method: Method = "POST",
    ) -> None:
        """Make the handle ready for one request.

        addresses           what the resolver found for the target, checked; never empty
        headers             ``name: value``, ``TRANSPORT_HEADERS`` and the content type among them
        timeout_ms          over everything, to the last byte of the answer
        connect_timeout_ms  over TCP and TLS
        """
        if not addresses:
            raise ValueError("no checked address: such a request is not started")
        self._forget()
        easy = self.easy
        if method != self._method:
            self._use(method)
        if target is not self._target:
            easy.setopt(pycurl.URL, target.url)
            self._target = target
        if timeout_ms != self._timeout_ms:
            easy.setopt(pycurl.TIMEOUT_MS, timeout_ms)
            self._timeout_ms = timeout_ms
        if connect_timeout_ms != self._connect_timeout_ms:
            easy.setopt(pycurl.CONNECTTIMEOUT_MS, connect_timeout_ms)
            self._connect_timeout_ms = connect_timeout_ms
        easy.setopt(pycurl.HTTPHEADER, headers)
        if method == "POST":
            easy.setopt(pycurl.POSTFIELDS, body)
        proxy = self._profile.proxy
        if proxy is not None and self._goes_through(proxy, target, addresses[0]):
            return
        if target.address is None:
            self._pin((target.host, target.port), addresses)

    def read_up_to(self, body_bytes: int) -> None:
        """Read more of this one answer's body than usual; to be called after ``prepare``."""
        self._body_left = body_bytes

    def answer(self, code: int = 0, text: str = "") -> Answer:
        """Return what came of the request; ``code`` and ``text`` are libcurl's error, 0 for none.

        To be called once, when the transfer has ended and before the next ``prepare``.
        """
        if self._new_pin is not None:
            place, addresses = self._new_pin
            self._pins[place] = addresses
            self._new_pin = None
        status: int = self.easy.getinfo(pycurl.RESPONSE_CODE)
        outcome: str | None = None
        note: Note | None = None
        if code:
            status, outcome, note = self._failed(code, text, status)
        elif status not in _HTTP_STATUSES:
            outcome = "bad_response"
        return self._answer(status, outcome, note, detail=text)

    def headers(self) -> dict[str, str]:
        """Return the final head by lower-case name; of a name that came twice the last value."""
        lines = (line.decode("latin-1").partition(":") for line in self._final_head()[1:])
        return {name.strip().lower(): value.strip() for name, colon, value in lines if colon}

    def close(self) -> None:
        """Free the handle."""
        self.easy.close()

    def _forget(self) -> None:
        self._head.clear()
        self._body.clear()
        self._head_left = HEAD_CAP_BYTES
        self._body_left = self._body_cap
        self._is_capped = self._is_denied = self._has_dialled = self._has_peer = False

    def _use(self, method: Method) -> None:
        self.easy.setopt(pycurl.HTTPGET, 1)
        self.easy.unsetopt(pycurl.CUSTOMREQUEST)
        if method == "POST":
            self.easy.setopt(pycurl.POST, 1)
        elif method == "OPTIONS":
            self.easy.setopt(pycurl.CUSTOMREQUEST, method)
        self._method = method

    def _goes_through(self, proxy: Proxy, target: Target, address: str) -> bool:
        """Let the proxy be asked for the address that was judged; False for an exception."""
        easy = self.easy
        if not proxy.serves(target.host):
            if self._through is not None:
                easy.setopt(pycurl.PROXY, "")
                easy.unsetopt(pycurl.CONNECT_TO)
            self._through = None
            return False
        if self._through is None:
            easy.setopt(pycurl.PROXY, proxy.url)
            easy.setopt(pycurl.NOPROXY, "")
        self._through = (address, target.port)
        shown = f"[{address}]" if ":" in address else address
        easy.setopt(pycurl.CONNECT_TO, [f"::{shown}:{target.port}"])
        return True

    def _pin(self, place: Place, addresses: tuple[str, ...]) -> None:
        """Bring the addresses unless the multi handle has them.

        They count as brought only when this transfer is over: libcurl may start one that was
        added later first, and without an entry it would not start at all.
        """
        if self._pins.get(place) != addresses:
            host, port = place
            self.easy.setopt(pycurl.RESOLVE, [f"{host}:{port}:{','.join(addresses)}"])
            self._new_pin = (place, addresses)

    def _answer(
        self, status: int, outcome: str | None, note: Note | None, *, detail: str
    ) -> Answer:
        easy = self.easy
        is_reused = self._has_peer and not self._has_dialled
        total: int = easy.getinfo(pycurl.TOTAL_TIME_T)
        sent: int = easy.getinfo(pycurl.POSTTRANSFER_TIME_T)
        first: int = easy.getinfo(pycurl.STARTTRANSFER_TIME_T)
        tcp = 0 if is_reused else easy.getinfo(pycurl.CONNECT_TIME_T)
        tls = 0 if is_reused else easy.getinfo(pycurl.APPCONNECT_TIME_T)
        # A step that was not reached is 0 in libcurl's clock, which counts from the start.
        ready = max(tcp, tls)
        timings = Timings(
            tcp,
            max(0, tls - tcp),
            max(0, sent - ready),
            max(0, first - sent),
            max(0, total - first) if first else 0,
        )
        chunks = self._body
        body = chunks[0] if len(chunks) == 1 else b"".join(chunks)
        retry_after = () if status in _DELIVERED else self._retry_after()
        return Answer(status, outcome, retry_after, body, note, timings, is_reused, total, detail)

    def _retry_after(self) -> tuple[str, ...]:
        return tuple(
            line[len(_RETRY_AFTER) :].strip().decode("latin-1")
            for line in self._final_head()
            if line[: len(_RETRY_AFTER)].lower() == _RETRY_AFTER
        )

    def _failed(self, code: int, text: str, status: int) -> tuple[int, str | None, Note | None]:
        """Return status, outcome and note of a transfer that libcurl broke off."""
        if self._is_denied:
            return 0, "address_denied", None
        if self._is_head_complete():
            if status not in _HTTP_STATUSES:
                return status, "bad_response", None
            if code == pycurl.E_OPERATION_TIMEDOUT:
                outcome = None if status in _DELIVERED else "timeout_body"
                return status, outcome, "timeout_body"
            return status, None, "capped" if self._is_capped else "cut"
        if self._is_capped:
            return 0, "bad_response", None
        return 0, self._outcome_below_http(self._failure(code, text)), None

    def _outcome_below_http(self, failure: faults.Failure) -> str:
        outcome: str | None = None
        if self._through is not None:
            answered: int = self.easy.getinfo(pycurl.HTTP_CONNECTCODE)
            refused: int = self.easy.getinfo(pycurl.PROXY_ERROR)
            outcome = faults.proxy_outcome_of(failure, answered=answered, refused=refused)
        return outcome or faults.outcome_of(failure)

    def _failure(self, code: int, text: str) -> faults.Failure:
        easy = self.easy
        return faults.Failure(
            code,
            text,
            os_errno=easy.getinfo(pycurl.OS_ERRNO),
            verify_result=easy.getinfo(pycurl.SSL_VERIFYRESULT),
            is_connected=self._has_peer or easy.getinfo(pycurl.CONNECT_TIME_T) > 0,
            is_secured=self._has_peer,
        )

    def _final_head(self) -> list[bytes]:
        """Return the lines of the last head, without those of 1xx answers before it."""
        lines = self._head
        starts = [at for at, line in enumerate(lines) if line.startswith(b"HTTP/")]
        return lines[starts[-1] :] if starts else []

    def _is_head_complete(self) -> bool:
        head = self._final_head()
        is_final = bool(head) and b" 1" not in head[0][:10]
        return is_final and any(line in {b"\r\n", b"\n"} for line in head)

    def _on_open_socket(
        self, _purpose: int, address: tuple[int, int, int, tuple[str | bytes, int]]
    ) -> socket.socket | int:
        """Judge the very address that is dialled."""
        family, kind, protocol, place = address
        self._has_dialled, self._has_peer = True, False
        # The proxy's own address the operator named; what it is asked for is judged in its place.
        judged = _text(place[0]) if self._through is None else self._through[0]
        if self._profile.rules.is_denied(judged):
            self._is_denied = True
            bad: int = pycurl.SOCKET_BAD
            return bad
        return _HandedOver(family, kind, protocol)

    def _on_request(self, peer: str, _local: str, _peer_port: int, _local_port: int) -> int:
        """Judge the peer again: a connection used again was dialled under older rules."""
        judged = peer if self._through is None else self._through[0]
        if self._profile.rules.is_denied(judged):
            self._is_denied = True
            return _ABORT_REQUEST
        self._has_peer = True
        return _GO_ON

    def _on_resolve(self, *_: object) -> int:
        """Refuse: what libcurl would find was not checked. It asks for literal addresses, too."""
        is_literal = self._target is not None and self._target.address is not None
        # Through the proxy it asks for nothing but the proxy's name: the rest is an address.
        return _GO_ON if is_literal or self._through is not None else _ABORT_REQUEST

    def _on_header(self, line: bytes) -> int | None:
        self._head_left -= len(line)
        if self._head_left < 0:
            self._is_capped = True
            return _ABORT
        self._head.append(line)
        return None

    def _on_body(self, chunk: bytes) -> int | None:
        left = self._body_left
        self._body_left = left - len(chunk)
        if self._body_left < 0:
            self._is_capped = True
            self._body.append(chunk[:left])
            return _ABORT
        self._body.append(chunk)
        return None


def _set_fixed_options(easy: pycurl.Curl, profile: Profile) -> None:
    """Set what is the same for every request; each line stands against an attack or a surprise."""
    protocols = pycurl.PROTO_HTTPS | (pycurl.PROTO_HTTP if profile.allow_http else 0)
    for option, value in (
        (pycurl.PROTOCOLS, protocols),  # the wheel also speaks file, gopher, dict, ftp, scp
        (pycurl.REDIR_PROTOCOLS, protocols),
        (pycurl.FOLLOWLOCATION, 0),
        (pycurl.PROXY, ""),  # an unset proxy is taken from the environment
        (pycurl.NOPROXY, "*"),
        (pycurl.HTTPPROXYTUNNEL, 1),  # a proxy carries, it reads nothing
        (pycurl.HEADEROPT, pycurl.HEADER_SEPARATE),  # and is shown no header of a request
        (SUPPRESS_CONNECT_HEADERS, 1),  # nor are its own taken for the endpoint's
        (pycurl.NETRC, pycurl.NETRC_IGNORED),
        (pycurl.NOSIGNAL, 1),
        (pycurl.HTTP_VERSION, pycurl.CURL_HTTP_VERSION_1_1),
        (pycurl.HTTP09_ALLOWED, 0),
        (pycurl.PATH_AS_IS, 1),  # the path that was stored is the path that is sent
        (pycurl.SSL_VERIFYPEER, 1),
        (pycurl.SSL_VERIFYHOST, 2),
        (pycurl.SSLVERSION, pycurl.SSLVERSION_TLSv1_2),
        (pycurl.CAINFO, str(profile.ca_file)),
        (pycurl.MAXAGE_CONN, IDLE_MAX_S),
        (pycurl.MAXLIFETIME_CONN, AGE_MAX_S),
        (pycurl.BUFFERSIZE, RECEIVE_BUFFER_BYTES),
        (pycurl.USERAGENT, USER_AGENT),
        (pycurl.POST, 1),
    ):
        easy.setopt(option, value)


def _set_own_tls(easy: pycurl.Curl, tls: ClientTls) -> None:
    """Set the material of one endpoint; libcurl keeps its connections apart from all others."""
    # A resumed session would stand for the certificate of the one that began it.
    easy.setopt(pycurl.SSL_SESSIONID_CACHE, 0)
    if tls.certificate:
        easy.setopt(pycurl.SSLCERTTYPE, "PEM")
        easy.setopt(pycurl.SSLCERT_BLOB, tls.certificate)
        easy.setopt(pycurl.SSLKEYTYPE, "PEM")
        easy.setopt(pycurl.SSLKEY_BLOB, tls.key)
    if tls.ca:
        easy.unsetopt(pycurl.CAINFO)
        easy.setopt(pycurl.CAINFO_BLOB, tls.ca)


def _text(address: str | bytes) -> str:
    return address.decode("ascii") if isinstance(address, bytes) else address
