"""The OAuth server: discovery, client credentials, and everything that gets no token (T3, T5)."""

import base64
import json
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlencode

import pytest
from authlib.integrations.base_client.errors import OAuthError
from authlib.integrations.requests_client import OAuth2Session
from django.contrib.auth.hashers import check_password, identify_hasher, make_password
from django.db import connection
from django.http import HttpResponse
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver
from oauth2_provider.models import AccessToken
from oauthlib.oauth2 import BackendApplicationClient, InvalidScopeError
from pytest_django.live_server_helper import LiveServer
from requests_oauthlib import OAuth2Session as RequestsSession

from kafkahub import config
from kafkahub.errors import HubError, InvalidToken, Unauthenticated
from subscriptions.actions.clients import (
    revoke_client,
    rotate_client_secret,
    update_client,
)
from subscriptions.actions.partners import suspend_partner
from subscriptions.audit import Actor, ActorKind
from subscriptions.authentication.chain import POLL_S, Chain
from subscriptions.models import AuditEvent, OAuthClient, Partner
from subscriptions.oauth import throttle
from subscriptions.tasks import expire_access_tokens
from tests import factories

SYSTEM = Actor(kind=ActorKind.SYSTEM, id="tests")
HERE = "192.0.2.10"
TOKEN = "/oauth/token/"
FORM = "application/x-www-form-urlencoded"


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


@pytest.fixture(autouse=True)
def _unhurried() -> None:
    throttle.process_throttle.clear()


@pytest.fixture
def owner(db: None) -> Partner:
    made = factories.partner()
    factories.grant(made)
    return made


def post(path: str, fields: Mapping[str, str], header: str | None = None) -> HttpResponse:
    headers = {"authorization": header} if header else {}
    response: Any = Client().post(path, urlencode(fields), content_type=FORM, headers=headers)
    answer: HttpResponse = response
    return answer


def basic(client_id: str, secret: str) -> str:
    return "Basic " + base64.b64encode(f"{client_id}:{secret}".encode()).decode()


def ask(
    client: OAuthClient, secret: str, scope: str | None = "topic:orders:read", **more: str
) -> HttpResponse:
    fields = {"grant_type": "client_credentials", **more}
    if scope is not None:
        fields["scope"] = scope
    return post(TOKEN, fields, basic(client.client_id, secret))


def take(client: OAuthClient, secret: str, scope: str = "topic:orders:read") -> str:
    answer = ask(client, secret, scope)
    assert answer.status_code == 200, answer.content
    return str(json.loads(answer.content)["access_token"])


def error_of(answer: HttpResponse) -> str:
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.headers["Content-Type"] == "application/json"
    return str(json.loads(answer.content)["error"])


def refusal(chain: Chain, token: str, address: str = HERE) -> HubError:
    with pytest.raises(HubError) as caught:
        chain.authenticate(f"Bearer {token}", address)
    return caught.value


def test_authlib_discovers_the_server_and_gets_a_token(
    live_server: LiveServer, owner: Partner
) -> None:
    client, secret = factories.oauth_client(owner)
    found = json.loads(Client().get("/.well-known/oauth-protected-resource").content)
    (issuer,) = found["authorization_servers"]
    known = json.loads(Client().get("/.well-known/oauth-authorization-server").content)
    where = known["token_endpoint"].replace(issuer, live_server.url)

    with OAuth2Session(client.client_id, secret, scope="topic:orders:read") as session:
        token = session.fetch_token(where, grant_type="client_credentials")
        with pytest.raises(OAuthError, match="invalid_scope"):
            session.fetch_token(where, grant_type="client_credentials", scope="topic:stock:read")

    assert known["issuer"] == issuer == found["resource"]
    assert (token["token_type"], token["expires_in"]) == ("Bearer", 900)
    assert token["scope"] == "topic:orders:read"
    assert "refresh_token" not in token


