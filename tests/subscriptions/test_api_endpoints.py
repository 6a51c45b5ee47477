"""Endpoints by the control API."""

import pytest

from subscriptions.models import AuditEvent, Endpoint
from tests import factories
from tests.api import Caller, codes, json_of

URL = "https://192.0.3.7/in"
"""A literal public address: nothing is asked of any DNS server."""


def test_the_answer_to_a_new_endpoint_shows_its_first_secret_once(alice: Caller) -> None:
    made = alice.post("/endpoints", {"url": URL, "name": "hook"})

    assert made.status_code == 201
    assert json_of(made)["secret"].startswith("whsec_")
    assert made.headers["ETag"] == '"1"'
    again = alice.get(f"/endpoints/{json_of(made)['id']}")
    assert "secret" not in json_of(again)
    assert made.headers["Location"] == f"/api/v1/endpoints/{json_of(made)['id']}"


def test_an_endpoint_is_named_after_its_host_when_nobody_names_it(alice: Caller) -> None:
    assert json_of(alice.post("/endpoints", {"url": URL}))["name"] == "192.0.3.7"


def test_a_url_is_stored_in_canonical_form(alice: Caller) -> None:
    assert json_of(alice.post("/endpoints", {"url": "HTTPS://192.0.3.7:443"}))["url"] == (
        "https://192.0.3.7/"
    )


@pytest.mark.parametrize(
    ("url", "code"),
    [
        ("ftp://192.0.3.7/", "scheme"),
        ("https://user@192.0.3.7/", "userinfo"),
        ("https://10.0.0.1/", "address_denied"),
        ("https://192.0.3.7:22/", "port"),
    ],
)
def test_a_url_that_may_not_be_dialled_is_refused(alice: Caller, url: str, code: str) -> None:
    refused = alice.post("/endpoints", {"url": url})

    assert refused.status_code == 400
    assert json_of(refused)["code"] == "url_not_allowed"
    assert codes(refused) == {"/url": code}


def test_all_faults_of_a_body_are_told_at_once(alice: Caller) -> None:
    refused = alice.post(
        "/endpoints",
        {"nmae": "x", "timeout_ms": "5", "max_in_flight": 0, "status": "active", "headers": []},
    )

    assert refused.status_code == 400
    assert json_of(refused)["code"] == "validation_failed"
    assert codes(refused) == {
        "/nmae": "unknown_field",
        "/timeout_ms": "wrong_type",
        "/max_in_flight": "out_of_range",
        "/status": "unknown_field",
        "/headers": "wrong_type",
        "/url": "required",
    }
    assert {"line", "column", "offset"} <= json_of(refused)["errors"][0].keys()
    nearest = {each["pointer"]: each.get("nearest") for each in json_of(refused)["errors"]}
    assert nearest["/nmae"] == "name"


def test_headers_are_kept_sealed_and_shown_by_name_only(alice: Caller) -> None:
    made = alice.post("/endpoints", {"url": URL, "headers": {"X-Token": "canary-7"}})

    assert json_of(made)["headers"] == {"X-Token": "set"}
    assert b"canary-7" not in made.content
    row = Endpoint.objects.values_list("headers", flat=True).get(pk=json_of(made)["id"])
    assert "canary-7" not in str(row)
    assert not AuditEvent.objects.filter(changes__icontains="canary-7").exists()


@pytest.mark.parametrize(
    ("name", "value", "code"),
    [
        ("Host", "x", "refused"),
        ("webhook-id", "x", "refused"),
        ("X Y", "x", "name"),
        ("X-Y", "a\r\nb", "value"),
    ],
)
def test_a_header_that_is_ours_or_unsound_is_refused(
    alice: Caller, name: str, value: str, code: str
) -> None:
    refused = alice.post("/endpoints", {"url": URL, "headers": {name: value}})

    assert json_of(refused)["code"] == "header_not_allowed"
    assert codes(refused) == {f"/headers/{name}": code}


def test_a_patch_changes_only_what_it_names(alice: Caller) -> None:
    made = json_of(
        alice.post("/endpoints", {"url": URL, "timeout_ms": 9000, "headers": {"X-A": "1"}})
    )

    changed = alice.patch(
        f"/endpoints/{made['id']}",
        {"description": "new", "timeout_ms": None, "headers": {"X-B": "2"}},
    )

    assert changed.status_code == 200
    assert json_of(changed)["description"] == "new"
    assert json_of(changed)["timeout_ms"] == 15_000  # null: back to the default
    assert json_of(changed)["headers"] == {"X-A": "set", "X-B": "set"}
    assert json_of(changed)["name"] == made["name"]
    assert changed.headers["ETag"] == '"2"'


