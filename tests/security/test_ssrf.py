"""T5: no form of a URL, name, redirect or DNS answer makes us dial our own network.

A trap listens on every address of loopback; whatever connects to it has got through. Each case goes
the whole way a delivery goes: parse, resolve, dial. The last test shows that the trap can spring.
"""

import socket
from collections.abc import Iterator
from contextlib import closing
from ipaddress import IPv4Network

import pycurl
import pytest

from kafkahub.egress import urls
from kafkahub.egress.addresses import LOOPBACK, AddressRules
from kafkahub.egress.curl import TRANSPORT_HEADERS, Answer, Pins, Profile, Transfer
from kafkahub.egress.fetch import Request, fetch
from kafkahub.egress.resolver import Resolver
from kafkahub.errors import Invalid
from tests.fakes import endpoint
from tests.fakes.dns import FakeDns, Says, says
from tests.fakes.endpoint import Endpoint

PUBLIC = "93.184.215.14"
STRICT = AddressRules()
OPEN = AddressRules(allow_loopback=True)
TIMEOUT_MS = 2_000


class Trap:
    """Listens on one port, of all local addresses unless told, and counts who connects."""

    def __init__(self, host: str = "", port: int = 0) -> None:
        everywhere = not host
        self._listener = socket.create_server(
            (host, port),
            family=socket.AF_INET6 if everywhere else socket.AF_INET,
            dualstack_ipv6=everywhere,
            backlog=64,
        )
        self._listener.setblocking(False)
        self.port: int = self._listener.getsockname()[1]

    def visits(self) -> int:
        """Return how many connections were made; they wait in the queue of the listener."""
        count = 0
        while True:
            try:
                visitor, _ = self._listener.accept()
            except BlockingIOError:
                return count
            visitor.close()
            count += 1

    def close(self) -> None:
        self._listener.close()


@pytest.fixture
def trap() -> Iterator[Trap]:
    with closing(Trap()) as made:
        yield made


@pytest.fixture
def dns() -> Iterator[FakeDns]:
    with FakeDns() as server:
        yield server


@pytest.fixture
def resolver(dns: FakeDns) -> Iterator[Resolver]:
    with closing(Resolver(STRICT, [dns.server])) as made:
        yield made


def deliver(url: str, resolver: Resolver, rules: AddressRules = STRICT) -> str:
    """Go the way of a delivery and return what it ended as."""
    try:
        target = urls.parse(url, allow_http=True, rules=rules)
    except Invalid as refused:
        return refused.instance_code
    request = Request(target, "POST", body=b"{}", timeout_ms=TIMEOUT_MS)
    answer = fetch(request, Profile(rules, allow_http=True), resolver)
    return answer.outcome or str(answer.status)


def send(
    url: str, addresses: tuple[str, ...], rules: AddressRules, *, timeout_ms: int = TIMEOUT_MS
) -> Answer:
    """Dial these addresses for the URL, as if every check before the socket had passed them."""
    with closing(Transfer(Profile(rules, allow_http=True), Pins())) as transfer:
        return repeat(transfer, url, addresses, timeout_ms=timeout_ms)


def repeat(
    transfer: Transfer,
    url: str,
    addresses: tuple[str, ...] = ("127.0.0.1",),
    *,
    timeout_ms: int = TIMEOUT_MS,
) -> Answer:
    target = urls.parse(url, allow_http=True, rules=OPEN, allow_loopback=True)
    transfer.prepare(
        target,
        addresses,
        [*TRANSPORT_HEADERS],
        b"{}",
        timeout_ms=timeout_ms,
        connect_timeout_ms=timeout_ms,
    )
    try:
        transfer.easy.perform()
    except pycurl.error as error:
        return transfer.answer(*error.args)
    return transfer.answer()


