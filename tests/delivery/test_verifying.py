"""Handshakes over time: tries, limits, the week, consent; the clock is a parameter."""

from collections.abc import Iterator
from datetime import timedelta

import pytest
from django.db import transaction
from django.test import Client

from delivery import handshake, tasks, verifying
from kafkahub import clock
from kafkahub.errors import Conflict, RateLimited
from subscriptions.actions import endpoints, verification
from subscriptions.audit import Actor, ActorKind
from subscriptions.models import Endpoint, Handshake, Notice, Partner
from subscriptions.notice_types import Kind
from tests import factories
from tests.api import Caller, json_of
from tests.delivery.test_handshake import ORIGIN, echo
from tests.fakes import endpoint as fakes

pytestmark = pytest.mark.django_db
OPERATOR = Actor(ActorKind.OPERATOR, "olga")
NOW = clock.now()


@pytest.fixture
def server() -> Iterator[fakes.Endpoint]:
    """Return a receiver that answers 200 and repeats nothing."""
    with fakes.Endpoint() as server:
        yield server


def new(owner: Partner, server: fakes.Endpoint | None = None, host: str = "127.0.0.1") -> Endpoint:
    """Return an endpoint as it is made where its host is not trusted."""
    url = f"http://{host}:{server.port if server else 9}/in"
    made, _ = endpoints.create_endpoint(OPERATOR, owner.pk, name="hook", url=url)
    changed = {
        "is_verified": False,
        "status": Endpoint.Status.UNVERIFIED,
        "verification_method": Endpoint.Method.CHALLENGE,
    }
    Endpoint.objects.filter(pk=made.pk).update(**changed)
    made = Endpoint.objects.get(pk=made.pk)
    with transaction.atomic():
        verification.begin(made, NOW)
    return made


def now_of(endpoint: Endpoint) -> tuple[str, str, bool]:
    row = Endpoint.objects.get(pk=endpoint.pk)
    return row.status, row.status_reason, row.is_verified


def told(kind: Kind) -> int:
    return Notice.objects.filter(type=kind).count()


def test_an_echo_makes_an_endpoint_active_and_is_told_once(server: fakes.Endpoint) -> None:
    endpoint = new(factories.partner(), server)
    server.script(echo(server))

    tasks.verify_endpoints()
    tasks.verify_endpoints()

    assert now_of(endpoint) == ("active", "", True)
    assert told(Kind.ENDPOINT_VERIFIED) == 1
    assert len(server.received) == 1


def test_three_tries_at_0_10_and_60_seconds_then_the_partner_is_told(
    server: fakes.Endpoint,
) -> None:
    endpoint = new(factories.partner(), server)

    tried = [
        verifying.run_due(NOW + timedelta(seconds=after)) for after in (0, 9, 10, 69, 70, 9_999)
    ]

    assert tried == [1, 0, 1, 0, 1, 0]
    row = Handshake.objects.get()
    assert (row.state, row.tries, row.due_at) == ("failed", 3, None)
    assert "not with the challenge" in row.detail
    assert told(Kind.ENDPOINT_VERIFICATION_FAILED) == 1
    assert now_of(endpoint) == ("unverified", "", False)


def test_a_try_that_another_process_makes_is_left_to_it(server: fakes.Endpoint) -> None:
    new(factories.partner(), server)
    verification.claim_due(NOW, 10)

    assert verifying.run_due(NOW) == 0


def test_what_was_shown_by_another_url_proves_nothing(server: fakes.Endpoint) -> None:
    before = new(factories.partner(), server)
    Endpoint.objects.filter(pk=before.pk).update(url="http://127.0.0.1:9/elsewhere")

    assert not verification.succeed(before, None, NOW)
    assert now_of(before) == ("unverified", "", False)


def test_after_a_week_an_endpoint_is_disabled_and_may_still_prove_itself(
    server: fakes.Endpoint,
) -> None:
    endpoint = new(factories.partner(), server)

    verifying.give_up(NOW + timedelta(days=7))
    before = now_of(endpoint)
    verifying.give_up(NOW + timedelta(days=7, seconds=1))
    verifying.give_up(NOW + timedelta(days=8))

    assert before == ("unverified", "", False)
    assert now_of(endpoint) == ("disabled", "unverified", False)
    assert told(Kind.ENDPOINT_DISABLED) == 1
    server.script(echo(server))
    verifying.try_now(Endpoint.objects.get(pk=endpoint.pk), NOW)
    assert now_of(endpoint) == ("active", "", True)


