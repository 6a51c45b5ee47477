"""The sender at endpoints that bring TLS material of their own."""

import ssl
import threading
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import trustme

from delivery.sender import Sender
from delivery.transfers import OwnTransfers
from kafkahub.certificates import ClientTls
from kafkahub.egress import urls
from kafkahub.egress.addresses import AddressRules
from kafkahub.egress.curl import Pins, Profile, Transfer
from kafkahub.egress.resolver import Resolver
from tests.delivery.test_sender import DEADLINE_S, Desk, outcome_of, to
from tests.fakes import certificates
from tests.fakes.certificates import Authority
from tests.fakes.dns import FakeDns
from tests.fakes.endpoint import Endpoint

RULES = AddressRules(allow_loopback=True)


@pytest.fixture(scope="module")
def trusted(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return certificates.authority(tmp_path_factory.mktemp("ca"))


@pytest.fixture(scope="module")
def private() -> trustme.CA:
    """Return an authority that only partners know."""
    return trustme.CA()


@pytest.fixture
def desk(trusted: Authority) -> Iterator[Desk]:
    """Return the desk of a sender that believes the trusted authority."""
    source = Desk()
    with FakeDns() as dns:
        sender = Sender(
            source,
            profile=Profile(RULES, allow_http=True, ca_file=Path(trusted.ca_file)),
            resolver=Resolver(RULES, [dns.server]),
            parse=partial(urls.parse, allow_http=True, allow_loopback=True),
            max_in_flight=64,
        )
        thread = threading.Thread(target=sender.run)
        thread.start()
        yield source
        sender.stop()
        thread.join(DEADLINE_S)
    assert not thread.is_alive()


def own(ca: trustme.CA, name: str = "hub.example") -> ClientTls:
    leaf = ca.issue_cert(name)
    chain = b"".join(each.bytes() for each in leaf.cert_chain_pems)
    return ClientTls(chain, leaf.private_key_pem.bytes(), b"")


def mutual(trusted: Authority, clients: trustme.CA) -> ssl.SSLContext:
    """Return a server of a trusted name that lets in only whom the other authority vouches for."""
    context = certificates.good(trusted)
    context.minimum_version = ssl.TLSVersion.TLSv1_3  # before it the alert has no name of its own
    clients.configure_trust(context)
    context.verify_mode = ssl.CERT_REQUIRED
    return context


def send(desk: Desk, url: str, tls: ClientTls | None) -> tuple[str, bool]:
    """Return what came of one request, and whether a connection was used again."""
    before = len(desk.landed)
    desk.lay(replace(to(url), tls=tls))
    _, answer = desk.wait_for(before + 1)[before]
    return outcome_of(answer), answer.is_reused


def test_a_server_lets_in_who_shows_the_certificate_it_wants(
    desk: Desk, trusted: Authority, private: trustme.CA
) -> None:
    with Endpoint(tls=mutual(trusted, private)) as server:
        assert send(desk, server.url, own(private)) == ("delivered", False)
        assert send(desk, server.url, own(trustme.CA()))[0] == "tls_client_cert_refused"
        assert send(desk, server.url, None)[0] == "tls_client_cert_refused"


def test_a_connection_is_shared_between_equal_material_only(
    desk: Desk, trusted: Authority, private: trustme.CA
) -> None:
    first, second = own(private, "first.example"), own(private, "second.example")
    again = ClientTls(first.certificate, first.key, first.ca)  # as another snapshot made it

    with Endpoint(tls=mutual(trusted, private)) as server:
        reused = [send(desk, server.url, tls)[1] for tls in (first, second, first, again, second)]

        peers = [received.peer for received in server.received]
    assert reused == [False, False, True, True, True]
    assert peers[0] == peers[2] == peers[3] != peers[1] == peers[4]


def test_no_material_means_no_connection_of_who_has_some(desk: Desk, trusted: Authority) -> None:
    context = certificates.good(trusted)
    trusted.ca.configure_trust(context)
    context.verify_mode = ssl.CERT_OPTIONAL
    mine = own(trusted.ca)

    with Endpoint(tls=context) as server:
        reused = [send(desk, server.url, tls)[1] for tls in (None, mine, None, mine)]

        peers = [received.peer for received in server.received]
    assert reused == [False, False, True, True]
    assert peers[0] == peers[2] != peers[1] == peers[3]


def test_authorities_of_its_own_replace_the_public_ones(
    desk: Desk, trusted: Authority, private: trustme.CA
) -> None:
    mine = ClientTls(b"", b"", private.cert_pem.bytes())
    inside = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    private.issue_cert(certificates.HOST).configure_cert(inside)

    with Endpoint(tls=inside) as server, Endpoint(tls=certificates.good(trusted)) as public:
        assert send(desk, server.url, mine)[0] == "delivered"
        assert send(desk, server.url, None)[0] == "tls_incomplete_chain"
        assert send(desk, public.url, mine)[0] == "tls_incomplete_chain"


def test_few_idle_transfers_are_kept_and_the_oldest_go_first(private: trustme.CA) -> None:
    profile, pins = Profile(RULES), Pins()
    made: list[ClientTls] = []

    def make(tls: ClientTls) -> Transfer:
        made.append(tls)
        return Transfer(profile, pins, tls=tls)

    kept = OwnTransfers(make, max_idle=2)
    first, second, third = (own(private) for _ in range(3))
    for tls in (first, second, third):
        kept.give_back(tls, kept.take(tls))

    for tls in (second, third, first):
        kept.take(tls).close()

    assert made == [first, second, third, first]
    kept.close()
