"""Cursors that show nothing: for grants that hide records, offsets would count what is hidden.

    0x02 | key id (1) | month (2) | nonce (12) | AES-256-GCM(body, zero-padded to 64·k) | tag (16)

One key a partner and month, so that random nonces stay far from their limit.
"""

from datetime import datetime

from kafkahub import crypto
from kafkahub.crypto import KeyRing, SealBroken
from subscriptions.cursor import SEALED, TOKEN_MAX, Cursor, body, raw, read_body, refused, written

HEAD_BYTES = 4
MONTHS = 12
PAD_BYTES = 64
PURPOSE = "kafkahub cursor"


class Sealer:
    """Seals and opens the cursors of one partner.

    ring   every key opens, the writing one seals
    month  months since January 1970, of now
    """

    def __init__(self, ring: KeyRing, partner: str, month: int) -> None:
        self._ring = ring
        self._partner = partner
        self._month = month

    def seal(self, cursor: Cursor) -> str | None:
        """Return the sealed token; None when it would be longer than ``TOKEN_MAX``."""
        plain = body(cursor)
        padded = plain + bytes(-len(plain) % PAD_BYTES)
        head = SEALED + key_id(self._ring.writer) + self._month.to_bytes(2, "big")
        key = self._key(self._ring.writer, self._month)
        token = written(head + crypto.encrypt(key, padded, head))
        return token if len(token) <= TOKEN_MAX else None

    def open(self, token: str) -> Cursor:
        """Return the position in a sealed token.

        Raises Invalid alike for another partner's, a changed one, and one whose key has gone.
        """
        content = raw(token)
        head, sealed = content[:HEAD_BYTES], content[HEAD_BYTES:]
        month = int.from_bytes(head[2:], "big")
        for kid in self._ring.keys:
            if key_id(kid) == head[1:2]:
                try:
                    return read_body(crypto.decrypt(self._key(kid, month), sealed, head))
                except SealBroken:
                    continue
        raise refused()

    def _key(self, kid: str, month: int) -> bytes:
        return crypto.digest(self._ring.keys[kid], f"{PURPOSE}|{self._partner}|{month}".encode())


def sealer(ring: KeyRing, partner: str, now: datetime) -> Sealer:
    """Return what seals and opens the cursors of a partner now."""
    return Sealer(ring, partner, month_of(now))


def month_of(now: datetime) -> int:
    """Return the months since January 1970, by which cursors are sealed."""
    return (now.year - 1970) * MONTHS + now.month - 1


def key_id(kid: str) -> bytes:
    """Return the byte that names a key; keys that share one are tried in turn."""
    return crypto.digest(PURPOSE.encode(), kid.encode())[:1]
