"""The sender against real servers that misbehave."""

import socket
import threading
from collections import Counter, deque
from collections.abc import Iterator
from functools import partial

import pytest

from delivery.lanes import Delivery
from delivery.outcome import name_of
from delivery.request import Request
from delivery.sender import Sender
from kafkahub.egress import curl, urls
from kafkahub.egress.addresses import AddressRules
from kafkahub.egress.curl import Answer, Profile
from kafkahub.egress.resolver import Resolver
from kafkahub.kafka.envelope import Body
from tests.delivery import makers
from tests.fakes import endpoint
from tests.fakes.dns import FakeDns, Says, says
from tests.fakes.endpoint import Behaviour, Endpoint, answers

RULES = AddressRules(allow_loopback=True)
DEADLINE_S = 30.0
SHORT_MS = 400
"""For what would last for ever; long enough that a busy machine gets as far as it should."""
LONG_MS = 60_000
HANGING = 200
HEADERS = [*curl.TRANSPORT_HEADERS, "content-type: application/json"]


def to(url: str, number: int = 0, *, timeout_ms: int = LONG_MS) -> Request:
    delivery = Delivery(makers.form(), makers.record(number), number)
    return Request(delivery, url, HEADERS, Body(b"{}", ()), timeout_ms, timeout_ms, ("sec_0",))


class Desk:
    """A source that gives what the test lays on it and keeps the answers."""

    def __init__(self) -> None:
        self._waiting: deque[Request] = deque()
        self._changed = threading.Condition()
        self.landed: list[tuple[Request, Answer]] = []

    def lay(self, *requests: Request) -> None:
        self._waiting.extend(requests)

    def take(self, now: float) -> Request | None:  # noqa: ARG002 - the sender names it
        return self._waiting.popleft() if self._waiting else None

    def land(self, sent: Request, answer: Answer, now: float) -> None:  # noqa: ARG002 - as above
        with self._changed:
            self.landed.append((sent, answer))
            self._changed.notify_all()

    def tick(self, now: float) -> None:
        """Do nothing: this source has nothing that falls due."""

    def wait_for(self, count: int) -> list[tuple[Request, Answer]]:
        with self._changed:
            if not self._changed.wait_for(lambda: len(self.landed) >= count, DEADLINE_S):
                raise AssertionError(f"{len(self.landed)} of {count} answers came")
            return list(self.landed)


class Running:
    """A sender on its thread, with the desk it serves."""

    def __init__(self, dns: FakeDns, max_in_flight: int = 512) -> None:
        self.desk = Desk()
        self.sender = Sender(
            self.desk,
            profile=Profile(RULES, allow_http=True),
            resolver=Resolver(RULES, [dns.server]),
            parse=partial(urls.parse, allow_http=True, allow_loopback=True),
            max_in_flight=max_in_flight,
        )
        self.thread = threading.Thread(target=self.sender.run)
        self.thread.start()

    def lay(self, *requests: Request) -> None:
        self.desk.lay(*requests)
        self.sender.wake()

    def send(self, request: Request) -> Answer:
        """Send one and wait for what comes of it."""
        before = len(self.desk.landed)
        self.lay(request)
        return self.desk.wait_for(before + 1)[before][1]

    def stop(self) -> None:
        self.sender.stop()
        self.thread.join(DEADLINE_S)


@pytest.fixture
def dns() -> Iterator[FakeDns]:
    with FakeDns() as server:
        yield server


@pytest.fixture
def running(dns: FakeDns) -> Iterator[Running]:
    made = Running(dns)
    yield made
    made.stop()
    assert not made.thread.is_alive()


def outcome_of(answer: Answer) -> str:
    return answer.outcome or name_of(answer.status)


def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


# What comes of a request.


def test_a_request_arrives_as_it_was_made(running: Running) -> None:
    with Endpoint() as server:
        answer = running.send(to(server.url))

        [received] = server.received
    assert (outcome_of(answer), answer.body) == ("delivered", b"ok")
    assert (received.method, received.path, received.body) == ("POST", "/in", b"{}")
    assert received.headers["content-type"] == "application/json"
    assert received.headers["user-agent"] == curl.USER_AGENT


