"""Through the operator's proxy: it is asked for the checked address, and TLS keeps the name."""

from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from kafkahub.egress.addresses import AddressRules
from kafkahub.egress.curl import Answer, Pins, Transfer
from kafkahub.egress.proxy import Proxy
from tests.fakes import certificates
from tests.fakes import endpoint as fakes
from tests.fakes.endpoint import Endpoint
from tests.fakes.proxy import Proxy as RealProxy
from tests.kafkahub.egress.test_curl import PROFILE, send

KINDS = ("http", "socks5")


def through(
    proxy: str, url: str, *, exceptions: tuple[str, ...] = (), ca_file: Path | None = None
) -> Answer:
    profile = replace(PROFILE, proxy=Proxy(proxy, exceptions))
    if ca_file is not None:
        profile = replace(profile, ca_file=ca_file)
    with closing(Transfer(profile, Pins())) as transfer:
        return send(transfer, url)


@pytest.mark.parametrize("kind", KINDS)
def test_the_proxy_is_asked_for_the_address_and_reads_nothing(kind: str) -> None:
    with Endpoint() as server, RealProxy(kind) as proxy:
        answer = through(proxy.url, server.url)

    assert (answer.status, answer.outcome, answer.body) == (200, None, b"ok")
    assert proxy.asked == [f"127.0.0.1:{server.port}"]
    assert all(b"webhook-id" not in head for head in proxy.heads)
    assert server.received[0].headers["host"] == f"localhost:{server.port}"


@pytest.mark.parametrize("kind", KINDS)
def test_tls_is_with_the_endpoint_by_its_name(kind: str, tmp_path: Path) -> None:
    trusted = certificates.authority(tmp_path)
    with Endpoint(tls=certificates.good(trusted)) as server, RealProxy(kind) as proxy:
        good = through(proxy.url, server.url, ca_file=trusted.ca_file)
        bad = through(proxy.url, server.url)

    assert (good.status, good.outcome) == (200, None)
    assert bad.outcome is not None
    assert bad.outcome.startswith("tls_")
    assert proxy.asked[0] == f"127.0.0.1:{server.port}"


def test_one_transfer_goes_through_and_directly_as_its_target_wants() -> None:
    with Endpoint() as server, RealProxy("http") as proxy:
        profile = replace(PROFILE, proxy=Proxy(proxy.url, ("127.0.0.1",)))
        with closing(Transfer(profile, Pins())) as transfer:
            named = f"http://localhost:{server.port}/in"
            literal = f"http://127.0.0.1:{server.port}/in"
            statuses = [send(transfer, url).status for url in (named, literal, named, literal)]

    assert statuses == [200] * 4
    assert len(server.received) == 4
    assert 1 <= len(proxy.asked) <= 2  # a tunnel may be used again


@pytest.mark.parametrize(
    ("kind", "answer", "outcome"),
    [
        ("http", 407, "proxy_failed"),
        ("http", 403, "proxy_failed"),
        ("http", 500, "proxy_failed"),
        ("http", 502, "tcp_refused"),
        ("http", 504, "tcp_timeout"),
        ("socks5", 1, "proxy_failed"),
        ("socks5", 2, "proxy_failed"),
        ("socks5", 4, "tcp_timeout"),
        ("socks5", 5, "tcp_refused"),
    ],
)
def test_what_the_proxy_says_of_the_endpoint_is_the_endpoints_and_all_else_ours(
    kind: str, answer: int, outcome: str
) -> None:
    with Endpoint() as server, RealProxy(kind, answer) as proxy:
        found = through(proxy.url, server.url)

    assert found.outcome == outcome
    assert server.received == []


@pytest.mark.parametrize("kind", KINDS)
def test_a_proxy_that_is_down_is_no_fault_of_the_endpoint(kind: str) -> None:
    with Endpoint() as server:
        found = through(f"{kind}://127.0.0.1:1", server.url)

    assert (found.outcome, server.received) == ("proxy_failed", [])


def test_a_login_is_shown_to_the_proxy_alone() -> None:
    with Endpoint() as server, RealProxy("http", login="hub:secret") as proxy:
        answer = through(proxy.url, server.url)
        [request] = server.received

    assert answer.status == 200
    assert "proxy-authorization" not in request.headers
    assert "secret" not in repr(Proxy("http://hub:secret@127.0.0.1:1"))


def test_an_endpoint_that_fails_behind_the_proxy_is_judged_as_ever() -> None:
    with Endpoint(fakes.status(503)) as server, RealProxy("http") as proxy:
        assert through(proxy.url, server.url).status == 503
    with Endpoint(fakes.reset()) as server, RealProxy("http") as proxy:
        assert through(proxy.url, server.url).outcome == "tcp_reset"


def test_an_address_that_is_denied_meanwhile_is_not_asked_for() -> None:
    with Endpoint() as server, RealProxy("http") as proxy:
        profile = replace(PROFILE, proxy=Proxy(proxy.url), rules=AddressRules())
        with closing(Transfer(profile, Pins())) as transfer:
            found = send(transfer, server.url)

    assert found.outcome == "address_denied"
    assert proxy.asked == []


@pytest.mark.parametrize(
    ("host", "serves"),
    [
        ("a.example", False),
        ("b.inner.example", False),
        ("inner.example", True),
        ("c.example", True),
    ],
)
def test_exceptions_are_hosts_and_suffixes(host: str, *, serves: bool) -> None:
    proxy = Proxy("http://127.0.0.1:1", ("a.example", ".inner.example"))

    assert proxy.serves(host) is serves