HOSTS = [
    # loopback in every spelling
    "127.0.0.1",
    "127.0.0.2",
    "127.255.255.254",
    "127.1",
    "127.0.1",
    "0x7f.0.0.1",
    "0x7f000001",
    "2130706433",
    "017700000001",
    "0177.0.0.1",
    "127.0.0.1.",
    "\uff11\uff12\uff17.0.0.1",
    "127\u30020\u30020\u30021",
    "\u2460\u2461\u2466.0.0.1",
    "0",
    "0.0.0.0",
    "localhost",
    "LOCALHOST.",
    "localhost.localdomain",
    "[::1]",
    "[0:0:0:0:0:0:0:1]",
    "[::]",
    "[::127.0.0.1]",
    "[::ffff:127.0.0.1]",
    "[::ffff:7f00:1]",
    "[::ffff:0:127.0.0.1]",
    "[::1%25lo]",
    # private, link-local, metadata
    "10.0.0.1",
    "172.16.0.1",
    "172.31.255.255",
    "192.168.1.1",
    "100.64.0.1",
    "169.254.169.254",
    "0xa9fea9fe",
    "[::ffff:169.254.169.254]",
    "[fd00:ec2::254]",
    "[fe80::1]",
    "[fec0::1]",
    "[fc00::1]",
    "100.100.100.200",
    "192.0.0.192",
    "168.63.129.16",
    # translated and tunnelled forms
    "[64:ff9b::127.0.0.1]",
    "[64:ff9b::7f00:1]",
    "[64:ff9b:1::7f00:1]",
    "[2002:7f00:1::]",
    "[2002:a9fe:a9fe::]",
    "[2001:0:7f00:1::]",
    # multicast, broadcast, reserved
    "224.0.0.1",
    "255.255.255.255",
    "240.0.0.1",
    "[ff02::1]",
]


@pytest.mark.parametrize("host", HOSTS)
def test_no_spelling_of_an_inner_address_is_dialled(
    trap: Trap, resolver: Resolver, host: str
) -> None:
    ended = deliver(f"http://{host}:{trap.port}/in", resolver)

    assert ended in {"url_not_allowed", "dns_not_found"}
    assert trap.visits() == 0


@pytest.mark.parametrize(
    "url",
    [
        "http://hooks.example@127.0.0.1:{port}/",
        "http://hooks.example:80@127.0.0.1:{port}/",
        "http://127.0.0.1:{port}\\@hooks.example/",
        "http://hooks.example\\@127.0.0.1:{port}/",
        "http://hooks.example#@127.0.0.1:{port}/",
        "http://127.0.0.1:{port}#@hooks.example/",
        "http://127.0.0.1:{port}%23@hooks.example/",
        "http://hooks.example%00.127.0.0.1:{port}/",
        "http://127.0.0.1:{port}\thooks.example/",
        "http://127.0.0.1:{port}\r\nHost: hooks.example/",
        "http:///127.0.0.1:{port}/",
        "http:127.0.0.1:{port}/",
        "//127.0.0.1:{port}/",
        "gopher://127.0.0.1:{port}/_x",
        "dict://127.0.0.1:{port}/x",
        "ftp://127.0.0.1:{port}/x",
        "telnet://127.0.0.1:{port}",
        "file://127.0.0.1:{port}/etc/passwd",
    ],
)
def test_no_trick_with_the_parts_of_a_url_reaches_the_trap(
    trap: Trap, dns: FakeDns, resolver: Resolver, url: str
) -> None:
    dns.script("hooks.example", says("127.0.0.1"))

    assert deliver(url.format(port=trap.port), resolver) == "url_not_allowed"
    assert trap.visits() == 0


@pytest.mark.parametrize(
    "said",
    [
        says("127.0.0.1"),
        says("127.8.8.8"),
        says("0.0.0.0"),
        says("10.0.0.1"),
        says("169.254.169.254"),
        says("::1"),
        says("::"),
        says("::ffff:127.0.0.1"),
        says("::127.0.0.1"),
        says("64:ff9b::7f00:1"),
        says("2002:7f00:1::"),
        says("fe80::1"),
        says("fd00::1"),
        says(PUBLIC, "127.0.0.1"),
        says("127.0.0.1", PUBLIC),
        says(PUBLIC, "::1"),
        says("2606:4700:4700::1111", "127.0.0.1"),
        says(*[f"8.8.4.{last}" for last in range(80)], "127.0.0.1"),
    ],
)
def test_a_name_with_one_inner_address_is_not_dialled_at_all(
    trap: Trap, dns: FakeDns, resolver: Resolver, said: Says
) -> None:
    dns.script("hooks.example", said)

    assert deliver(f"http://hooks.example:{trap.port}/in", resolver) == "address_denied"
    assert trap.visits() == 0