@pytest.mark.parametrize(
    ("behaviour", "outcome"),
    [
        (endpoint.CLOSE, "tcp_reset"),
        (endpoint.reset(), "tcp_reset"),
        (endpoint.reset(answers(200)), "tcp_reset"),
        (endpoint.GARBAGE, "bad_response"),
        (endpoint.HTTP_09, "bad_response"),
        (endpoint.TWO_LENGTHS, "bad_response"),
        (endpoint.HEADER_BOMB, "bad_response"),
        (endpoint.HUGE_HEADER_LINE, "bad_response"),
        (endpoint.INFORMATIONAL_FLOOD, "bad_response"),
        (endpoint.raw(answers(999, "content-length: 0\r\n\r\n")), "bad_response"),
        (endpoint.hang(), "timeout_headers"),
        (endpoint.SLOW_HEADER, "timeout_headers"),
        (endpoint.hang(answers(500, "content-length: 9\r\n\r\nab")), "timeout_body"),
        (endpoint.redirect("http://10.0.0.1/"), "redirect"),
        (endpoint.status(429), "rate_limited"),
        (endpoint.status(410), "gone"),
        (endpoint.status(404), "http_4xx"),
        (endpoint.status(503), "http_5xx"),
        (endpoint.SLOW_BODY, "delivered"),
        (endpoint.ENDLESS_BODY, "delivered"),
        (endpoint.GZIP_BOMB, "delivered"),
        (endpoint.raw(answers(200, "content-length: 9\r\n\r\nab")), "delivered"),
    ],
)
def test_each_way_to_misbehave_has_its_outcome(
    running: Running, behaviour: Behaviour, outcome: str
) -> None:
    slow = {endpoint.SLOW_HEADER, endpoint.SLOW_BODY}
    is_endless = behaviour in slow or outcome.startswith("timeout")

    with Endpoint(behaviour) as server:
        answer = running.send(to(server.url, timeout_ms=SHORT_MS if is_endless else LONG_MS))

    assert outcome_of(answer) == outcome


def test_a_port_nobody_listens_on_refuses(running: Running) -> None:
    answer = running.send(to(f"http://127.0.0.1:{closed_port()}/"))

    assert outcome_of(answer) == "tcp_refused"


@pytest.mark.parametrize(
    ("answered", "outcome"),
    [
        (Says(rcode=3), "dns_not_found"),
        (Says(rcode=2), "dns_failed"),
        (says("10.0.0.1"), "address_denied"),
        (says("127.0.0.1", "169.254.169.254"), "address_denied"),
    ],
)
def test_a_name_that_cannot_be_dialled_is_an_outcome(
    running: Running, dns: FakeDns, answered: Says, outcome: str
) -> None:
    dns.script("hooks.example", answered)

    answer = running.send(to("http://hooks.example:8080/"))

    assert outcome_of(answer) == outcome


@pytest.mark.parametrize(
    "url", ["http://10.0.0.1/", "ftp://hooks.example/", "http://hooks.example:25/"]
)
def test_a_url_that_the_rules_of_today_refuse_is_not_dialled(running: Running, url: str) -> None:
    assert outcome_of(running.send(to(url))) == "address_denied"


def test_a_name_is_asked_for_once_and_dialled_at_its_address(
    running: Running, dns: FakeDns
) -> None:
    dns.script("hooks.example", says("127.0.0.1", ttl_s=60))
    with Endpoint() as server:
        url = f"http://hooks.example:{server.port}/in"
        running.lay(*[to(url, number) for number in range(10)])
        landed = running.desk.wait_for(10)

        assert {request.headers["host"] for request in server.received} == {
            f"hooks.example:{server.port}"
        }
    assert {outcome_of(answer) for _, answer in landed} == {"delivered"}
    assert set(dns.asked.values()) == {1}


def test_what_a_look_up_took_is_told_with_the_request(running: Running, dns: FakeDns) -> None:
    dns.script("hooks.example", says("127.0.0.1", ttl_s=60))
    with Endpoint() as server:
        url = f"http://hooks.example:{server.port}/in"
        running.send(to(url))
        running.send(to(url))

    first, second = (sent.dns_us for sent, _ in running.desk.landed)
    assert first > 0
    assert second == 0


# Many at once.


