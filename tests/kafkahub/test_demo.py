"""The demo's seed makes everything once, through the actions everybody else uses."""

import json
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command

from kafkahub.devstack import samples
from kafkahub.management.commands import demo
from subscriptions import keys
from subscriptions.authentication import api_key
from subscriptions.models import (
    ApiKey,
    AuditEvent,
    Endpoint,
    Grant,
    LanePosition,
    Member,
    Subscription,
)

RECEIVER = "http://127.0.0.1:8100/hook"

pytestmark = [pytest.mark.kafka, pytest.mark.django_db]


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "demo.json"


def test_it_makes_all_that_a_first_delivery_needs(state: Path) -> None:
    made = demo.seed(RECEIVER, state)

    subscription = Subscription.objects.get()
    assert subscription.endpoint is not None
    assert subscription.endpoint.url == RECEIVER
    assert sorted(subscription.topics) == sorted(samples.TOPICS)
    own = Grant.objects.filter(topic=samples.OWN).values_list("action", flat=True)
    assert sorted(own) == ["read", "write"]
    assert Grant.objects.count() == len(samples.TOPICS) + 2
    assert LanePosition.objects.count() == len(samples.TOPICS) * samples.PARTITIONS
    assert api_key.look_up(parsed(made)) is not None
    operator, member = (User.objects.get(username=made[who]) for who in ("admin_user", "member"))
    assert operator.check_password(str(made["admin_password"]))
    assert member.check_password(str(made["member_password"]))
    assert Member.objects.get().user == member


def test_a_second_run_changes_nothing(state: Path) -> None:
    first = demo.seed(RECEIVER, state)
    audited = AuditEvent.objects.count()

    assert demo.seed(RECEIVER, state) == first
    assert AuditEvent.objects.count() == audited


def test_the_endpoint_follows_the_receiver_to_another_port(state: Path) -> None:
    demo.seed(RECEIVER, state)

    demo.seed("http://127.0.0.1:8101/hook", state)

    assert Endpoint.objects.get().url == "http://127.0.0.1:8101/hook"


def test_a_lost_key_is_revoked_and_replaced(state: Path) -> None:
    lost = demo.seed(RECEIVER, state)
    state.unlink()

    fresh = demo.seed(RECEIVER, state)

    assert fresh["api_key"] != lost["api_key"]
    assert ApiKey.objects.get(public_id=parsed(lost).public_id).status == ApiKey.Status.REVOKED
    assert api_key.look_up(parsed(fresh)) is not None


def test_the_receiver_knows_the_secret_that_signs(state: Path) -> None:
    demo.seed(RECEIVER, state)

    assert [secret[:6] for secret in demo.live_secrets()] == ["whsec_"]


def test_what_is_kept_is_its_owners_only(state: Path) -> None:
    made = demo.seed(RECEIVER, state)

    assert state.stat().st_mode & 0o077 == 0
    assert json.loads(state.read_text())["api_key"] == made["api_key"]


def test_it_refuses_to_run_outside_development(state: Path) -> None:
    with pytest.raises(CommandError, match="KAFKAHUB_ENVIRONMENT=dev"):
        call_command("demo", "seed", "--receiver", RECEIVER, "--state", str(state))


def parsed(made: dict[str, Any]) -> keys.Parsed:
    key = keys.parse(made["api_key"])
    assert key is not None
    return key
