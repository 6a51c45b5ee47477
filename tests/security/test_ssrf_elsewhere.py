"""T5 for the other URLs that we are given: keys of issuers, tokens of partners, sign-in providers.

They go by the ways of the product itself, with the process's own rules, resolver and profile; only
plain HTTP is allowed, so that nothing but the address stands between them and the trap. Schemas
have no URLs: there is no schema registry.
"""

from collections.abc import Callable, Iterator
from contextlib import closing

import pytest
from allauth.socialaccount.providers.oauth2.client import OAuth2Error

from delivery.tokens import Tokens
from kafkahub import config
from kafkahub.egress.fetch import fetch
from kafkahub.errors import Invalid
from subscriptions import verification
from subscriptions.authentication import issuer_keys
from subscriptions.credentials import OAuth2
from subscriptions.signin import sso
from tests.fakes.dns import FakeDns, says
from tests.fakes.endpoint import Endpoint
from tests.security.test_ssrf import HOSTS, PUBLIC, Trap

CACHES = (
    config.load,
    verification.rules,
    verification.resolver,
    verification.profile,
    issuer_keys.profile,
)
Fetching = Callable[[str], bool]


def keys_of_an_issuer(url: str) -> bool:
    """Return whether a key set was had."""
    try:
        issuer_keys.fetched(url)
    except (Invalid, issuer_keys.Unusable):
        return False
    return True


def token_of_a_partner(url: str) -> bool:
    """Return whether a token was had."""
    profile, resolver = verification.profile(), verification.resolver()
    tokens = Tokens(lambda asked: fetch(asked, profile, resolver), verification.parse_url)
    with closing(tokens):
        return tokens._fetched(OAuth2(url, "hub", "secret", "", "", False)) is not None


def metadata_of_a_sign_in(url: str) -> bool:
    """Return whether the provider answered."""
    try:
        return sso.GuardedSession().get(url).status_code == 200
    except OAuth2Error:
        return False


WAYS = [keys_of_an_issuer, token_of_a_partner, metadata_of_a_sign_in]


def forget() -> None:
    for cache in CACHES:
        cache.cache_clear()


@pytest.fixture
def dns(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeDns]:
    """A process whose rules are those of production, but for plain HTTP."""
    with FakeDns() as server:
        monkeypatch.setenv("KAFKAHUB_EGRESS_ALLOW_LOOPBACK", "false")
        monkeypatch.setenv("KAFKAHUB_EGRESS_DNS_SERVERS", server.server)
        forget()
        yield server
        verification.resolver().close()
        monkeypatch.undo()
        forget()


@pytest.fixture
def trap() -> Iterator[Trap]:
    with closing(Trap()) as made:
        yield made


@pytest.mark.parametrize("way", WAYS)
def test_no_spelling_of_an_inner_address_is_dialled(
    trap: Trap, dns: FakeDns, way: Fetching
) -> None:
    assert len(HOSTS) > 25
    for host in HOSTS:
        assert not way(f"http://{host}:{trap.port}/in"), host
        assert trap.visits() == 0, host


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    "addresses", [("127.0.0.1",), ("::1",), ("169.254.169.254",), (PUBLIC, "127.0.0.1")]
)
def test_no_name_of_an_inner_address_is_dialled(
    trap: Trap, dns: FakeDns, way: Fetching, addresses: tuple[str, ...]
) -> None:
    dns.script("keys.example", says(*addresses))

    assert not way(f"http://keys.example:{trap.port}/in")
    assert dns.asked
    assert trap.visits() == 0


@pytest.mark.parametrize("way", WAYS)
def test_the_ways_lead_somewhere_where_loopback_is_allowed(way: Fetching) -> None:
    """Otherwise the tests above would prove nothing."""
    forget()
    with Endpoint() as server:
        way(server.url)

        assert len(server.received) == 1
