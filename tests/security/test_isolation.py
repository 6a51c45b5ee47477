"""Nobody sees or moves another partner's objects, on any route."""

import json
import re
from collections.abc import Callable, Iterator

import pytest
from django.http import HttpResponse
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver

from delivery.models import DeliveryAttempt
from kafkahub import ids
from subscriptions.models import SigningSecret
from tests import factories
from tests.api import BASE, Caller, json_of, without_request_id

PARAMETER = re.compile(r"<str:(\w+)>")

Targets = dict[str, str]
"""An id by the name of the path parameter that takes it."""


def routes(
    patterns: list[URLPattern | URLResolver] | None = None, front: str = ""
) -> Iterator[str]:
    """Yield every path below ``/api/v1`` with its parameters, as the code declares them."""
    for each in patterns if patterns is not None else get_resolver().url_patterns:
        path = f"{front}{each.pattern}"
        if isinstance(each, URLResolver):
            yield from routes(each.url_patterns, path)
        elif path.startswith("api/v1/") and path != "api/v1/kafkahub.proto":  # a file for anybody
            yield path.removeprefix("api/v1")


def operations() -> list[tuple[str, str]]:
    """Return method and path of every operation that the views declare."""
    found = []
    for path in routes():
        view = get_resolver().resolve(f"{BASE}{PARAMETER.sub('x', path)}").func
        found += [(method, path) for method in view.cls.operations]  # type: ignore[attr-defined]
    return found


OWNED = [(method, path) for method, path in operations() if PARAMETER.search(path)]


@pytest.fixture
def targets(alice: Caller) -> Targets:
    """Return ids of things that alice has, one for every path parameter there is."""
    target = factories.endpoint(alice.partner)
    made = factories.subscription(alice.partner, target)
    secret = SigningSecret.objects.create(
        endpoint=target, kind="hmac", secret="whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxw="
    )
    factories.grant(alice.partner, "alices-topic")
    parked = factories.parked(made)
    factories.attempt(parked)
    return {
        "endpoint": target.id,
        "subscription": made.id,
        "secret": secret.id,
        "key": alice.row.id,
        "topic": "alices-topic",
        "event_type": "alices-topic",
        "delivery": parked.id,
        "parked": parked.id,
        "replay": factories.replay(made).pk,
        "ticket": factories.ticket(alice)[0].id,
        "notice": factories.notice(alice.partner).id,
        "stream": factories.open_stream(alice).id,
        "attempt": DeliveryAttempt.objects.get(delivery=parked.id).public_id,
    }


def fresh(name: str, target: str) -> str:
    """Return a name of the same form that nothing has."""
    if name in {"topic", "event_type"}:
        return "no-such-topic"
    prefix, _, rest = target.partition("_")
    return ids.new(prefix) if len(rest) == ids.LENGTH else f"{prefix}_{'0' * len(rest)}"


def fill(path: str, choose: Callable[[str], str]) -> str:
    return PARAMETER.sub(lambda found: choose(found[1]), path)


def call(caller: Caller, method: str, path: str) -> HttpResponse:
    body = json.dumps({}).encode() if method in {"POST", "PATCH"} else None
    return caller.send(method, path, body)


@pytest.mark.parametrize(("method", "path"), OWNED)
def test_a_stranger_gets_the_404_of_nothing(
    method: str, path: str, targets: Targets, charlie: Caller
) -> None:
    foreign = call(charlie, method, fill(path, lambda name: targets[name]))
    nothing = call(charlie, method, fill(path, lambda name: fresh(name, targets[name])))

    assert foreign.status_code == nothing.status_code == 404
    assert without_request_id(foreign) == without_request_id(nothing)
    assert dict(foreign.headers).keys() == dict(nothing.headers).keys()


@pytest.mark.parametrize(("method", "path"), OWNED)
@pytest.mark.parametrize("junk", ["%00", "0" * 40, "..%2f..", "ep_", "é", "x" * 500, "'--"])
def test_an_id_that_is_none_is_404(
    method: str, path: str, junk: str, targets: Targets, alice: Caller
) -> None:
    answer = call(alice, method, fill(path, lambda _: junk))

    assert answer.status_code == 404
    assert json_of(answer)["code"] == "not_found"


@pytest.mark.parametrize(("method", "path"), operations())
def test_nothing_but_the_document_opens_without_a_credential(
    db: None, method: str, path: str
) -> None:
    answer = Client().generic(method, f"{BASE}{fill(path, lambda name: name)}")

    assert answer.status_code == (200 if path == "/openapi.json" else 401)


@pytest.mark.parametrize(("method", "path"), operations())
def test_every_route_names_the_scope_that_is_missing(
    method: str, path: str, targets: Targets, alice: Caller
) -> None:
    view = get_resolver().resolve(f"{BASE}{PARAMETER.sub('x', path)}").func
    scope = view.cls.operations[method].scope  # type: ignore[attr-defined]
    bare = factories.caller(alice.partner, "bare", scopes=frozenset({"topic:*:write"}))

    answer = call(bare, method, fill(path, lambda name: targets[name]))

    if scope:
        assert answer.status_code == 403
        assert scope in json_of(answer)["detail"]
    else:
        assert answer.status_code != 403


def test_no_route_is_declared_twice() -> None:
    found = list(routes())

    assert len(found) == len(set(found))


def test_lists_show_only_what_is_ones_own(targets: Targets, charlie: Caller) -> None:
    plain = [path for method, path in operations() if method == "GET" and "<" not in path]

    for path in plain:
        content = charlie.get(path).content.decode()
        assert not [target for target in targets.values() if target in content]


def test_foreign_ids_in_a_body_are_the_404_of_nothing(
    targets: Targets, alice: Caller, charlie: Caller
) -> None:
    def refusal(endpoint: str, topic: str) -> object:
        body = {"endpoint": endpoint, "topics": [topic]}
        return without_request_id(charlie.post("/subscriptions", body))

    own = factories.endpoint(charlie.partner).id
    assert refusal(targets["endpoint"], "orders") == refusal(ids.new("ep"), "orders")
    assert refusal(own, "alices-topic") == refusal(own, "no-such-topic")


def test_foreign_ids_in_a_filter_find_nothing(targets: Targets, charlie: Caller) -> None:
    answer = charlie.get(f"/subscriptions?endpoint={targets['endpoint']}")

    assert json_of(answer) == {"data": [], "next_cursor": None}