def test_an_endpoint_gets_five_handshakes_an_hour() -> None:
    endpoint = new(factories.partner())
    for _ in range(4):
        verification.begin_again(endpoint, None, NOW)

    with pytest.raises(RateLimited) as refused:
        verification.begin_again(endpoint, None, NOW + timedelta(minutes=59))

    assert refused.value.retry_after_s == 61
    verification.begin_again(endpoint, None, NOW + timedelta(minutes=60, seconds=1))


def test_a_host_gets_twenty_an_hour_over_all_partners_and_more_wait() -> None:
    made = [new(factories.partner()) for _ in range(21)]

    waiting = Handshake.objects.get(pk=made[20].pk)
    assert waiting.due_at == NOW + timedelta(hours=1)
    with pytest.raises(RateLimited):
        verification.begin_again(made[0], None, NOW)


def test_only_a_verified_endpoint_can_be_enabled(server: fakes.Endpoint) -> None:
    endpoint = new(factories.partner(), server)

    with pytest.raises(Conflict, match="verify"):
        endpoints.enable_endpoint(OPERATOR, endpoint)


def test_an_operator_may_vouch_for_it() -> None:
    endpoint = new(factories.partner())

    verification.trust(OPERATOR, endpoint, "known to us")

    assert now_of(endpoint) == ("active", "", True)
    assert not Handshake.objects.exists()
    assert told(Kind.ENDPOINT_VERIFIED) == 1


def test_what_a_person_disabled_stays_so_when_it_is_verified(server: fakes.Endpoint) -> None:
    endpoint = new(factories.partner(), server)
    endpoints.disable_endpoint(OPERATOR, endpoint)
    server.script(echo(server))

    verifying.try_now(Endpoint.objects.get(pk=endpoint.pk), NOW)

    assert now_of(endpoint) == ("disabled", "operator", True)


@pytest.mark.parametrize(
    "change",
    [
        {"url": "https://192.0.3.8/in"},
        {"auth": {"type": "bearer", "token": "t"}},
    ],
)
def test_dialled_otherwise_it_must_prove_itself_anew(change: dict[str, object]) -> None:
    owner = factories.partner()
    endpoint, _ = endpoints.create_endpoint(
        OPERATOR, owner.pk, name="hook", url="https://192.0.3.7/in"
    )
    assert verification.succeed(endpoint, 60, NOW)

    endpoints.update_endpoint(OPERATOR, endpoint, change)

    assert now_of(endpoint) == ("unverified", "", False)
    assert Handshake.objects.get().state == "pending"
    assert Endpoint.objects.get().allowed_rate_per_min is None


def test_a_change_of_something_else_leaves_the_proof() -> None:
    owner = factories.partner()
    endpoint, _ = endpoints.create_endpoint(
        OPERATOR, owner.pk, name="hook", url="https://192.0.3.7/in"
    )
    verification.succeed(endpoint, None, NOW)

    endpoints.update_endpoint(OPERATOR, endpoint, {"timeout_ms": 2_000}, {"x-a": "1"})

    assert now_of(endpoint) == ("active", "", True)


CONSENT = fakes.status(
    200, headers=[("WebHook-Allowed-Origin", "*"), ("WebHook-Allowed-Rate", "90")]
)


def by_cloudevents(server: fakes.Endpoint) -> Endpoint:
    endpoint = new(factories.partner(), server)
    method = Endpoint.Method.CLOUDEVENTS
    Endpoint.objects.filter(pk=endpoint.pk).update(verification_method=method)
    return Endpoint.objects.get(pk=endpoint.pk)


def test_consent_by_cloudevents_brings_a_rate_and_is_asked_for_again_daily(
    server: fakes.Endpoint,
) -> None:
    endpoint = by_cloudevents(server)
    server.script(CONSENT)
    verifying.run_due(NOW)
    assert now_of(endpoint) == ("active", "", True)
    assert Endpoint.objects.get().allowed_rate_per_min == 90

    early = verifying.run_due(NOW + timedelta(hours=23))
    late = verifying.run_due(NOW + timedelta(hours=24))

    assert (early, late) == (0, 1)
    assert told(Kind.ENDPOINT_VERIFIED) == 1


