"""What is wrong with a delivery whose signature somebody's code refuses (pure).

The first verdict that fits is told, with its cure. Nothing is kept, and no secret is in a text.
"""

import base64
import binascii
import gzip
import hashlib
import hmac
import io
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from kafkahub import signing

HEADERS = ("webhook-id", "webhook-timestamp", "webhook-signature")
TOLERANCE_S = 300
HMAC_BYTES = 32
HEX_DIGITS = 64
SECONDS_DIGITS = 11
"""A timestamp of more digits counts milliseconds."""
MAX_UNZIPPED = 1_048_576
BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class Secret:
    """A key that could have signed.

    ended  words that say since when it does not sign any more, or ""
    owner  the name of its endpoint where that is another one, or ""
    """

    text: str
    ended: str = ""
    owner: str = ""


@dataclass(frozen=True, slots=True)
class Evidence:
    """What was received, and what we know of it.

    headers   by lower-case name
    now_s     our clock, Unix time
    is_known  whether the id is one of the partner's own
    sent      the body that we sent, or None where it is gone
    """

    headers: Mapping[str, str]
    body: bytes
    now_s: int
    secrets: Sequence[Secret]
    is_known: bool
    sent: bytes | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """One finding; ``cure`` is what to change."""

    code: str
    text: str
    cure: str = ""


def diagnose(seen: Evidence) -> Verdict:
    """Return the first verdict that fits."""
    checks: Sequence[Callable[[Evidence], Verdict | None]] = (
        _missing,
        _signature_form,
        _stranger,
        _timestamp_form,
        _signed,
        _repaired,
        _compared,
    )
    return next(found for check in checks if (found := check(seen)) is not None)


def _missing(seen: Evidence) -> Verdict | None:
    names = [name for name in HEADERS if not seen.headers.get(name, "").strip()]
    if not names:
        return None
    text = f"The header {', '.join(names)} is not there."
    return Verdict("header_missing", text, "Let your proxy hand on headers that begin webhook-.")


def _signature_form(seen: Evidence) -> Verdict | None:
    parts = seen.headers["webhook-signature"].split(" ")
    if any(_is_signature(part) for part in parts):
        return None
    text = "No part of webhook-signature has the form v1,<base64>."
    first = parts[0].strip("\"'").removeprefix("v1,")
    if len(first) == HEX_DIGITS and all(digit in "0123456789abcdefABCDEF" for digit in first):
        text = "The signature is in hex; ours is base64."
    elif parts[0][:1] in {'"', "'"}:
        text = "The signature stands in quotes."
    return Verdict("signature_format", text, "Take the header as it came, cut at spaces.")


def _is_signature(part: str) -> bool:
    version, _, encoded = part.partition(",")
    if version not in {"v1", "v1a"}:
        return False
    try:
        return len(base64.b64decode(encoded, validate=True)) >= HMAC_BYTES
    except (binascii.Error, ValueError):
        return False


def _stranger(seen: Evidence) -> Verdict | None:
    if seen.is_known:
        return None
    text = "No delivery of yours has this webhook-id."
    return Verdict("not_ours", text, "If it is not a test of your own, somebody else sent it.")


def _timestamp_form(seen: Evidence) -> Verdict | None:
    stamp = seen.headers["webhook-timestamp"].strip()
    if stamp.isascii() and stamp.isdigit() and len(stamp) <= SECONDS_DIGITS:
        return None
    is_ms = stamp.isascii() and stamp.isdigit()
    what = "counts milliseconds" if is_ms else "is no number"
    cure = "Use the header's own text: whole seconds since 1970."
    return Verdict("timestamp_format", f"The timestamp {what}.", cure)


def _signed(seen: Evidence) -> Verdict | None:
    """Judge by the body as it is."""
    for secret in seen.secrets:
        if not _matches(seen, secret.text, seen.body):
            continue
        if secret.owner:
            text = f"It is signed with the secret of another endpoint of yours: {secret.owner}."
            return Verdict("other_secret", text, "Use the secret of the endpoint it was sent to.")
        if secret.ended:
            text = f"It is signed with a secret that ended {secret.ended}."
            return Verdict("old_secret", text, "Use the secret that was shown at the rotation.")
        return _in_time(seen)
    raw = next((one for one in seen.secrets if _made_of_text(seen, one.text)), None)
    if raw is None:
        return None
    text = "It is signed with the text of the secret instead of its bytes."
    return Verdict("secret_encoding", text, "Cut whsec_ off and decode the rest from base64.")


def _in_time(seen: Evidence) -> Verdict:
    skew_s = seen.now_s - int(seen.headers["webhook-timestamp"])
    if abs(skew_s) > TOLERANCE_S:
        side = "behind" if skew_s > 0 else "ahead of"
        text = f"The signature is right. Its time is {abs(skew_s)} s {side} our clock"
        cure = "If it was received just now, set the clock of your machine; else all is well."
        return Verdict("clock_skew", f"{text}; receivers refuse over {TOLERANCE_S} s.", cure)
    digest = hashlib.sha256(_signed_text(seen, seen.body)).hexdigest()
    text = f"Valid. The signed text id.timestamp.body has the SHA-256 {digest}."
    return Verdict("ok", text, "If your code says otherwise, compare that with what it signs.")


