"""One small blocking request, from its name to its answer."""

from collections.abc import Iterator

import pytest

from kafkahub.egress import urls
from kafkahub.egress.addresses import AddressRules
from kafkahub.egress.curl import Answer, Profile
from kafkahub.egress.fetch import Request, fetch
from kafkahub.egress.resolver import Resolver
from tests.fakes import endpoint
from tests.fakes.dns import FakeDns, Says, says
from tests.fakes.endpoint import Endpoint

RULES = AddressRules(allow_loopback=True)
PROFILE = Profile(RULES, allow_http=True)
NAME = "hooks.example"


@pytest.fixture
def dns() -> Iterator[FakeDns]:
    with FakeDns() as server:
        server.script(NAME, says("127.0.0.1"))
        yield server


@pytest.fixture
def resolver(dns: FakeDns) -> Iterator[Resolver]:
    made = Resolver(RULES, [dns.server])
    yield made
    made.close()


def get(resolver: Resolver, port: int, *, timeout_ms: int = 20_000, body_cap: int = 100) -> Answer:
    target = urls.parse(f"http://{NAME}:{port}/keys", allow_http=True)
    request = Request(target, headers=("x-a: b",), timeout_ms=timeout_ms, body_cap=body_cap)
    return fetch(request, PROFILE, resolver)


def test_a_name_is_resolved_dialled_and_answered(resolver: Resolver) -> None:
    with Endpoint(endpoint.ok(b'{"keys":[]}')) as server:
        answer = get(resolver, server.port)

        (request,) = server.received
    assert (answer.status, answer.body, answer.note) == (200, b'{"keys":[]}', None)
    assert (request.method, request.path) == ("GET", "/keys")
    assert request.headers["host"] == f"{NAME}:{server.port}"
    assert request.headers["accept-encoding"] == "identity"
    assert request.headers["x-a"] == "b"


def test_more_than_the_cap_is_not_read(resolver: Resolver) -> None:
    with Endpoint(endpoint.ENDLESS_BODY) as server:
        answer = get(resolver, server.port, body_cap=1_000)

    assert (answer.status, len(answer.body), answer.note) == (200, 1_000, "capped")


def test_a_redirect_is_an_answer_and_is_not_followed(resolver: Resolver) -> None:
    with Endpoint() as other, Endpoint(endpoint.redirect(other.url)) as server:
        answer = get(resolver, server.port)

        assert (answer.status, other.connections) == (302, 0)


@pytest.mark.parametrize(
    ("said", "outcome"),
    [(Says(rcode=3), "dns_not_found"), (says("127.0.0.1", "10.0.0.1"), "address_denied")],
)
def test_a_name_without_an_address_is_not_dialled(
    dns: FakeDns, resolver: Resolver, said: Says, outcome: str
) -> None:
    dns.script(NAME, said)
    with Endpoint() as server:
        answer = get(resolver, server.port)

        assert (answer.status, answer.outcome, server.connections) == (0, outcome, 0)


def test_the_deadline_covers_the_look_up(dns: FakeDns, resolver: Resolver) -> None:
    dns.script(NAME, Says(silent=True))

    assert get(resolver, 8099, timeout_ms=50).outcome == "dns_timeout"


def test_the_deadline_covers_the_answer(resolver: Resolver) -> None:
    with Endpoint(endpoint.hang()) as server:
        assert get(resolver, server.port, timeout_ms=300).outcome == "timeout_headers"