def test_when_it_is_disabled_and_how_fast_it_is_sent_to_is_its_partners_choice(
    alice: Caller,
) -> None:
    members = {"rate_per_s": 2.5, "auto_disable": {"after_h": 48}, "auto_recover": False}
    made = json_of(alice.post("/endpoints", {"url": URL, **members}))

    changed = json_of(alice.patch(f"/endpoints/{made['id']}", {"auto_disable": {"enabled": False}}))
    refused = alice.patch(f"/endpoints/{made['id']}", {"auto_disable": {"after_h": 23}})

    assert made["auto_disable"] == {"enabled": True, "after_h": 48}
    assert (made["rate_per_s"], made["auto_recover"]) == (2.5, False)
    assert changed["auto_disable"] == {"enabled": False, "after_h": 48}
    assert codes(refused) == {"/auto_disable/after_h": "out_of_range"}


def test_a_patch_that_changes_nothing_leaves_version_and_log_alone(alice: Caller) -> None:
    endpoint = factories.endpoint(alice.partner)
    rows = AuditEvent.objects.count()

    same = alice.patch(f"/endpoints/{endpoint.id}", {"name": endpoint.name})

    assert same.headers["ETag"] == '"1"'
    assert AuditEvent.objects.count() == rows


def test_a_stale_tag_is_refused_with_the_current_one(alice: Caller) -> None:
    endpoint = factories.endpoint(alice.partner)

    stale = alice.patch(f"/endpoints/{endpoint.id}", {"name": "x"}, if_match='"7"')

    assert stale.status_code == 412
    assert json_of(stale)["code"] == "stale_version"
    assert stale.headers["ETag"] == '"1"'
    assert (
        alice.patch(f"/endpoints/{endpoint.id}", {"name": "x"}, if_match='"1"').status_code == 200
    )
    assert alice.delete(f"/endpoints/{endpoint.id}", if_match='"1"').status_code == 412


def test_a_reader_who_has_this_version_gets_no_body(alice: Caller) -> None:
    endpoint = factories.endpoint(alice.partner)

    answer = alice.get(f"/endpoints/{endpoint.id}", if_none_match='"1"')

    assert answer.status_code == 304
    assert answer.content == b""
    assert answer.headers["ETag"] == '"1"'


def test_an_endpoint_in_use_is_not_deleted_and_its_users_are_named(alice: Caller) -> None:
    user = factories.subscription(alice.partner)

    refused = alice.delete(f"/endpoints/{user.endpoint_id}")

    assert refused.status_code == 409
    assert json_of(refused)["code"] == "in_use"
    assert user.id in json_of(refused)["detail"]


def test_a_deleted_endpoint_is_gone(alice: Caller) -> None:
    endpoint = factories.endpoint(alice.partner)

    assert alice.delete(f"/endpoints/{endpoint.id}").status_code == 204

    assert alice.get(f"/endpoints/{endpoint.id}").status_code == 404
    assert AuditEvent.objects.filter(verb="endpoint.deleted", object_id=endpoint.id).exists()


def test_switching_says_what_holds_afterwards_and_twice_is_no_fault(alice: Caller) -> None:
    path = f"/endpoints/{factories.endpoint(alice.partner).id}"

    off = json_of(alice.post(f"{path}/disable"))
    assert (off["status"], off["status_reason"]) == ("disabled", "manual")
    assert alice.post(f"{path}/disable").status_code == 200

    on = json_of(alice.post(f"{path}/enable"))
    assert (on["status"], on["status_reason"]) == ("active", None)


def test_only_an_operator_enables_what_an_operator_disabled(alice: Caller) -> None:
    endpoint = factories.endpoint(alice.partner)
    Endpoint.objects.filter(pk=endpoint.pk).update(status="disabled", status_reason="operator")

    refused = alice.post(f"/endpoints/{endpoint.id}/enable")

    assert refused.status_code == 409
    assert "operator" in json_of(refused)["detail"]


def test_lists_are_filtered_by_status_and_host(alice: Caller) -> None:
    here = factories.endpoint(alice.partner, "https://a.example.com/x")
    there = factories.endpoint(alice.partner, "https://a.example.com.evil.test:8443/x")
    Endpoint.objects.filter(pk=there.pk).update(status="disabled")

    def ids_of(query: str) -> list[str]:
        return [each["id"] for each in json_of(alice.get(f"/endpoints?{query}"))["data"]]

    assert ids_of("status=disabled") == [there.id]
    assert ids_of("host=a.example.com") == [here.id]
    assert ids_of("host=a.example.com.evil.test") == [there.id]