@pytest.fixture
def rebinding(dns: FakeDns) -> AddressRules:
    """A name that is public when it is checked, and inward for whoever asks again.

    127.0.0.1 stands for the public address, and is allowed; 127.0.0.2 for the inner one.
    """
    dns.script("hooks.example", says("127.0.0.1"), says("127.0.0.2"))
    return AddressRules(allow=[IPv4Network("127.0.0.1/32")])


def test_what_was_checked_is_what_is_dialled(dns: FakeDns, rebinding: AddressRules) -> None:
    with (
        Endpoint() as server,
        closing(Trap("127.0.0.2", server.port)) as trap,
        closing(Resolver(rebinding, [dns.server])) as resolver,
    ):
        url = f"http://hooks.example:{server.port}/"
        ended = [deliver(url, resolver, rebinding) for _ in range(2)]

        assert ended == ["200", "200"]
        assert set(dns.asked.values()) == {1}
        assert trap.visits() == 0


def test_a_name_that_turned_inward_is_refused_at_its_next_look_up(
    dns: FakeDns, rebinding: AddressRules
) -> None:
    with Endpoint() as server, closing(Trap("127.0.0.2", server.port)) as trap:
        ended = []
        for _ in range(2):  # a resolver each, so that none remembers the first answer
            with closing(Resolver(rebinding, [dns.server])) as resolver:
                ended.append(deliver(f"http://hooks.example:{server.port}/", resolver, rebinding))

        assert ended == ["200", "address_denied"]
        assert trap.visits() == 0


@pytest.mark.parametrize("address", ["127.0.0.1", "::1", "::ffff:127.0.0.1", "0.0.0.0"])
def test_the_socket_is_guarded_even_if_the_checks_before_it_failed(
    trap: Trap, address: str
) -> None:
    pinned = send(f"http://hooks.example:{trap.port}/", (address,), STRICT)

    assert (pinned.status, pinned.outcome) == (0, "address_denied")
    assert trap.visits() == 0


def test_a_denied_address_behind_a_dead_one_is_not_dialled() -> None:
    dead = IPv4Network("127.0.0.2/32")  # nobody answers there on the endpoint's port
    with Endpoint() as server:
        url = f"http://hooks.example:{server.port}/"
        alive = send(url, ("127.0.0.2", "127.0.0.1"), AddressRules(allow=[dead, *LOOPBACK]))
        denied = send(url, ("127.0.0.2", "127.0.0.1"), AddressRules(allow=[dead]))

        assert (alive.status, denied.outcome) == (200, "address_denied")
        assert server.connections == 1


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
@pytest.mark.parametrize(
    "place", ["http://127.0.0.1:{port}/", "//[::1]:{port}/", "gopher://[::1]:{port}/"]
)
def test_no_redirect_leads_to_the_trap(trap: Trap, code: int, place: str) -> None:
    """With loopback allowed, so that only the redirect itself stands between us and the trap."""
    with Endpoint(endpoint.redirect(place.format(port=trap.port), code)) as server:
        answer = send(server.url, ("127.0.0.1",), OPEN)

        assert len(server.received) == 1
    assert answer.status == code
    assert trap.visits() == 0


def test_a_connection_dialled_under_older_rules_is_not_used_again() -> None:
    rules = SwitchableRules()
    with (
        Endpoint() as server,
        closing(Transfer(Profile(rules, allow_http=True), Pins())) as transfer,
    ):
        first = repeat(transfer, server.url)
        rules.are_strict = True
        second = repeat(transfer, server.url)
        rules.are_strict = False
        third = repeat(transfer, server.url)

        assert (first.status, second.outcome, third.status) == (200, "address_denied", 200)
        assert not third.is_reused
        assert len(server.received) == 2


def test_the_trap_springs_where_loopback_is_allowed(trap: Trap) -> None:
    """Otherwise all the tests above would prove nothing."""
    for url in (f"http://127.0.0.1:{trap.port}/", f"http://[::1]:{trap.port}/"):
        send(url, (urls.parse(url, allow_http=True, rules=OPEN).host,), OPEN, timeout_ms=200)

    assert trap.visits() == 2


class SwitchableRules(AddressRules):
    """Rules that change while a connection is open."""

    def __init__(self) -> None:
        super().__init__(allow_loopback=True)
        self.are_strict = False

    def is_denied(self, address: str | bytes) -> bool:
        return self.are_strict or super().is_denied(address)