def test_requests_oauthlib_gets_a_token_that_opens_the_api(
    live_server: LiveServer, owner: Partner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OAUTHLIB_INSECURE_TRANSPORT", "1")
    client, secret = factories.oauth_client(owner)
    where = f"{live_server.url}{TOKEN}"

    with RequestsSession(client=BackendApplicationClient(client.client_id)) as session:
        session.fetch_token(where, client_secret=secret, scope=["webhooks:read"])
        topics = session.get(f"{live_server.url}/api/v1/topics")
        hooks = session.get(f"{live_server.url}/api/v1/endpoints")
        writing = session.post(f"{live_server.url}/api/v1/endpoints", json={})
        with pytest.raises(InvalidScopeError):
            session.fetch_token(where, client_secret=secret, scope=["webhooks:write"])

    assert [row["name"] for row in topics.json()["data"]] == ["orders"]
    assert hooks.status_code == 200
    assert (writing.status_code, writing.json()["code"]) == (403, "insufficient_scope")


def test_no_scope_and_no_default_is_no_token(owner: Partner) -> None:
    client, secret = factories.oauth_client(owner)

    answer = ask(client, secret, None)

    assert (answer.status_code, error_of(answer)) == (400, "invalid_scope")
    assert "topic:orders:read" in json.loads(answer.content)["error_description"]
    assert not AccessToken.objects.exists()


def test_the_default_is_what_was_registered(owner: Partner) -> None:
    client, secret = factories.oauth_client(owner, default_scopes=frozenset({"webhooks:read"}))

    assert json.loads(ask(client, secret, None).content)["scope"] == "webhooks:read"


@pytest.mark.parametrize(
    "scope", ["topic:stock:read", "topic:orders:write", "keys:manage", "nonsense", "webhooks:write"]
)
def test_what_is_not_granted_or_registered_is_no_scope(owner: Partner, scope: str) -> None:
    client, secret = factories.oauth_client(owner)

    answer = ask(client, secret, f"topic:orders:read {scope}")

    assert (answer.status_code, error_of(answer)) == (400, "invalid_scope")


@pytest.mark.parametrize(
    ("fields", "status", "error"),
    [
        ({}, 400, "invalid_request"),
        ({"grant_type": ""}, 400, "invalid_request"),
        ({"grant_type": "password"}, 400, "unsupported_grant_type"),
        ({"grant_type": "refresh_token"}, 400, "unsupported_grant_type"),
        ({"grant_type": "authorization_code"}, 400, "unsupported_grant_type"),
        ({"grant_type": "client_credentials", "client_secret": "x"}, 400, "invalid_request"),
        ({"grant_type": "client_credentials", "client_id": "x"}, 400, "invalid_request"),
        ({"grant_type": "client_credentials", "x": "\x00"}, 400, "invalid_request"),
        (
            {"grant_type": "client_credentials", "resource": "https://else.example/"},
            400,
            "invalid_target",
        ),
        ({"grant_type": "client_credentials", "pad": "x" * 9_000}, 413, "invalid_request"),
    ],
)
def test_a_bad_request_is_refused_in_rfc_6749_json(
    owner: Partner, fields: dict[str, str], status: int, error: str
) -> None:
    client, secret = factories.oauth_client(owner)
    fields = {"scope": "topic:orders:read", **fields}

    answer = post(TOKEN, fields, basic(client.client_id, secret))

    assert (answer.status_code, error_of(answer)) == (status, error)


def test_a_double_parameter_is_refused(owner: Partner) -> None:
    client, secret = factories.oauth_client(owner)
    body = "grant_type=client_credentials&scope=webhooks:read&scope=topic:orders:read"

    headers = {"authorization": basic(client.client_id, secret)}
    answer: Any = Client().post(TOKEN, body, content_type=FORM, headers=headers)

    assert (answer.status_code, error_of(answer)) == (400, "invalid_request")


def test_only_a_form_by_post_is_read(owner: Partner) -> None:
    got: Any = Client().get(TOKEN)
    sent: Any = Client().post(TOKEN, {"grant_type": "x"}, content_type="application/json")
    asked: Any = Client().post(f"{TOKEN}?client_secret=x", "", content_type=FORM)

    assert (got.status_code, got.headers["Allow"], error_of(got)) == (
        405,
        "POST",
        "invalid_request",
    )
    assert (sent.status_code, error_of(sent)) == (400, "invalid_request")
    assert "form encoding" in json.loads(sent.content)["error_description"]
    assert (asked.status_code, error_of(asked)) == (400, "invalid_request")


def test_every_client_that_is_not_accepted_gets_one_answer(owner: Partner) -> None:
    client, secret = factories.oauth_client(owner, "one", cidrs=frozenset({"192.0.2.0/24"}))
    gone, gone_secret = factories.oauth_client(owner, "two")
    revoke_client(SYSTEM, gone)
    fields = {"grant_type": "client_credentials"}

    answers = [
        post(TOKEN, fields),
        post(TOKEN, fields, "Basic !!!"),
        post(TOKEN, fields, "Bearer x"),
        post(TOKEN, fields, basic("nobody", secret)),
        post(TOKEN, fields, basic(client.client_id, "wrong")),
        post(TOKEN, fields, basic(client.client_id, secret)),  # from elsewhere
        post(TOKEN, fields, basic(gone.client_id, gone_secret)),
        post(TOKEN, {**fields, "client_id": client.client_id}),
    ]

    assert {(a.status_code, error_of(a)) for a in answers} == {(401, "invalid_client")}
    assert {a.headers["WWW-Authenticate"] for a in answers} == {'Basic realm="kafkahub"'}


def test_id_and_secret_may_stand_in_the_form(owner: Partner) -> None:
    client, secret = factories.oauth_client(owner)
    fields = {
        "grant_type": "client_credentials",
        "scope": "webhooks:read",
        "client_id": client.client_id,
        "client_secret": secret,
    }

    assert post(TOKEN, fields).status_code == 200


def test_a_client_that_asks_too_often_waits_and_nothing_is_hashed(owner: Partner) -> None:
    client, secret = factories.oauth_client(owner)
    for _ in range(throttle.PER_CLIENT):
        ask(client, secret)
    OAuthClient.objects.update(client_secret="broken")  # whoever looks at it fails

    answer = ask(client, secret)

    assert answer.status_code == 429
    assert 0 < int(answer.headers["Retry-After"]) <= throttle.WINDOW_S + 1


def test_an_address_that_asks_too_often_waits(hand: Hand) -> None:
    gate = throttle.Throttle(hand)
    for number in range(throttle.PER_ADDRESS):
        assert gate.take(f"cli_{number}", HERE) == 0

    assert gate.take("cli_x", HERE) > 0
    assert gate.take("cli_y", "192.0.2.99") == 0
    hand.now_s += throttle.WINDOW_S
    assert gate.take("cli_x", HERE) == 0


def test_two_secrets_live_side_by_side_and_no_third(owner: Partner) -> None:
    client, first = factories.oauth_client(owner)
    client, second = rotate_client_secret(SYSTEM, client)

    assert ask(client, first).status_code == ask(client, second).status_code == 200
    with pytest.raises(HubError):
        rotate_client_secret(SYSTEM, client)
    OAuthClient.objects.update(older_secret_until=client.created_at)
    assert ask(client, first).status_code == 401
    assert ask(client, second).status_code == 200


def test_neither_secret_nor_token_is_stored(owner: Partner) -> None:
    client, secret = factories.oauth_client(owner)
    token = take(client, secret)

    row = OAuthClient.objects.get()
    assert len(secret) == 128
    assert row.client_secret.startswith("client_sha256$")
    assert secret not in row.client_secret
    assert token not in str(AccessToken.objects.values().get())
    assert AccessToken.objects.get().token == ""
    logged = str(list(AuditEvent.objects.values()))
    assert secret not in logged
    assert row.client_secret not in logged


def test_passwords_of_people_keep_the_slow_hasher() -> None:
    made = make_password("correct horse battery")

    assert identify_hasher(made).algorithm == "pbkdf2_sha256"
    assert check_password("correct horse battery", made)


def test_a_token_says_whose_it_is_and_what_it_may_do(chain: Chain, owner: Partner) -> None:
    client, secret = factories.oauth_client(owner, topics=frozenset({"orders"}))

    principal = chain.authenticate(f"Bearer {take(client, secret)}", HERE)

    assert (principal.partner, principal.kind, principal.id) == (owner.id, "client", client.pk)
    assert principal.scopes == frozenset({"topic:orders:read"})
    assert principal.topics == frozenset({"orders"})
    assert principal.credential.startswith("tok_")
    assert chain.glance(f"Bearer {take(client, secret)}", HERE) is None


def test_a_known_token_costs_no_query(
    chain: Chain, owner: Partner, django_assert_num_queries: Any
) -> None:
    client, secret = factories.oauth_client(owner)
    header = f"Bearer {take(client, secret)}"
    principal = chain.authenticate(header, HERE)

    with django_assert_num_queries(0):
        assert chain.authenticate(header, HERE) == chain.glance(header, HERE) == principal


def test_a_test_client_sees_the_sandbox_only(chain: Chain, owner: Partner) -> None:
    factories.topic("play", is_sandbox=True)
    factories.grant(owner, "play")
    client, secret = factories.oauth_client(owner, mode="test")

    assert ask(client, secret, "topic:orders:read").status_code == 400
    principal = chain.authenticate(f"Bearer {take(client, secret, 'topic:play:read')}", HERE)
    assert principal.mode == "test"


def test_a_token_is_no_key_by_basic_and_its_form_alone_opens_nothing(
    chain: Chain, owner: Partner
) -> None:
    client, secret = factories.oauth_client(owner)
    token = take(client, secret)

    for header in (basic(token, ""), basic("x", token), f"Bearer {token[:-1]}", f"Bearer {token}x"):
        with pytest.raises(Unauthenticated):
            chain.authenticate(header, HERE)


@pytest.fixture
def seen(chain: Chain, hand: Hand, owner: Partner) -> tuple[OAuthClient, str, str]:
    """Return a client, its secret, and a token that the chain knows; then let time pass."""
    client, secret = factories.oauth_client(owner)
    token = take(client, secret)
    chain.authenticate(f"Bearer {token}", HERE)
    hand.now_s += POLL_S
    return client, secret, token


def deferred_triggers_run() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")


def test_a_revoked_token_ends_everywhere(chain: Chain, seen: tuple[OAuthClient, str, str]) -> None:
    client, secret, token = seen

    answer = post("/oauth/revoke_token/", {"token": token}, basic(client.client_id, secret))
    deferred_triggers_run()

    assert answer.status_code == 200
    assert refusal(chain, token).code == "unauthenticated"


def test_the_tokens_of_a_revoked_client_end_and_say_so(
    chain: Chain, seen: tuple[OAuthClient, str, str]
) -> None:
    client, _, token = seen

    revoke_client(SYSTEM, client, "left")
    deferred_triggers_run()

    assert isinstance(refusal(chain, token), InvalidToken)


def test_the_tokens_of_a_suspended_partner_end(
    chain: Chain, seen: tuple[OAuthClient, str, str], owner: Partner
) -> None:
    suspend_partner(SYSTEM, owner, "")
    deferred_triggers_run()

    assert isinstance(refusal(chain, seen[2]), InvalidToken)


def test_a_scope_that_the_client_lost_leaves_its_tokens(
    chain: Chain, seen: tuple[OAuthClient, str, str]
) -> None:
    client, _, token = seen

    update_client(SYSTEM, client, {"scopes": ["webhooks:read"]})
    deferred_triggers_run()

    assert chain.authenticate(f"Bearer {token}", HERE).scopes == frozenset()


def test_a_stranger_revokes_and_sees_no_token_but_its_partners(owner: Partner) -> None:
    client, secret = factories.oauth_client(owner, may_introspect=True)
    other = factories.partner()
    stranger, strange = factories.oauth_client(other, may_introspect=True)
    token = take(client, secret)
    fields = {"token": token}

    revoked = post("/oauth/revoke_token/", fields, basic(stranger.client_id, strange))
    foreign = post("/oauth/introspect/", fields, basic(stranger.client_id, strange))
    own = post("/oauth/introspect/", fields, basic(client.client_id, secret))

    assert (revoked.status_code, revoked.content) == (200, b"")
    assert json.loads(foreign.content) == {"active": False}
    told = json.loads(own.content)
    assert (told["active"], told["scope"]) == (True, "topic:orders:read")
    assert told["iss"] == config.load().base_url


def test_a_token_in_a_url_is_refused_with_a_hint(owner: Partner) -> None:
    client, secret = factories.oauth_client(owner)

    answer: Any = Client().get(f"/api/v1/topics?access_token={take(client, secret)}")

    assert answer.status_code == 401
    assert "must not be in a URL" in answer.json()["detail"]


def test_introspection_needs_its_right(owner: Partner) -> None:
    client, secret = factories.oauth_client(owner)

    answer = post("/oauth/introspect/", {"token": "x"}, basic(client.client_id, secret))

    assert (answer.status_code, error_of(answer)) == (403, "access_denied")
    assert post("/oauth/introspect/", {"token": "x"}).status_code == 401


def paths(patterns: list[URLPattern | URLResolver], front: str = "") -> Iterator[str]:
    for each in patterns:
        path = f"{front}{each.pattern}"
        if isinstance(each, URLResolver):
            yield from paths(each.url_patterns, path)
        else:
            yield path


def test_nothing_of_the_package_is_mounted_but_what_we_name() -> None:
    found = {
        path
        for path in paths(get_resolver().url_patterns)
        if path.startswith(("oauth", ".well-known/o", "o/", "device")) or "oauth2_provider" in path
    }

    assert found == {
        "oauth/token/",
        "oauth/revoke_token/",
        "oauth/introspect/",
        ".well-known/oauth-authorization-server",
        ".well-known/oauth-protected-resource",
    }


def test_tokens_that_are_over_are_purged_and_raise_no_version(owner: Partner) -> None:
    client, secret = factories.oauth_client(owner)
    take(client, secret)
    kept = take(client, secret)
    first = AccessToken.objects.order_by("pk").first()
    AccessToken.objects.filter(pk=first.pk).update(expires=client.created_at)
    deferred_triggers_run()

    expire_access_tokens(1)

    assert AccessToken.objects.count() == 1
    assert AccessToken.objects.get().pk != first.pk
    assert kept
