"""The fixed vectors, and Standard Webhooks' own library as the oracle."""

import base64
import os
from datetime import UTC, datetime

import pytest
import standardwebhooks
from hypothesis import given
from hypothesis import strategies as st

from kafkahub import signing

SECRET = "whsec_" + base64.b64encode(bytes(range(0x20))).decode()
PRIVATE = "whsk_" + base64.b64encode(bytes(range(0x20, 0x40))).decode()
PUBLIC = "whpk_Kay64UG8yvCyLhqU000LxzYeUm0L/hLIl5S8kyKWbdc="
WEBHOOK_ID = "msg_5VSfZ5qhZj7575Js21URzT"
TIMESTAMP = 1795407540
BODY = (
    b'{"type":"order.created","timestamp":"2026-11-23T04:19:00.123Z","data":{"id":7,"amount":1000}}'
)
V1 = "v1,xb+iJb6aKOWcXvdGr/6qkY9ArAAZxRw35XI2ITL0cJg="
V1A = "v1a,kBdK88f4a1WJOG0Wj5e+HdVxRVotLG9gxJr4rblgnyy3P8kkQvJW5LKWC6FiUbWplS7GzQUAtotF+8itnolUAw=="


def header_of(*keys: str, body: bytes = BODY) -> str:
    signers = [signing.signer(key) for key in keys]
    return signing.signature_header(signers, WEBHOOK_ID, TIMESTAMP, body)


@pytest.mark.parametrize(("key", "expected"), [(SECRET, V1), (PRIVATE, V1A)])
def test_the_fixed_vectors_hold(key: str, expected: str) -> None:
    assert len(BODY) == 93
    assert header_of(key) == expected


def test_the_public_key_of_the_vector_is_the_published_one() -> None:
    assert signing.public_key(PRIVATE) == PUBLIC


def test_all_live_keys_sign_newest_first() -> None:
    assert header_of(PRIVATE, SECRET) == f"{V1A} {V1}"


def test_nothing_leaves_unsigned() -> None:
    with pytest.raises(ValueError, match="unsigned"):
        signing.signature_header([], WEBHOOK_ID, TIMESTAMP, BODY)


@given(body=st.text().map(str.encode), key=st.binary(min_size=24, max_size=64))
def test_the_standard_library_of_receivers_accepts_every_signature(body: bytes, key: bytes) -> None:
    secret = "whsec_" + base64.b64encode(key).decode()

    header = header_of(SECRET, secret, body=body)

    oracle = standardwebhooks.Webhook(secret)
    assert oracle.sign(WEBHOOK_ID, datetime.fromtimestamp(TIMESTAMP, UTC), body.decode()) in header


@pytest.mark.parametrize(("private", "public"), [(SECRET, SECRET), (PRIVATE, PUBLIC)])
def test_verification_takes_the_right_bytes_only(private: str, public: str) -> None:
    header = f"{V1} v2,abc junk {header_of(private)}"

    def accepted(key: str, at: int, body: bytes, name: str = WEBHOOK_ID) -> bool:
        return signing.verify(key, name, at, body, header=header)

    assert accepted(public, TIMESTAMP, BODY)
    assert not accepted(public, TIMESTAMP + 1, BODY)
    assert not accepted(public, TIMESTAMP, BODY + b" ")
    assert not accepted(public, TIMESTAMP, BODY, "msg_other")


def test_another_key_does_not_verify() -> None:
    _, stranger = signing.new_ed25519()
    header = f"{V1} {V1A}"

    for key in (signing.new_secret(), stranger):
        assert not signing.verify(key, WEBHOOK_ID, TIMESTAMP, BODY, header=header)


def test_a_signature_that_is_not_base64_does_not_verify() -> None:
    assert not signing.verify(PUBLIC, WEBHOOK_ID, TIMESTAMP, BODY, header="v1a,*** v1a, v1a,é")
    assert not signing.verify(SECRET, WEBHOOK_ID, TIMESTAMP, BODY, header="v1,é")


def test_new_keys_are_well_formed_and_never_the_same() -> None:
    private, public = signing.new_ed25519()

    assert len(signing.parse_secret(signing.new_secret())) == 32
    assert signing.new_secret() != signing.new_secret()
    assert signing.public_key(private) == public


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", "start with whsec_"),
        ("WHSEC_" + "A" * 44, "start with whsec_"),
        ("whsec_***", "not base64"),
        ("whsec_AAA", "not base64"),
        ("whsec_é", "not base64"),
        ("whsec_" + base64.b64encode(bytes(23)).decode(), "23 bytes; 24 to 64"),
        ("whsec_" + base64.b64encode(bytes(65)).decode(), "65 bytes; 24 to 64"),
    ],
)
def test_a_bad_secret_is_refused_with_its_fault(text: str, fault: str) -> None:
    with pytest.raises(ValueError, match=fault):
        signing.parse_secret(text)


def test_a_private_key_of_the_wrong_length_is_refused() -> None:
    with pytest.raises(ValueError, match="ed25519 has 32"):
        signing.signer("whsk_" + base64.b64encode(os.urandom(31)).decode())
