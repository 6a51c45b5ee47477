"""Signatures beside the standard ones, each by a verifier of its own."""

import base64
import hashlib
import hmac
import re
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from delivery import request
from delivery.lanes import Delivery
from kafkahub import signing
from kafkahub.kafka.envelope import Body
from kafkahub.signing import Ed25519Signer, HmacSigner
from subscriptions.live import SigningKey
from subscriptions.signatures import Legacy, Signatures
from tests.delivery import makers

NOW_S = 1_795_407_540
BODY = (
    b'{"type":"order.created","timestamp":"2026-11-23T04:19:00.123Z","data":{"id":7,"amount":1000}}'
)
URL = "https://hooks.example.com/in?a=1"
OLD_KEY = bytes(range(0x80, 0xA0))
ED_SEED, OLD_SEED = bytes(range(0x20, 0x40)), bytes(range(0x60, 0x80))
HMAC = SigningKey("sec_hmac", "hmac", HmacSigner(makers.KEY), None)
OLD_HMAC = SigningKey("sec_old", "hmac", HmacSigner(OLD_KEY), (NOW_S + 9) * 1000)
ED = SigningKey("sec_01jd0000000000000000000001", "ed25519", Ed25519Signer(ED_SEED), None)
OLD_ED = SigningKey("sec_ed_old", "ed25519", Ed25519Signer(OLD_SEED), (NOW_S + 9) * 1000)


def headers(how: Signatures | None, *keys: SigningKey) -> dict[str, str]:
    to = replace(makers.endpoint(url=URL, keys=keys), signatures=how)
    delivery = Delivery(makers.form(makers.subscription(to=to)), makers.record(42), 42)
    delivery.webhook_id = "msg_5VSfZ5qhZj7575Js21URzT"
    # Last among the headers, as it may be of a body that was parked.
    made = Body(BODY, (("x-of-format", "kept"), ("content-type", "application/json")))
    sent = request.build(delivery, made, unix_s=NOW_S, random_bits=1)
    return dict(line.split(": ", 1) for line in sent.headers if ": " in line)


def added(how: Signatures, *keys: SigningKey) -> dict[str, str]:
    """Return the headers that are there only because of ``how``."""
    plain = headers(None, *keys)
    return {name: value for name, value in headers(how, *keys).items() if name not in plain}


def test_the_standard_headers_are_always_there() -> None:
    chosen = Signatures(rfc9421=True, legacy=Legacy("timestamped"), header_prefix="acme")

    assert headers(None, HMAC, ED).items() <= headers(chosen, HMAC, ED).items()


def test_the_fixed_vector_of_the_timestamped_style_holds() -> None:
    assert added(Signatures(legacy=Legacy("timestamped")), HMAC) == {
        "x-signature": "t=1795407540,"
        "v1=b2bc85ba008fe9a264df0c6f28e48b13e47f535fba3b85bff17c0c9c13064edd"
    }


def test_while_a_rotation_lasts_the_timestamped_style_carries_both() -> None:
    found = added(Signatures(legacy=Legacy("timestamped", "x-sig")), HMAC, OLD_HMAC, ED)

    content = str(NOW_S).encode() + b"." + BODY
    macs = [hmac.new(key, content, "sha256").hexdigest() for key in (makers.KEY, OLD_KEY)]
    assert found == {"x-sig": f"t={NOW_S},v1={macs[0]},v1={macs[1]}"}


@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
@pytest.mark.parametrize("encoding", ["hex", "base64"])
def test_the_body_style_signs_the_body_alone_with_the_newest_secret(
    algorithm: str, encoding: str
) -> None:
    legacy = Legacy("body", "x-hub-signature", algorithm, encoding, f"{algorithm}=")  # type: ignore[arg-type]  # parametrize gives plain str

    found = added(Signatures(legacy=legacy), HMAC, OLD_HMAC)

    mac = hmac.new(makers.KEY, BODY, algorithm).digest()
    shown = mac.hex() if encoding == "hex" else base64.b64encode(mac).decode()
    assert found == {"x-hub-signature": f"{algorithm}={shown}"}


def test_a_prefix_copies_the_standard_headers() -> None:
    sent = headers(Signatures(header_prefix="acme"), HMAC, ED)

    for name in ("id", "timestamp", "signature"):
        assert sent[f"acme-{name}"] == sent[f"webhook-{name}"]


def test_the_fixed_vector_of_rfc_9421_holds() -> None:
    assert added(Signatures(rfc9421=True), HMAC, ED) == {
        "content-digest": "sha-256=:LgmJk3BwoWaDdHxEP5QEkC+PzRnrhm4V9VgS3DTostc=:",
        "signature-input": 'kafkahub=("@method" "@target-uri" "content-digest" "content-type" '
        '"webhook-id" "webhook-timestamp");created=1795407540;'
        'keyid="sec_01jd0000000000000000000001";alg="ed25519";tag="webhook"',
        "signature": "kafkahub=:73XmEwbW1qCudvp3doatmQNzTJGma3VPwJHYJv1KNO1TZLZJlMwq6EgiF6HbIEEOAA8"
        "LSWwzU6Q2sQ3VukXPCw==:",
    }


def verify_rfc9421(sent: dict[str, str], label: str, public: Ed25519PublicKey) -> str:
    """Check one signature as a receiver does, from the headers alone; return its key id."""
    inputs = dict(part.split("=", 1) for part in re.split(r", (?=\w+=)", sent["signature-input"]))
    signatures = dict(part.split("=", 1) for part in sent["signature"].split(", "))
    digest = base64.b64encode(hashlib.sha256(BODY).digest()).decode()
    assert sent["content-digest"] == f"sha-256=:{digest}:"
    derived = {"@method": "POST", "@target-uri": URL}
    names = re.findall(r'"([^"]+)"', inputs[label].split(")")[0])
    base = [f'"{name}": {derived.get(name) or sent[name]}' for name in names]
    base.append(f'"@signature-params": {inputs[label]}')
    public.verify(base64.b64decode(signatures[label].strip(":")), "\n".join(base).encode())
    key_ids: list[str] = re.findall('keyid="([^"]+)"', inputs[label])
    return key_ids[0]


def test_while_a_rotation_lasts_both_rfc_9421_signatures_verify() -> None:
    sent = headers(Signatures(rfc9421=True), ED, HMAC, OLD_ED)

    news = Ed25519PublicKey.from_public_bytes(public_bytes(ED_SEED))
    olds = Ed25519PublicKey.from_public_bytes(public_bytes(OLD_SEED))
    assert verify_rfc9421(sent, "kafkahub", news) == ED.id
    assert verify_rfc9421(sent, "kafkahub2", olds) == OLD_ED.id


def public_bytes(seed: bytes) -> bytes:
    private = base64.b64encode(seed).decode()
    shown = signing.public_key(f"whsk_{private}")
    return base64.b64decode(shown.removeprefix("whpk_"))
