"""The signatures that an endpoint asks for, by the control API."""

import pytest

from subscriptions.models import AuditEvent, Endpoint
from subscriptions.signatures import Legacy, Signatures
from subscriptions.snapshot import load
from tests import factories
from tests.api import Caller, codes, json_of

URL = "https://192.0.3.7/in"
NONE = {"rfc9421": False, "legacy": None, "header_prefix": None}


@pytest.fixture
def path(alice: Caller) -> str:
    made = json_of(alice.post("/endpoints", {"url": URL, "headers": {"X-Tenant": "blue"}}))
    return f"/endpoints/{made['id']}"


def live(path: str) -> Signatures | None:
    return load().endpoints[path.rpartition("/")[2]].signatures


def test_an_endpoint_is_signed_the_standard_way_unless_it_says_more(
    alice: Caller, path: str
) -> None:
    assert json_of(alice.get(path))["signatures"] == NONE
    assert live(path) is None


def test_what_was_chosen_is_shown_and_in_force(alice: Caller) -> None:
    legacy = {"style": "body", "header": "X-Hub-Signature-256", "prefix": "sha256="}
    wanted = {"legacy": legacy, "header_prefix": "Acme"}

    made = json_of(alice.post("/endpoints", {"url": URL, "signatures": wanted}))

    assert made["signatures"] == {
        "rfc9421": False,
        "legacy": {
            "style": "body",
            "header": "x-hub-signature-256",
            "algorithm": "sha256",
            "encoding": "hex",
            "prefix": "sha256=",
            "replayable": True,
        },
        "header_prefix": "acme",
    }
    scheme = Legacy("body", "x-hub-signature-256", "sha256", "hex", "sha256=")
    assert live(f"/{made['id']}") == Signatures(legacy=scheme, header_prefix="acme")


def test_the_timestamped_style_has_a_header_of_its_own_and_cannot_be_replayed(
    alice: Caller, path: str
) -> None:
    changed = alice.patch(path, {"signatures": {"legacy": {"style": "timestamped"}}})

    shown = {"style": "timestamped", "header": "x-signature", "replayable": False}
    assert json_of(changed)["signatures"] == {**NONE, "legacy": shown}


def test_a_patch_merges_into_what_was_chosen_before(alice: Caller, path: str) -> None:
    alice.patch(path, {"signatures": {"header_prefix": "acme"}})

    both = alice.patch(path, {"signatures": {"legacy": {"style": "timestamped"}}})
    one = alice.patch(path, {"signatures": {"header_prefix": None}})
    none = alice.patch(path, {"signatures": None})

    assert json_of(both)["signatures"]["header_prefix"] == "acme"
    assert json_of(one)["signatures"]["header_prefix"] is None
    assert json_of(one)["signatures"]["legacy"]["style"] == "timestamped"
    assert json_of(none)["signatures"] == NONE
    assert live(path) is None


@pytest.mark.parametrize(
    ("wanted", "place", "code"),
    [
        ({"rfc9421": 1}, "/rfc9421", "wrong_type"),
        ({"rfc": True}, "/rfc", "unknown_field"),
        ({"rfc9421": True}, "/rfc9421", "bad_combination"),
        ({"legacy": {}}, "/legacy/style", "required"),
        ({"legacy": {"style": "x"}}, "/legacy/style", "not_one_of"),
        (
            {"legacy": {"style": "timestamped", "encoding": "hex"}},
            "/legacy/encoding",
            "bad_combination",
        ),
        ({"legacy": {"style": "body", "prefix": "a\nb"}}, "/legacy/prefix", "not_visible"),
        ({"legacy": {"style": "body", "prefix": "a" * 17}}, "/legacy/prefix", "too_long"),
        ({"legacy": {"style": "body", "header": "X Y"}}, "/legacy/header", "not_a_name"),
        ({"legacy": {"style": "body", "header": "Cookie"}}, "", "header_not_allowed"),
        ({"legacy": {"style": "body", "header": "x-tenant"}}, "", "bad_combination"),
        ({"header_prefix": "webhook"}, "", "header_not_allowed"),
        ({"header_prefix": "x", "legacy": {"style": "timestamped"}}, "", "bad_combination"),
    ],
)
def test_what_cannot_be_sent_is_refused_with_its_place(
    alice: Caller, path: str, wanted: object, place: str, code: str
) -> None:
    refused = alice.patch(path, {"signatures": wanted})

    assert refused.status_code == 400
    assert codes(refused) == {f"/signatures{place}": code}
    assert json_of(alice.get(path))["signatures"] == NONE


def test_a_custom_header_may_not_take_the_name_of_a_signature(alice: Caller, path: str) -> None:
    alice.patch(path, {"signatures": {"legacy": {"style": "timestamped"}}})

    refused = alice.patch(path, {"headers": {"X-Signature": "mine"}})

    assert json_of(refused)["code"] == "bad_combination"
    assert alice.patch(path, {"headers": {"X-Other": "mine"}}).status_code == 200


def test_rfc_9421_needs_an_ed25519_secret_and_keeps_it(alice: Caller, path: str) -> None:
    secret = json_of(alice.post(f"{path}/secrets", {"kind": "ed25519"}))["id"]

    assert alice.patch(path, {"signatures": {"rfc9421": True}}).status_code == 200

    refused = alice.delete(f"{path}/secrets/{secret}")
    assert json_of(refused)["code"] == "in_use"
    alice.patch(path, {"signatures": {"rfc9421": False}})
    assert alice.delete(f"{path}/secrets/{secret}").status_code == 204


def test_the_choice_is_audited(alice: Caller) -> None:
    endpoint = factories.endpoint(alice.partner)

    alice.patch(f"/endpoints/{endpoint.id}", {"signatures": {"header_prefix": "acme"}})

    event = AuditEvent.objects.get(object_id=endpoint.id)
    assert event.changes["signatures"] == [None, {**NONE, "header_prefix": "acme"}]
    assert Endpoint.objects.get(pk=endpoint.id).version == 2
