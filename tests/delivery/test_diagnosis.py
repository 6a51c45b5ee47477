"""The signature doctor finds each fault from a made example, and none in what is right."""

import base64
import gzip
import hashlib
import hmac
import json
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from delivery.diagnosis import Evidence, Secret, diagnose
from kafkahub import signing

OWN, OLD, OTHER = (f"whsec_{base64.b64encode(bytes([n]) * 32).decode()}" for n in (1, 2, 3))
ID, NOW = "msg_5VSfZ5qhZj7575Js21URzT", 1_795_407_540
BODY = '{"type":"orders","data":{"total":120,"note":"größer"}}'.encode()


def header(secret: str, body: bytes = BODY, at: int = NOW) -> str:
    return signing.signature_header([signing.signer(secret)], ID, at, body)


def seen(body: bytes = BODY, *, secret: str = OWN, at: int = NOW, **headers: str) -> Evidence:
    found = {
        "webhook-id": ID,
        "webhook-timestamp": str(at),
        "webhook-signature": header(secret, at=at),
        **{name.replace("_", "-"): value for name, value in headers.items()},
    }
    secrets = [Secret(OWN), Secret(OLD, ended="20 Nov 2026 23:59 UTC"), Secret(OTHER, owner="b")]
    return Evidence(found, body, NOW, secrets, is_known=True, sent=BODY)


def of_text(body: bytes = BODY) -> str:
    content = b"%b.%d.%b" % (ID.encode(), NOW, body)
    made = hmac.new(OWN.encode(), content, hashlib.sha256).digest()
    return f"v1,{base64.b64encode(made).decode()}"


CASES = {
    "header_missing": seen(webhook_signature=""),
    "signature_format": seen(webhook_signature="ab" * 32),
    "not_ours": replace(seen(), is_known=False),
    "timestamp_format": seen(webhook_timestamp=str(NOW * 1000)),
    "clock_skew": seen(at=NOW - 4_000),
    "old_secret": seen(secret=OLD),
    "other_secret": seen(secret=OTHER),
    "secret_encoding": seen(webhook_signature=of_text()),
    "body_newline": seen(BODY + b"\n"),
    "body_charset": seen(BODY.decode().encode("utf-16")),
    "body_decompressed": replace(seen(gzip.compress(BODY)), sent=None),
    "body_reencoded": seen(json.dumps(json.loads(BODY)).encode()),
    "body_differs": seen(BODY.replace(b"120", b"121")),
    "ok": seen(),
}


@pytest.mark.parametrize("code", CASES)
def test_each_fault_is_found(code: str) -> None:
    assert diagnose(CASES[code]).code == code


@pytest.mark.parametrize("code", [code for code in CASES if code != "body_differs"])
def test_most_are_found_although_the_body_is_gone(code: str) -> None:
    assert diagnose(replace(CASES[code], sent=None)).code == code


def test_no_verdict_shows_a_secret() -> None:
    for each in CASES.values():
        told = diagnose(each)
        assert not any(secret[6:] in told.text + told.cure for secret in (OWN, OLD, OTHER))


@settings(max_examples=300)
@given(st.binary(max_size=300))
def test_what_is_right_is_called_valid(body: bytes) -> None:
    one = seen(body, webhook_signature=header(OWN, body))

    assert diagnose(one).code == "ok"


@settings(max_examples=200)
@given(st.text(max_size=200), st.binary(max_size=200))
def test_whatever_is_pasted_gets_a_verdict(text: str, body: bytes) -> None:
    one = seen(body, webhook_signature=text, webhook_timestamp=text)

    assert diagnose(one).code