def _repaired(seen: Evidence) -> Verdict | None:
    """Judge by bodies that a proxy or a framework may have made of ours."""
    for code, text, cure, body in _repairs(seen.body):
        if body == seen.sent or any(_matches(seen, one.text, body) for one in seen.secrets):
            return Verdict(code, text, cure)
    return None


def _repairs(body: bytes) -> Iterator[tuple[str, str, str, bytes]]:
    raw = "Verify the raw bytes, before anything reads them as text."
    for end in (b"\n", b"\r\n"):
        yield "body_newline", "A line end was lost at the end of the body.", raw, body + end
        if body.endswith(end):
            cut = body.removesuffix(end)
            yield "body_newline", "A line end was added to the body.", raw, cut
    yield "body_charset", "A byte order mark was lost.", raw, BOM + body
    yield "body_charset", "A byte order mark was added.", raw, body.removeprefix(BOM)
    for name in ("utf-16", "latin-1"):
        for text in _decoded(body, name):
            yield "body_charset", f"The body was turned into {name}.", raw, text.encode()
        for text in _decoded(body, "utf-8"):
            yield "body_charset", f"The body was read as {name}.", raw, text.encode(name, "replace")
    if body[:2] == b"\x1f\x8b":
        yield "body_decompressed", "The body was compressed on its way.", raw, _unzipped(body)
    yield (
        "body_decompressed",
        "The body was unpacked on its way.",
        raw,
        gzip.compress(body, mtime=0),
    )
    for rewritten in _rewritten(body):
        cure = "Do not verify JSON that was parsed and written anew; take the raw bytes."
        yield "body_reencoded", "It is the same JSON, written in other bytes.", cure, rewritten


def _decoded(body: bytes, name: str) -> Iterator[str]:
    try:
        yield body.decode(name)
    except UnicodeDecodeError:
        return


def _unzipped(body: bytes) -> bytes:
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(body)) as file:
            return file.read(MAX_UNZIPPED)
    except (OSError, EOFError):
        return body


def _rewritten(body: bytes) -> Iterator[bytes]:
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        return
    for separators in ((",", ":"), (", ", ": ")):
        for is_ascii in (False, True):
            yield json.dumps(value, separators=separators, ensure_ascii=is_ascii).encode()


def _compared(seen: Evidence) -> Verdict:
    """Judge by the body that we sent, or say that it is gone."""
    if seen.sent is None:
        text = "The body we sent is gone from Kafka, and no usual change of it explains this."
        return Verdict("body_differs", text, "Send a test record, and paste what arrives.")
    at = _first_difference(seen.body, seen.sent)
    got, wanted = seen.body[at : at + 1].hex(), seen.sent[at : at + 1].hex()
    place = f"byte {at} is 0x{got or '--'}, we sent 0x{wanted or '--'}"
    if _same_json(seen.body, seen.sent):
        cure = "Do not verify JSON that was parsed and written anew; take the raw bytes."
        return Verdict("body_reencoded", f"The same JSON in other bytes: {place}.", cure)
    if seen.body == seen.sent:
        cure = "Rotate the secret if nobody knows which one signed it."
        return Verdict("other_secret", "The body is ours, the signature is not.", cure)
    return Verdict("body_differs", f"It is not the body we sent: {place}.", "Look what changed it.")


def _first_difference(one: bytes, other: bytes) -> int:
    pairs = enumerate(zip(one, other, strict=False))
    return next((at for at, (a, b) in pairs if a != b), min(len(one), len(other)))


def _same_json(one: bytes, other: bytes) -> bool:
    try:
        return bool(json.loads(one) == json.loads(other))
    except (ValueError, RecursionError):
        return False


def _signed_text(seen: Evidence, body: bytes) -> bytes:
    front = f"{seen.headers['webhook-id']}.{seen.headers['webhook-timestamp']}."
    return front.encode("utf-8", "replace") + body


def _matches(seen: Evidence, secret: str, body: bytes) -> bool:
    """Return whether the header is of this secret over this body."""
    try:
        return signing.verify(
            secret,
            seen.headers["webhook-id"],
            int(seen.headers["webhook-timestamp"]),
            body,
            header=seen.headers["webhook-signature"],
        )
    except (ValueError, TypeError):
        return False


def _made_of_text(seen: Evidence, secret: str) -> bool:
    """Return whether the header was made with the secret's text as its key."""
    parts = seen.headers["webhook-signature"].split(" ")
    for key in (secret, secret.removeprefix("whsec_")):
        made = hmac.new(key.encode(), _signed_text(seen, seen.body), hashlib.sha256).digest()
        expected = f"v1,{base64.b64encode(made).decode()}".encode()
        if any(hmac.compare_digest(expected, part.encode()) for part in parts):
            return True
    return False
