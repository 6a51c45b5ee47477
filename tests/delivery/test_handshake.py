"""Handshakes with a real server: what proves that an endpoint wants what it is sent."""

import json
from base64 import b64encode

import pytest

from delivery import handshake
from kafkahub import config, signing
from subscriptions.live import LiveEndpoint
from tests.delivery import makers
from tests.fakes import endpoint as fakes
from tests.fakes.endpoint import Behaviour, Connection, Endpoint

ORIGIN = config.load().base_url.partition("://")[2]


def echo(server: Endpoint, form: str = "json", code: int = 200) -> Behaviour:
    """Answer with the challenge of the request that came last."""

    def behave(connection: Connection) -> bool:
        text = json.loads(server.received[-1].body)["data"]["challenge"]
        body = json.dumps({"challenge": text}) if form == "json" else text
        return fakes.status(code, body.encode())(connection)

    return behave


def live(server: Endpoint) -> LiveEndpoint:
    return makers.endpoint(url=f"http://127.0.0.1:{server.port}/in", headers=(("x-a", "1"),))


@pytest.mark.parametrize("form", ["json", "text"])
@pytest.mark.parametrize("code", [200, 202])
def test_an_echo_of_the_challenge_is_the_proof(form: str, code: int) -> None:
    with Endpoint() as server:
        server.script(echo(server, form, code))
        shown = handshake.challenge(live(server))
        [request] = server.received

    assert shown.is_verified
    assert request.headers["x-a"] == "1"
    assert request.headers["kafkahub-test"] == "1"
    assert signing.verify(
        f"whsec_{b64encode(makers.KEY).decode()}",
        request.headers["webhook-id"],
        int(request.headers["webhook-timestamp"]),
        request.body,
        header=request.headers["webhook-signature"],
    )
    body = json.loads(request.body)
    assert body["type"] == "kafkahub.verification"
    assert len(body["data"]["challenge"]) == 43


@pytest.mark.parametrize(
    ("behaviour", "said"),
    [
        (fakes.ok(), "It answered 200, but not with the challenge."),
        (fakes.status(200, b'{"challenge":"x"}'), "not with the challenge"),
        (fakes.status(200, b"[" * 100_000), "not with the challenge"),
        (fakes.status(204), "It answered 204, but not with the challenge."),
        (fakes.status(400), "It answered 400."),
        (fakes.redirect("https://elsewhere.example/"), "It answered 302."),
        (fakes.GARBAGE, "could not be reached: bad_response"),
        (fakes.reset(), "could not be reached: tcp_reset"),
    ],
)
def test_everything_else_proves_nothing_and_says_what_is_needed(
    behaviour: Behaviour, said: str
) -> None:
    with Endpoint(behaviour) as server:
        shown = handshake.challenge(live(server))

    assert not shown.is_verified
    assert said in shown.detail
    if "reached" not in said:
        assert '{"challenge": "<its data.challenge>"}' in shown.detail


def test_an_answer_that_comes_too_late_is_none() -> None:
    with Endpoint(fakes.hang()) as server:
        answer = handshake.post(live(server), "kafkahub.probe", {}, timeout_ms=200)

    assert answer.outcome == "timeout_headers"


def test_an_endpoint_whose_secret_does_not_open_is_not_asked() -> None:
    with Endpoint() as server:
        url = f"http://127.0.0.1:{server.port}/in"
        answer = handshake.probe(makers.endpoint(url=url, is_unreadable=True))

        assert answer.outcome == "secret_unreadable"
        assert server.received == []


@pytest.mark.parametrize(
    ("headers", "allowed"),
    [
        ([("WebHook-Allowed-Origin", ORIGIN)], None),
        ([("WebHook-Allowed-Origin", "*"), ("WebHook-Allowed-Rate", "*")], None),
        ([("WebHook-Allowed-Origin", "*"), ("WebHook-Allowed-Rate", "120")], 120),
        ([("WebHook-Allowed-Origin", "*"), ("WebHook-Allowed-Rate", "junk")], 1),
    ],
)
def test_consent_is_a_header_and_not_a_status(
    headers: list[tuple[str, str]], allowed: int | None
) -> None:
    with Endpoint(fakes.status(405, headers=headers)) as server:
        shown = handshake.ask_consent(live(server), "token", None)
        [request] = server.received

    assert (shown.is_verified, shown.allowed_rate) == (True, allowed)
    assert request.method == "OPTIONS"
    assert request.headers["webhook-request-origin"] == ORIGIN
    assert request.headers["webhook-request-rate"] == "6000"
    assert request.headers["webhook-request-callback"].endswith("/webhooks/consent/token")


@pytest.mark.parametrize("headers", [[], [("WebHook-Allowed-Origin", "evil.example")]])
def test_without_our_origin_there_is_no_consent(headers: list[tuple[str, str]]) -> None:
    with Endpoint(fakes.status(200, headers=headers)) as server:
        shown = handshake.ask_consent(live(server), "token", 2.5)
        [request] = server.received

    assert not shown.is_verified
    assert "WebHook-Allowed-Origin" in shown.detail
    assert request.headers["webhook-request-rate"] == "150"
