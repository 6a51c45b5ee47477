"""What we log in with at an endpoint, by the control API."""

import base64

import pytest

from kafkahub.fields import Sealed
from subscriptions import credentials
from subscriptions.models import AuditEvent, Endpoint
from subscriptions.snapshot import load
from tests.api import Caller, codes, json_of

URL = "https://192.0.3.7/in"
BASIC = {"type": "basic", "username": "hub", "password": "canary-ä"}
BEARER = {"type": "bearer", "token": "canary.token~1="}


def made(alice: Caller, auth: object) -> str:
    return str(json_of(alice.post("/endpoints", {"url": URL, "auth": auth}))["id"])


def login(endpoint: str) -> str | None:
    """Return the header that a request to the endpoint carries."""
    return dict(load().endpoints[endpoint].headers).get("authorization")


def test_an_endpoint_without_a_login_gets_no_authorization(alice: Caller) -> None:
    endpoint = made(alice, None)

    assert json_of(alice.get(f"/endpoints/{endpoint}"))["auth"] is None
    assert login(endpoint) is None


def test_a_user_name_and_a_password_make_the_basic_header(alice: Caller) -> None:
    pair = base64.b64encode("hub:canary-ä".encode()).decode()

    assert login(made(alice, BASIC)) == f"Basic {pair}"


def test_a_token_makes_the_bearer_header(alice: Caller) -> None:
    assert login(made(alice, BEARER)) == "Bearer canary.token~1="


@pytest.mark.parametrize(
    ("auth", "shown"),
    [
        (BASIC, {"type": "basic", "username": "set", "password": "set"}),
        (BEARER, {"type": "bearer", "token": "set"}),
    ],
)
def test_a_secret_is_sealed_and_shown_nowhere(
    alice: Caller, auth: object, shown: dict[str, str]
) -> None:
    answer = alice.post("/endpoints", {"url": URL, "auth": auth})

    assert json_of(answer)["auth"] == shown
    assert b"canary" not in answer.content
    endpoint = json_of(answer)["id"]
    alice.patch(f"/endpoints/{endpoint}", {"auth": {"type": "bearer", "token": "canary2"}})
    stored = Endpoint.objects.values_list("auth", flat=True).get(pk=endpoint)
    assert isinstance(stored, Sealed)
    assert "canary" not in stored.sealed
    assert not AuditEvent.objects.filter(changes__icontains="canary").exists()
    assert AuditEvent.objects.filter(changes__has_key="auth", object_id=endpoint).count() == 1


def test_a_patch_replaces_a_login_as_a_whole_and_null_ends_it(alice: Caller) -> None:
    path = f"/endpoints/{made(alice, BASIC)}"

    same = alice.patch(path, {"auth": BASIC})
    other = alice.patch(path, {"auth": BEARER})
    none = alice.patch(path, {"auth": None})

    assert same.headers["ETag"] == '"1"'
    assert json_of(other)["auth"] == {"type": "bearer", "token": "set"}
    assert json_of(none)["auth"] is None
    assert login(path.removeprefix("/endpoints/")) is None


@pytest.mark.parametrize(
    ("auth", "place", "code"),
    [
        ("Basic x", "/type", "not_one_of"),
        ({}, "/type", "not_one_of"),
        ({"type": "digest"}, "/type", "not_one_of"),
        ({"type": "basic", "username": "canary"}, "/password", "required"),
        ({"type": "basic", "username": "a:b", "password": "x"}, "/username", "not_a_name"),
        ({"type": "basic", "username": "a", "password": "x\r\ny"}, "/password", "not_visible"),
        ({"type": "bearer", "token": "canary token"}, "/token", "not_a_token"),
        ({"type": "bearer", "token": "a\r\nx: y"}, "/token", "not_a_token"),
        ({"type": "bearer", "token": "a" * 4097}, "/token", "too_long"),
        ({"type": "bearer", "token": "a", "username": "b"}, "/username", "unknown_field"),
    ],
)
def test_what_cannot_be_a_login_is_refused_without_repeating_it(
    alice: Caller, auth: object, place: str, code: str
) -> None:
    refused = alice.post("/endpoints", {"url": URL, "auth": auth})

    assert refused.status_code == 400
    assert codes(refused) == {f"/auth{place}": code}
    assert b"canary" not in refused.content


def test_a_login_that_does_not_open_is_said_and_nothing_is_sent(alice: Caller) -> None:
    endpoint, other = made(alice, BASIC), made(alice, BEARER)
    sealed = Endpoint.objects.values_list("auth", flat=True).get(pk=other)
    Endpoint.objects.filter(pk=endpoint).update(auth=sealed)

    assert json_of(alice.get(f"/endpoints/{endpoint}"))["auth"] == {"type": "unreadable"}
    assert load().endpoints[endpoint].is_unreadable
    assert alice.patch(f"/endpoints/{endpoint}", {"auth": BASIC}).status_code == 200
    assert not load().endpoints[endpoint].is_unreadable


OAUTH2 = {
    "type": "oauth2",
    "token_url": "HTTPS://192.0.3.8:443/token",
    "client_id": "canary-id",
    "client_secret": "canary",
    "scope": "push",
}


def test_client_credentials_are_in_force_and_shown_as_set(alice: Caller) -> None:
    answer = alice.post("/endpoints", {"url": URL, "auth": OAUTH2})

    assert json_of(answer)["auth"] == {
        "type": "oauth2",
        "token_url": "set",
        "client_id": "set",
        "client_secret": "set",
        "scope": "set",
        "client_auth": "basic",
    }
    endpoint = load().endpoints[json_of(answer)["id"]]
    token_url = "https://192.0.3.8/token"
    wanted = credentials.OAuth2(token_url, "canary-id", "canary", "push", "", False)
    assert endpoint.oauth2 == wanted
    assert "authorization" not in dict(endpoint.headers)
    assert "canary" not in repr(endpoint)


@pytest.mark.parametrize("url", ["https://10.0.0.1/token", "ftp://192.0.3.8/token"])
def test_a_token_url_obeys_the_rules_of_endpoints(alice: Caller, url: str) -> None:
    refused = alice.post("/endpoints", {"url": URL, "auth": {**OAUTH2, "token_url": url}})

    assert json_of(refused)["code"] == "url_not_allowed"
    assert set(codes(refused)) == {"/auth/token_url"}
