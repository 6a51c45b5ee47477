"""Access tokens: how they are asked for, read, kept and renewed."""

import base64
import json
import threading
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from urllib.parse import parse_qs

import pytest

from delivery import tokens
from delivery.request import Login
from delivery.sender import Sender
from kafkahub.egress import urls
from kafkahub.egress.addresses import AddressRules
from kafkahub.egress.curl import Answer, Profile
from kafkahub.egress.resolver import Resolver
from subscriptions.credentials import OAuth2
from tests.delivery.test_sender import DEADLINE_S, Desk, outcome_of, to
from tests.fakes import endpoint
from tests.fakes.dns import FakeDns
from tests.fakes.endpoint import Behaviour, Endpoint, status

RULES = AddressRules(allow_loopback=True)
NOW = 1_000.0
HUGE = b'{"access_token":"' + b"x" * 70_000 + b'"}'
parse = partial(urls.parse, allow_http=True, allow_loopback=True)


def oauth2(url: str, *, scope: str = "", is_secret_posted: bool = False) -> OAuth2:
    return OAuth2(url, "hub 1", "s:cret", scope, "", is_secret_posted)


def token(value: str, life_s: float | None = 3_600) -> Behaviour:
    answer = {"access_token": value, "token_type": "Bearer"}
    return status(200, json.dumps(answer | ({"expires_in": life_s} if life_s else {})).encode())


@pytest.fixture
def desk() -> Iterator[Desk]:
    source = Desk()
    with FakeDns() as dns:
        sender = Sender(
            source,
            profile=Profile(RULES, allow_http=True),
            resolver=Resolver(RULES, [dns.server]),
            parse=parse,
            max_in_flight=200,
        )
        thread = threading.Thread(target=sender.run)
        thread.start()
        yield source
        sender.stop()
        thread.join(DEADLINE_S)
    assert not thread.is_alive()


def send(desk: Desk, url: str, by: OAuth2, count: int = 1) -> list[Answer]:
    """Send some requests at once; return what came of them."""
    before = len(desk.landed)
    desk.lay(*(replace(to(url, number), login=Login(by)) for number in range(count)))
    return [answer for _, answer in desk.wait_for(before + count)[before:]]


def shown(server: Endpoint) -> list[str]:
    return [received.headers["authorization"] for received in server.received]


# Asking.


def test_id_and_secret_go_into_a_basic_header_in_the_form_of_a_form() -> None:
    url = "https://192.0.3.7/token"

    asked = tokens.request(oauth2(url, scope="a b"), parse(url))

    pair = base64.b64encode(b"hub+1:s%3Acret").decode()
    assert f"authorization: Basic {pair}" in asked.headers
    assert parse_qs(asked.body.decode()) == {"grant_type": ["client_credentials"], "scope": ["a b"]}


def test_or_into_the_body_where_the_server_wants_that() -> None:
    url = "https://192.0.3.7/token"

    asked = tokens.request(oauth2(url, is_secret_posted=True), parse(url))

    assert not any(line.startswith("authorization") for line in asked.headers)
    form = parse_qs(asked.body.decode())
    assert (form["client_id"], form["client_secret"]) == (["hub 1"], ["s:cret"])


# Reading.


@pytest.mark.parametrize(
    ("life", "kept_s"),
    [(3_600, 3_540), (60, 0), (1, 0), (-5, 0), (None, 240), ("9", 240), (1e12, 86_340)],
)
def test_a_token_is_kept_to_a_minute_before_its_end(life: object, kept_s: float) -> None:
    body = json.dumps({"access_token": "t", "expires_in": life}).encode()

    assert tokens.read(body, NOW) == ("t", NOW + kept_s)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b'{"error":"x"}',
        b'{"access_token":7}',
        b'{"access_token":""}',
        b'{"access_token":"a\\r\\nx: y"}',
        b'{"access_token":"t","token_type":"mac"}',
        b"[" * 100_000,
        HUGE,
    ],
)
def test_what_is_no_token_is_none(body: bytes) -> None:
    assert tokens.read(body, NOW) is None


# Sending.


def test_one_fetch_serves_a_hundred_sends(desk: Desk) -> None:
    with Endpoint(token("t1")) as issuer, Endpoint() as server:
        answers = send(desk, server.url, oauth2(issuer.url), 100)
        answers += send(desk, server.url, oauth2(issuer.url))

        assert len(issuer.received) == 1
        assert set(shown(server)) == {"Bearer t1"}
    assert {outcome_of(answer) for answer in answers} == {"delivered"}


def test_a_token_near_its_end_is_used_once_and_not_kept(desk: Desk) -> None:
    with Endpoint(token("t1", 30), token("t2", 30)) as issuer, Endpoint() as server:
        send(desk, server.url, oauth2(issuer.url))
        send(desk, server.url, oauth2(issuer.url))

        assert shown(server) == ["Bearer t1", "Bearer t2"]


def test_a_refused_token_is_fetched_anew_and_sent_again_in_the_same_attempt(desk: Desk) -> None:
    with (
        Endpoint(token("old"), token("new")) as issuer,
        Endpoint(status(401), endpoint.ok()) as server,
    ):
        [answer] = send(desk, server.url, oauth2(issuer.url))

        assert shown(server) == ["Bearer old", "Bearer new"]
    assert outcome_of(answer) == "delivered"


def test_a_second_refusal_is_final(desk: Desk) -> None:
    with Endpoint(token("t")) as issuer, Endpoint(status(401)) as server:
        [answer] = send(desk, server.url, oauth2(issuer.url))

        assert (len(issuer.received), len(server.received)) == (2, 2)
    assert (outcome_of(answer), answer.status) == ("auth_failed", 401)


@pytest.mark.parametrize(
    "behaviour",
    [
        status(500),
        status(400, b'{"error":"invalid_client"}'),
        endpoint.redirect("http://localhost:1/"),
        endpoint.CLOSE,
        status(200, HUGE),
    ],
)
def test_without_a_token_nothing_is_sent(desk: Desk, behaviour: Behaviour) -> None:
    with Endpoint(behaviour) as issuer, Endpoint() as server:
        [answer] = send(desk, server.url, oauth2(issuer.url))

        assert server.received == []
    assert (outcome_of(answer), answer.status) == ("auth_failed", 0)


def test_a_token_url_that_may_not_be_dialled_is_not(desk: Desk) -> None:
    with Endpoint() as server:
        [answer] = send(desk, server.url, oauth2("https://10.0.0.1/token"))

        assert server.received == []
    assert outcome_of(answer) == "auth_failed"


def test_requests_without_a_login_do_not_wait_for_one_that_hangs(desk: Desk) -> None:
    with Endpoint(endpoint.hang()) as issuer, Endpoint() as server:
        desk.lay(replace(to(server.url), login=Login(oauth2(issuer.url))))
        issuer.wait_for(1)
        desk.lay(to(server.url, 1))

        [(sent, answer)] = desk.wait_for(1)
    assert (sent.delivery.offset, outcome_of(answer)) == (1, "delivered")
