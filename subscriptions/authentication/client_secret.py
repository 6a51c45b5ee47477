"""Secrets of OAuth clients: generated, long, and so cheap to check that a token costs little."""

import hashlib
import hmac
from typing import Any

from django.contrib.auth.hashers import BasePasswordHasher

LENGTH = 128
"""Characters of a secret; with so much chance in it, stretching adds nothing but load."""


class SaltedSha256(BasePasswordHasher):
    """One round of SHA-256 over salt and secret. For generated secrets only, never passwords."""

    algorithm = "client_sha256"

    def encode(self, password: str, salt: str) -> str:
        digest = hashlib.sha256(f"{salt}{password}".encode()).hexdigest()
        return f"{self.algorithm}${salt}${digest}"

    def decode(self, encoded: str) -> dict[str, str]:
        algorithm, salt, digest = encoded.split("$", 2)
        return {"algorithm": algorithm, "salt": salt, "hash": digest}

    def verify(self, password: str, encoded: str) -> bool:
        again = self.encode(password, self.decode(encoded)["salt"])
        return hmac.compare_digest(again, encoded)

    def safe_summary(self, encoded: str) -> dict[Any, Any]:
        return {"algorithm": self.algorithm, "salt": self.decode(encoded)["salt"][:2] + "…"}

    def must_update(self, encoded: str) -> bool:  # noqa: ARG002 - Django's signature
        return False

    def harden_runtime(self, password: str, encoded: str) -> None:
        """Do nothing: there are no rounds to make equal."""
