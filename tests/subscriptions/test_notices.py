"""What partners are told: written with its cause, once an episode, listed, mailed."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import jsonschema
import pytest
from django.core import mail
from django.db import transaction
from pytest_django import Settings

from kafkahub import clock, config
from subscriptions import notices, tasks
from subscriptions.actions import endpoints
from subscriptions.audit import Actor, ActorKind, NoTransaction
from subscriptions.models import Endpoint, Notice, Partner
from subscriptions.notice_types import FORMS, Kind, schema
from tests import factories
from tests.api import Caller, codes, json_of

OPERATOR = Actor(ActorKind.OPERATOR, "olga")
AT = datetime(2026, 12, 1, 4, 5, 6, 789_000, tzinfo=UTC)


def write(partner: Partner, *, episode: str = "", endpoint: str = "ep_1") -> Notice | None:
    members = {"endpoint": endpoint, "reason": "gone", "by": "delivery"}
    with transaction.atomic():
        return notices.write(
            Kind.ENDPOINT_DISABLED, partner.pk, members, endpoint=endpoint, episode=episode
        )


@pytest.mark.django_db(transaction=True)
def test_a_notice_belongs_into_the_transaction_of_its_cause() -> None:
    owner = factories.partner()

    with pytest.raises(NoTransaction):
        notices.write(Kind.ENDPOINT_DISABLED, owner.pk, {"endpoint": "", "reason": "", "by": ""})


@pytest.mark.django_db
def test_members_that_a_kind_does_not_have_are_a_fault() -> None:
    owner = factories.partner()

    with pytest.raises(ValueError, match="missing \\['by'\\], unknown \\['why'\\]"):
        notices.write(
            Kind.ENDPOINT_DISABLED, owner.pk, {"endpoint": "", "reason": "", "why": "because"}
        )


@pytest.mark.django_db
def test_an_episode_is_told_of_once_and_each_partner_of_its_own() -> None:
    alice, bob = factories.partner(), factories.partner()

    first, second = write(alice, episode="e1"), write(alice, episode="e1")
    other = write(bob, episode="e1")
    both = [write(alice), write(alice)]

    assert first is not None
    assert second is None
    assert other is not None
    assert None not in both


@pytest.mark.django_db
def test_times_are_told_in_rfc_3339() -> None:
    owner = factories.partner()

    members = {"object": "key_1", "expires_at": AT}
    told = notices.write(Kind.KEY_EXPIRING, owner.pk, members)

    assert told is not None
    assert told.data["expires_at"] == "2026-12-01T04:05:06.789Z"
    assert told.text == "The API key key_1 ends at 2026-12-01T04:05:06.789Z."
    assert told.link == f"{config.load().base_url}/api/v1/api-keys/key_1"


@pytest.mark.parametrize("kind", list(Kind))
def test_every_kind_has_a_form_whose_sentence_names_its_own_members(kind: Kind) -> None:
    form = FORMS[kind]

    form.text.format_map(dict.fromkeys(form.members, "x"))

    jsonschema.Draft202012Validator.check_schema(schema(kind))
    assert form.subject[0] in form.members


def test_a_partner_lists_what_it_was_told_and_nothing_else(alice: Caller, charlie: Caller) -> None:
    told = write(alice.partner)
    foreign = write(charlie.partner)
    assert told is not None
    assert foreign is not None

    listed = json_of(alice.get("/notices"))["data"]
    one = alice.get(f"/notices/{told.pk}")

    assert [row["id"] for row in listed] == [told.pk]
    jsonschema.validate(json_of(one)["data"], schema(Kind.ENDPOINT_DISABLED))
    assert alice.get(f"/notices/{foreign.pk}").status_code == 404
    assert json_of(alice.get("/notices?type=kafkahub.gap"))["data"] == []


def test_all_kinds_are_described(alice: Caller) -> None:
    kinds = json_of(alice.get("/notices/types"))["data"]

    assert [kind["type"] for kind in kinds] == sorted(kind.value for kind in Kind)


def make(alice: Caller, endpoint: Endpoint, **members: object) -> object:
    body = {"kind": "notices", "endpoint": endpoint.pk, **members}
    answer = alice.post("/subscriptions", body)
    assert answer.status_code == 201, answer.content
    return json_of(answer)


def test_a_subscription_of_notices_needs_no_topic(alice: Caller) -> None:
    endpoint = factories.endpoint(alice.partner)

    made = make(alice, endpoint, types=["kafkahub.endpoint.disabled"])

    assert isinstance(made, dict)
    assert (made["kind"], made["topics"], made["status"]) == ("notices", [], "active")
    assert made["types"] == ["kafkahub.endpoint.disabled"]


@pytest.mark.parametrize(
    ("members", "found"),
    [
        ({"topics": ["orders"]}, {"/topics": "bad_combination"}),
        ({"filter": {"value": {"a": 1}}}, {"/filter": "bad_combination"}),
        ({"format": "raw"}, {"/format": "bad_combination"}),
        ({"start": "earliest"}, {"/start": "bad_combination"}),
        ({"types": ["orders"]}, {"/types/0": "not_one_of"}),
    ],
)
def test_it_is_narrowed_by_types_only(
    alice: Caller, members: dict[str, object], found: dict[str, str]
) -> None:
    endpoint = factories.endpoint(alice.partner)

    answer = alice.post("/subscriptions", {"kind": "notices", "endpoint": endpoint.pk, **members})

    assert answer.status_code == 400
    assert codes(answer) == found


def test_a_subscription_of_records_still_needs_topics(alice: Caller) -> None:
    endpoint = factories.endpoint(alice.partner)

    answer = alice.post("/subscriptions", {"endpoint": endpoint.pk})

    assert codes(answer) == {"/topics": "required"}


def test_it_stays_one_of_notices(alice: Caller) -> None:
    made = make(alice, factories.endpoint(alice.partner))
    assert isinstance(made, dict)

    answer = alice.patch(f"/subscriptions/{made['id']}", {"format": "raw"})

    assert codes(answer) == {"/format": "bad_combination"}


@pytest.mark.django_db
def test_switching_an_endpoint_is_told_without_the_operators_name() -> None:
    endpoint = factories.endpoint(factories.partner())

    endpoints.disable_endpoint(OPERATOR, endpoint, "abuse")
    endpoints.disable_endpoint(OPERATOR, endpoint, "abuse")
    endpoints.enable_endpoint(OPERATOR, endpoint)

    told = Notice.objects.order_by("id").values_list("type", "data")
    assert [(kind, data["reason"], data["by"]) for kind, data in told] == [
        (Kind.ENDPOINT_DISABLED, "operator", "operator"),
        (Kind.ENDPOINT_ENABLED, "manual", "operator"),
    ]


@pytest.mark.django_db
def test_a_rotation_tells_until_when_the_old_secret_signs() -> None:
    owner = factories.partner()
    endpoint, _ = endpoints.create_endpoint(OPERATOR, owner.pk, name="a", url="https://a.example/")
    old = endpoint.secrets.get()

    endpoints.rotate_secret(OPERATOR, endpoint, "hmac")

    [told] = Notice.objects.filter(type=Kind.SECRET_ROTATED)
    assert told.data["object"] == old.pk


@pytest.fixture
def mailing(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let mail go out, to Django's outbox."""
    monkeypatch.setenv("KAFKAHUB_MAIL_URL", "smtp://mail.example")
    config.load.cache_clear()
    yield
    monkeypatch.undo()
    config.load.cache_clear()


