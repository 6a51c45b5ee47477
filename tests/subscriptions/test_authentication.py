"""Credentials: accepted, refused with one text, ended, throttled, forgotten in time."""

import base64
from collections.abc import Iterator
from datetime import timedelta

import pytest
import time_machine
from django.db import connection
from pytest_django import DjangoAssertNumQueries

from kafkahub import clock, config, crypto
from kafkahub.errors import HubError, Invalid, KeyExpired, RateLimited, Unauthenticated
from subscriptions.actions.keys import revoke_key
from subscriptions.actions.partners import suspend_partner
from subscriptions.audit import Actor, ActorKind
from subscriptions.authentication import api_key
from subscriptions.authentication.chain import POLL_S, Chain
from subscriptions.authentication.throttle import MAX_FAILURES, WINDOW_S
from subscriptions.models import ApiKey, Partner
from tests import factories

SYSTEM = Actor(kind=ActorKind.SYSTEM, id="tests")
HERE = "192.0.2.10"


class Hand:
    """A monotonic clock that is set by hand."""

    def __init__(self) -> None:
        self.now_s = 1_000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def hand() -> Hand:
    return Hand()


@pytest.fixture
def chain(hand: Hand) -> Chain:
    return Chain(monotonic_s=hand)


@pytest.fixture
def owner(db: None) -> Partner:
    return factories.partner()


def bearer(key: str) -> str:
    return f"Bearer {key}"


def basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def refusal(chain: Chain, header: str | None, address: str = HERE) -> HubError:
    with pytest.raises(HubError) as caught:
        chain.authenticate(header, address)
    return caught.value


def test_a_key_says_whose_it_is_and_what_it_may_do(chain: Chain, owner: Partner) -> None:
    row, key = factories.api_key(owner, "prod", topics=frozenset({"orders"}))

    principal = chain.authenticate(bearer(key), HERE)

    assert (principal.partner, principal.id, principal.name) == (owner.id, row.id, "prod")
    assert principal.has("webhooks:write")
    assert principal.topics == frozenset({"orders"})


def test_basic_works_in_all_its_forms(chain: Chain, owner: Partner) -> None:
    row, key = factories.api_key(owner)

    for header in (basic(key, ""), basic("x", key), basic(key[:21], key[22:])):
        assert chain.authenticate(header, HERE).id == row.id


def test_every_wrong_credential_gets_one_text(chain: Chain, owner: Partner) -> None:
    _, key = factories.api_key(owner, cidrs=frozenset({"10.0.0.0/8"}))
    stranger = api_key.generate("live").whole

    texts = {
        refusal(chain, header).detail
        for header in (
            bearer("nonsense"),
            bearer(key[:-1] + "x"),
            bearer(stranger),
            bearer(key),  # from a wrong address
            "Basic !!!",
            "Basic " + base64.b64encode(b"no colon").decode(),
            "Digest x",
            "Bearer ké",
            "Bearer " + "x" * 9_000,
        )
    }

    assert len(texts) == 1


def test_two_different_credentials_are_refused_and_one_sent_twice_is_one(
    chain: Chain, owner: Partner
) -> None:
    row, key = factories.api_key(owner)

    assert isinstance(refusal(chain, f"{bearer(key)},{bearer('other')}"), Invalid)
    assert chain.authenticate(f"{bearer(key)},{bearer(key)}", HERE).id == row.id


def test_a_wrong_form_is_refused_without_a_look_up(
    chain: Chain, django_assert_num_queries: DjangoAssertNumQueries, db: None
) -> None:
    with django_assert_num_queries(0):
        refusal(chain, bearer("khk_live_" + "x" * 60))