def test_every_request_is_answered_once(running: Running) -> None:
    with Endpoint() as server:
        running.lay(*[to(server.url, number) for number in range(2_000)])
        landed = running.desk.wait_for(2_000)

    assert Counter(sent.delivery.offset for sent, _ in landed) == Counter(range(2_000))
    assert {outcome_of(answer) for _, answer in landed} == {"delivered"}


def test_no_more_requests_are_out_than_allowed(dns: FakeDns) -> None:
    running = Running(dns, max_in_flight=5)
    with Endpoint() as server:
        running.lay(*[to(server.url, number) for number in range(200)])
        running.desk.wait_for(200)

        assert server.connections <= 5
    running.stop()


def test_a_connection_is_used_again(running: Running) -> None:
    with Endpoint() as server:
        answered = [running.send(to(server.url, number)) for number in range(20)]

        assert server.connections == 1
    assert [answer.is_reused for answer in answered] == [False] + [True] * 19


def test_endpoints_that_hang_do_not_keep_another_waiting(running: Running) -> None:
    with Endpoint(endpoint.hang()) as silent, Endpoint() as well:
        running.lay(*[to(silent.url, number) for number in range(HANGING)])
        silent.wait_for(HANGING)

        for number in range(100):
            running.send(to(well.url, HANGING + number))

        assert all(sent.delivery.offset >= HANGING for sent, _ in running.desk.landed)
        running.stop()


def test_names_that_never_answer_do_not_keep_another_waiting(
    running: Running, dns: FakeDns
) -> None:
    silent = [f"silent-{number}.example" for number in range(50)]
    for name in silent:
        dns.script(name, Says(silent=True))
    with Endpoint() as well:
        running.lay(*[to(f"http://{name}:8080/") for name in silent])
        running.lay(to(well.url, 1))

        [(first, answer), *_] = running.desk.wait_for(1)

    assert (first.delivery.offset, outcome_of(answer)) == (1, "delivered")


# Descriptors that are closed come back with the same number.


@pytest.mark.parametrize(
    "behaviour",
    [
        endpoint.raw(answers(200, "connection: close\r\ncontent-length: 2\r\n\r\nok")),
        endpoint.raw(answers(200, "content-length: 2\r\n\r\nok")),
        endpoint.raw(answers(200, "\r\nok")),
        endpoint.CLOSE,
        endpoint.reset(),
        endpoint.SMUGGLED,
    ],
)
def test_a_connection_that_was_closed_never_keeps_the_next_one_waiting(
    running: Running, behaviour: Behaviour
) -> None:
    with Endpoint(behaviour) as server:
        outcomes = {outcome_of(running.send(to(server.url, number))) for number in range(150)}

    assert not any(outcome.startswith("timeout") for outcome in outcomes)


def test_descriptors_move_between_endpoints_that_close_and_endpoints_that_do_not(
    running: Running,
) -> None:
    closing = endpoint.raw(answers(200, "connection: close\r\ncontent-length: 2\r\n\r\nok"))
    with Endpoint(closing) as first, Endpoint() as second, Endpoint(endpoint.reset()) as third:
        servers = [first, second, third]
        for number in range(50):
            running.lay(*[to(server.url, number) for server in servers for _ in range(3)])
            running.desk.wait_for(9 * (number + 1))

    found = Counter(outcome_of(answer) for _, answer in running.desk.landed)
    assert found == {"delivered": 300, "tcp_reset": 150}


# The end.


def test_stopping_waits_for_nobody_who_hangs(dns: FakeDns) -> None:
    running = Running(dns)
    with Endpoint(endpoint.hang()) as silent:
        running.lay(*[to(silent.url, number) for number in range(20)])
        silent.wait_for(20)

        running.stop()

        assert not running.thread.is_alive()
        assert running.desk.landed == []


def test_stopping_waits_for_no_name(dns: FakeDns) -> None:
    dns.script("silent.example", Says(silent=True))
    running = Running(dns)
    running.lay(to("http://silent.example:8080/"))

    running.stop()

    assert not running.thread.is_alive()


def test_a_wake_after_the_end_touches_no_descriptor_of_others(dns: FakeDns) -> None:
    running = Running(dns)
    running.stop()

    with socket.create_server(("127.0.0.1", 0)):
        running.sender.wake()