def test_each_delivery_names_us_to_who_consented_and_keeps_to_its_rate(
    server: fakes.Endpoint,
) -> None:
    endpoint = by_cloudevents(server)
    server.script(CONSENT)
    verifying.run_due(NOW)

    live = handshake.live(Endpoint.objects.get(pk=endpoint.pk))

    assert live.rate_per_s == 1.5
    assert dict(live.headers)["webhook-request-origin"] == ORIGIN


def test_a_consent_that_is_withdrawn_ends_it_and_one_out_of_reach_does_not(
    server: fakes.Endpoint,
) -> None:
    endpoint = by_cloudevents(server)
    server.script(CONSENT)
    verifying.run_due(NOW)

    server.script(fakes.reset())
    verifying.run_due(NOW + timedelta(hours=25))
    unreached = now_of(endpoint)
    server.script(fakes.ok())
    verifying.run_due(NOW + timedelta(hours=25, minutes=2))

    assert unreached == ("active", "", True)
    assert now_of(endpoint) == ("unverified", "", False)
    assert told(Kind.ENDPOINT_VERIFICATION_FAILED) == 1


def test_a_person_consents_by_the_callback_once(server: fakes.Endpoint) -> None:
    endpoint = by_cloudevents(server)
    verifying.run_due(clock.now())
    token = server.received[0].headers["webhook-request-callback"].rpartition("/")[2]

    first = Client().post(f"/webhooks/consent/{token}")
    second = Client().get(f"/webhooks/consent/{token}")

    assert (first.status_code, second.status_code) == (200, 404)
    assert now_of(endpoint) == ("active", "", True)


def test_a_callback_is_good_for_an_hour(server: fakes.Endpoint) -> None:
    by_cloudevents(server)
    verifying.run_due(clock.now() - timedelta(hours=1, seconds=1))
    Handshake.objects.update(due_at=clock.now() - timedelta(hours=2))
    verifying.run_due(clock.now() - timedelta(hours=1, seconds=1))
    token = server.received[-1].headers["webhook-request-callback"].rpartition("/")[2]

    assert Client().get(f"/webhooks/consent/{token}").status_code == 404


# By the control API.


def test_a_new_endpoint_says_that_and_why_nothing_is_sent_to_it(alice: Caller) -> None:
    made = json_of(alice.post("/endpoints", {"url": "https://192.0.3.7/in"}))

    assert (made["status"], made["status_reason"]) == ("unverified", "handshake_pending")
    assert made["verification"]["method"] == "challenge"
    assert made["verification"]["state"] == "pending"


def test_verify_makes_a_try_at_once_and_says_what_was_wrong(
    alice: Caller, server: fakes.Endpoint
) -> None:
    endpoint = new(alice.partner, server)

    refused = json_of(alice.post(f"/endpoints/{endpoint.pk}/verify"))
    server.script(echo(server))
    good = json_of(alice.post(f"/endpoints/{endpoint.pk}/verify", {"method": "challenge"}))

    assert refused["status"] == "unverified"
    assert "not with the challenge" in refused["verification"]["detail"]
    assert (good["status"], good["verification"]["state"]) == ("active", "verified")
    assert good["verification"]["detail"] is None


def test_verify_is_refused_to_who_is_trusted(alice: Caller) -> None:
    endpoint = factories.endpoint(alice.partner)

    assert alice.post(f"/endpoints/{endpoint.pk}/verify").status_code == 409


def test_a_dry_run_of_verify_asks_nobody(alice: Caller, server: fakes.Endpoint) -> None:
    endpoint = new(alice.partner, server)

    answer = alice.post(f"/endpoints/{endpoint.pk}/verify?dry_run=true")

    assert json_of(answer)["dry_run"] is True
    assert server.received == []


def test_subscriptions_of_an_unverified_endpoint_are_pending(
    alice: Caller, server: fakes.Endpoint
) -> None:
    made = factories.subscription(alice.partner, new(alice.partner, server))

    shown = json_of(alice.get(f"/subscriptions/{made.pk}"))
    listed = json_of(alice.get("/subscriptions?status=pending"))["data"]

    assert (shown["status"], shown["status_reason"]) == ("pending", "endpoint_unverified")
    assert [row["id"] for row in listed] == [made.pk]
    assert json_of(alice.get("/subscriptions?status=active"))["data"] == []
