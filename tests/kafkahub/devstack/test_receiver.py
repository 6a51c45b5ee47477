"""The sample receiver believes only what is signed for it."""

import json
from collections.abc import Callable, Mapping

import pytest

from kafkahub import clock, signing
from kafkahub.devstack.receiver import SHOWN_IN_FULL, TOLERANCE_S, Diary, challenge_of

OLD, NEW = signing.new_secret(), signing.new_secret()
BODY = json.dumps({"type": "orders", "timestamp": "2026-11-23T04:19:00.123Z", "data": 1}).encode()
NEVER = 10**9


def request(
    number: int = 1, *, secret: str = NEW, age_s: int = 0, body: bytes = BODY
) -> Mapping[str, str]:
    """Return the headers of a delivery that is genuine but for what is asked."""
    webhook_id, timestamp = f"msg_{number}", clock.unix_seconds() - age_s
    signature = signing.signature_header([signing.signer(secret)], webhook_id, timestamp, body)
    return {
        "webhook-id": webhook_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": signature,
        "kafkahub-topic": "orders",
        "kafkahub-attempt": "1",
    }


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def diary(said: list[str]) -> Diary:
    return Diary(lambda: [NEW], said.append, fails_one_in=NEVER)


def test_a_genuine_delivery_is_accepted_and_shown(diary: Diary, said: list[str]) -> None:
    assert diary.answer(request(), BODY) == 204
    assert "verified   msg_1  orders" in said[0]


@pytest.mark.parametrize(
    ("headers", "body", "fault"),
    [
        (request, BODY + b" ", "no signature fits"),
        (lambda: request(secret=OLD), BODY, "no signature fits"),
        (lambda: request(age_s=TOLERANCE_S + 60), BODY, "more than 300 s away"),
        (lambda: request(age_s=-TOLERANCE_S - 60), BODY, "more than 300 s away"),
        (lambda: {**request(), "webhook-timestamp": "soon"}, BODY, "no number"),
        (lambda: {"webhook-id": "msg_1"}, BODY, "'webhook-signature' is missing"),
    ],
    ids=["tampered", "foreign secret", "too old", "too new", "no time", "no signature"],
)
def test_what_is_not_genuine_is_refused(
    diary: Diary,
    said: list[str],
    headers: Callable[[], Mapping[str, str]],
    body: bytes,
    fault: str,
) -> None:
    assert diary.answer(headers(), body) == 401
    assert fault in said[0]


def test_a_rotated_secret_is_learnt_from_the_first_signature_that_does_not_fit(
    said: list[str],
) -> None:
    live = [OLD]
    diary = Diary(lambda: tuple(live), said.append, fails_one_in=NEVER)
    live.append(NEW)

    assert diary.answer(request(1, secret=OLD), BODY) == 204
    assert diary.answer(request(2, secret=NEW), BODY) == 204


def test_it_answers_the_challenge_of_a_handshake_and_nothing_else() -> None:
    asked = b'{"type":"kafkahub.verification","timestamp":"","data":{"challenge":"abc"}}'
    other = b'{"type":"orders","timestamp":"","data":"kafkahub.verification"}'

    assert challenge_of(asked) == b'{"challenge":"abc"}'
    assert challenge_of(other) == b""


def test_a_copy_is_accepted_and_not_shown_again(diary: Diary, said: list[str]) -> None:
    diary.answer(request(), BODY)

    assert diary.answer(request(), BODY) == 204
    assert len(said) == 1


def test_one_in_so_many_fails_and_succeeds_when_it_comes_again(said: list[str]) -> None:
    diary = Diary(lambda: [NEW], said.append, fails_one_in=3)

    statuses = [diary.answer(request(number), BODY) for number in (1, 2, 3, 3)]

    assert statuses == [204, 204, 500, 204]


def test_only_the_first_deliveries_are_shown_one_by_one(diary: Diary, said: list[str]) -> None:
    for number in range(SHOWN_IN_FULL + 5):
        diary.answer(request(number), BODY)

    assert len(said) == SHOWN_IN_FULL
