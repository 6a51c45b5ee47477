"""Keys and passwords of one stack: made once, kept in a file that only its owner can read."""

import json
import os
import secrets
from base64 import b64encode
from collections.abc import Mapping
from pathlib import Path

RING_KEY_BYTES = 32


def make() -> dict[str, str]:
    """Return fresh key material: the product's variables and the password of the parts."""
    return {
        "KAFKAHUB_SECRET_KEY": secrets.token_urlsafe(64),
        "KAFKAHUB_ENCRYPTION_KEYS": f"dev1:{_key()}",
        "KAFKAHUB_KEY_PEPPERS": f"dev1:{_key()}",
        "KAFKAHUB_AUDIT_KEYS": f"dev1:{_key()}",
        "KAFKAHUB_ID_KEY": _key(),
        "part_password": secrets.token_hex(16),
    }


def keep(path: Path) -> dict[str, str]:
    """Return the material in this file, which is made when it is not there."""
    if path.exists():
        kept: dict[str, str] = json.loads(path.read_text(encoding="utf-8"))
        return kept
    fresh = make()
    write_private(path, json.dumps(fresh, indent=1))
    return fresh


def variables(material: Mapping[str, str]) -> dict[str, str]:
    """Return the part of the material that the product's settings are."""
    return {name: value for name, value in material.items() if name.startswith("KAFKAHUB_")}


def write_private(path: Path, text: str) -> None:
    """Write a file of mode 0600 in one step: a reader sees the old text or the new one."""
    partial = path.with_suffix(".partial")
    partial.unlink(missing_ok=True)
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text + "\n")
    partial.replace(path)


def _key() -> str:
    return b64encode(secrets.token_bytes(RING_KEY_BYTES)).decode()