def test_a_known_key_costs_no_query(
    chain: Chain, owner: Partner, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    _, key = factories.api_key(owner)
    chain.authenticate(bearer(key), HERE)

    with django_assert_num_queries(0):
        chain.authenticate(bearer(key), HERE)


def test_a_key_is_good_only_from_its_networks(chain: Chain, owner: Partner) -> None:
    _, key = factories.api_key(owner, cidrs=frozenset({"192.0.2.0/24", "2001:db8::/32"}))

    assert chain.authenticate(bearer(key), "192.0.2.200")
    assert chain.authenticate(bearer(key), "::ffff:192.0.2.200")
    assert chain.authenticate(bearer(key), "2001:db8::7")
    assert isinstance(refusal(chain, bearer(key), "198.51.100.1"), Unauthenticated)
    assert isinstance(refusal(chain, bearer(key), ""), Unauthenticated)


def test_an_expired_key_is_told_so_and_only_to_who_has_the_secret(
    chain: Chain, owner: Partner
) -> None:
    _, key = factories.api_key(owner)

    with time_machine.travel(clock.now() + timedelta(days=91), tick=False):
        assert isinstance(refusal(chain, bearer(key)), KeyExpired)
        assert not isinstance(refusal(chain, bearer(key[:-7] + "0000000")), KeyExpired)


def test_a_revoked_key_ends_with_the_next_look_at_the_version(
    transactional_db: None, chain: Chain, hand: Hand
) -> None:
    row, key = factories.api_key(factories.partner())
    chain.authenticate(bearer(key), HERE)

    revoke_key(SYSTEM, row)
    hand.now_s += POLL_S

    ended = refusal(chain, bearer(key))
    assert isinstance(ended, KeyExpired)
    assert "revoked" in ended.detail


def test_keys_of_a_suspended_partner_end_too(
    transactional_db: None, chain: Chain, hand: Hand
) -> None:
    owner = factories.partner()
    _, key = factories.api_key(owner)
    chain.authenticate(bearer(key), HERE)

    suspend_partner(SYSTEM, owner)
    hand.now_s += POLL_S

    assert "suspended" in refusal(chain, bearer(key)).detail


def test_a_key_made_just_now_works_although_it_was_refused_before(
    transactional_db: None, chain: Chain, hand: Hand
) -> None:
    row, key = factories.api_key(factories.partner())
    ApiKey.objects.filter(pk=row.pk).update(public_id="x" * 12)
    refusal(chain, bearer(key))

    ApiKey.objects.filter(pk=row.pk).update(public_id=key[9:21])
    hand.now_s += POLL_S

    assert chain.authenticate(bearer(key), HERE).id == row.id


def test_who_fails_often_must_wait_and_who_is_right_never(
    chain: Chain, owner: Partner, hand: Hand
) -> None:
    row, key = factories.api_key(owner)
    for _ in range(MAX_FAILURES):
        assert isinstance(refusal(chain, bearer("guess")), Unauthenticated)

    limited = refusal(chain, bearer("guess"), "192.0.2.99")  # the same /24
    assert isinstance(limited, RateLimited)
    assert limited.retry_after_s is not None
    assert 1 <= limited.retry_after_s <= WINDOW_S + 1
    assert chain.authenticate(bearer(key), HERE).id == row.id
    assert isinstance(refusal(chain, bearer("guess"), "198.51.100.1"), Unauthenticated)

    hand.now_s += WINDOW_S
    assert isinstance(refusal(chain, bearer("guess")), Unauthenticated)


def test_last_use_is_written_at_most_once_a_minute(
    chain: Chain, owner: Partner, hand: Hand, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    row, key = factories.api_key(owner)
    chain.authenticate(bearer(key), HERE, "curl/8")
    row.refresh_from_db()
    assert (row.last_used_ip, row.last_used_agent) == (HERE, "curl/8")

    chain.authenticate(bearer(key), "192.0.2.11", "curl/9")
    row.refresh_from_db()
    assert row.last_used_agent == "curl/8"

    hand.now_s += 61
    chain.authenticate(bearer(key), "192.0.2.11", "curl/9")
    row.refresh_from_db()
    assert (row.last_used_ip, row.last_used_agent) == ("192.0.2.11", "curl/9")


@pytest.fixture
def fresh_settings() -> Iterator[None]:
    """Let a test change settings; what was read before is read again, also afterwards."""
    yield
    config.load.cache_clear()
    api_key.peppers.cache_clear()


def test_an_old_pepper_is_replaced_at_the_next_use(
    fresh_settings: None, chain: Chain, owner: Partner, monkeypatch: pytest.MonkeyPatch
) -> None:
    row, key = factories.api_key(owner)
    old = config.load().key_peppers.get_secret_value()
    fresh = base64.b64encode(bytes(range(100, 132))).decode()
    monkeypatch.setenv("KAFKAHUB_KEY_PEPPERS", f"p2:{fresh},{old}")
    config.load.cache_clear()
    api_key.peppers.cache_clear()

    chain.authenticate(bearer(key), HERE)

    row.refresh_from_db()
    assert row.pepper_id == "p2"
    assert bytes(row.digest) == crypto.digest(bytes(range(100, 132)), key.encode())


def test_the_stored_row_does_not_hold_the_key(owner: Partner) -> None:
    row, key = factories.api_key(owner)
    with connection.cursor() as cursor:
        cursor.execute("SELECT k::text FROM subscriptions_apikey AS k WHERE id = %s", [row.id])
        text = str(cursor.fetchone())

    assert key[22:62] not in text