@pytest.mark.django_db
def test_a_partner_gets_one_mail_of_all_that_is_new(mailing: None) -> None:
    owner = factories.partner()
    owner.contact = "ops@alice.example"
    owner.save()
    write(owner)
    write(owner)
    write(factories.partner())  # without a contact

    tasks.mail_notices()
    tasks.mail_notices()

    [sent] = mail.outbox
    assert sent.to == ["ops@alice.example"]
    assert "(and 1 more)" in sent.subject
    assert sent.body.count("kafkahub.endpoint.disabled") == 2


@pytest.mark.django_db
def test_a_mail_server_that_is_away_is_asked_again(mailing: None, settings: Settings) -> None:
    owner = factories.partner()
    owner.contact = "ops@alice.example"
    owner.save()
    write(owner)

    settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
    settings.EMAIL_HOST, settings.EMAIL_PORT = "127.0.0.1", 1
    tasks.mail_notices()
    settings.EMAIL_BACKEND = "django.core.mail.backends.locmem.EmailBackend"
    tasks.mail_notices()

    assert len(mail.outbox) == 1


@pytest.mark.django_db
def test_notices_are_kept_90_days() -> None:
    owner = factories.partner()
    for days in (91, 89):
        told = write(owner)
        assert told is not None
        Notice.objects.filter(pk=told.pk).update(created_at=clock.now() - timedelta(days=days))

    tasks.expire_notices(rows_per_slice=1)

    assert Notice.objects.count() == 1
