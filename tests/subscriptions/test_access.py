"""Who may see which topic, and which record."""

from dataclasses import dataclass, replace

import pytest

from kafkahub.errors import ActionNotGranted, NotFound
from kafkahub.kafka.record import Record
from subscriptions.access import authorize, authorize_and_project
from subscriptions.grants import Action, Grant, Principal

NOW_MS = 1_800_000_000_000
ALICE = Principal(
    partner="ptn_alice",
    kind="key",
    id="key_1",
    name="backend",
    mode="live",
    scopes=frozenset({"webhooks:write"}),
    topics=None,
    expires_at_ms=NOW_MS + 1,
)
GRANT = Grant("grt_1", "ptn_alice", "orders", "read", version=1, valid_until_ms=NOW_MS + 1)
RECORD = Record("orders", 0, 7, NOW_MS, b"k", b"{}")


@dataclass(frozen=True)
class Facts:
    is_sandbox: bool = False
    is_enabled: bool = True


def ask(
    principal: Principal = ALICE,
    grant: Grant = GRANT,
    facts: Facts | None = None,
    topic: str = "orders",
    action: Action = "read",
) -> Grant:
    return authorize(
        principal,
        topic,
        action,
        grants={(grant.partner, grant.topic, grant.action): grant},
        topics={"orders": facts or Facts()},
        now_ms=NOW_MS,
    )


def test_a_grant_opens_its_topic() -> None:
    assert ask() is GRANT


def refusal(**change: object) -> str:
    with pytest.raises(NotFound) as caught:
        ask(**change)  # type: ignore[arg-type]  # the table below holds arguments of ask
    return caught.value.detail


@pytest.mark.parametrize(
    "change",
    [
        {"topic": "unknown"},
        {"principal": replace(ALICE, partner="ptn_bob")},
        {"principal": replace(ALICE, mode="test")},
        {"principal": replace(ALICE, topics=frozenset({"invoices"}))},
        {"facts": Facts(is_sandbox=True)},
        {"facts": Facts(is_enabled=False)},
        {"grant": replace(GRANT, valid_until_ms=NOW_MS)},
        {"grant": replace(GRANT, topic="invoices")},
        {"grant": replace(GRANT, action="write", valid_until_ms=NOW_MS)},
    ],
)
def test_whatever_hides_a_topic_it_is_the_same_404(change: dict[str, object]) -> None:
    assert refusal(**change) == refusal(topic="never-existed")


def test_a_grant_for_the_other_action_only_is_said_so() -> None:
    with pytest.raises(ActionNotGranted):
        ask(action="write")


def test_the_other_action_is_not_told_of_a_hidden_topic() -> None:
    with pytest.raises(NotFound):
        ask(action="write", facts=Facts(is_enabled=False))


def test_a_test_key_sees_a_sandbox_topic() -> None:
    assert ask(principal=replace(ALICE, mode="test"), facts=Facts(is_sandbox=True)) is GRANT


@pytest.mark.parametrize("is_sandbox", [True, False])
def test_an_operator_has_no_mode(*, is_sandbox: bool) -> None:
    assert ask(replace(ALICE, kind="operator"), facts=Facts(is_sandbox=is_sandbox)) is GRANT


def test_a_record_that_the_grant_does_not_change_is_the_same_object() -> None:
    assert authorize_and_project(RECORD, GRANT, NOW_MS) is RECORD


@pytest.mark.parametrize(
    "grant",
    [
        replace(GRANT, valid_until_ms=NOW_MS),
        replace(GRANT, topic="invoices"),
        replace(GRANT, action="write"),
    ],
)
def test_no_record_passes_a_grant_that_does_not_cover_it(grant: Grant) -> None:
    assert authorize_and_project(RECORD, grant, NOW_MS) is None
