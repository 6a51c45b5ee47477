"""The cookie form of a stream ticket: written for one topic set, read again (pure).

Written by hand: the standard library of Python 3.11 knows no ``Partitioned``.
"""

from collections.abc import Sequence

NAME = "kh_stream"
"""Without TLS, for development: browsers take ``__Secure-`` names over TLS only."""
SECURE_NAME = f"__Secure-{NAME}"


def written(text: str, topics: Sequence[str], *, left_s: int, is_secure: bool, is_far: bool) -> str:
    """Return the ``Set-Cookie`` value that goes with requests for this topic set and no other.

    topics     in the order of the stream's address, which is the cookie's path
    left_s     seconds until the ticket ends
    is_secure  the installation has TLS
    is_far     for a page of another site: sent from there, and kept apart for that site
    """
    name = SECURE_NAME if is_secure else NAME
    parts = [f"{name}={text}", f"Path=/streams/{','.join(topics)}", f"Max-Age={max(0, left_s)}"]
    parts += ["Secure"] if is_secure else []
    parts.append("HttpOnly")
    parts += ["SameSite=None", "Partitioned"] if is_far and is_secure else ["SameSite=Lax"]
    return "; ".join(parts)


def read(header: str | None, *, is_secure: bool) -> str | None:
    """Return the ticket in a ``Cookie`` header, or None.

    Of several the first counts: browsers send the one with the longest path first.
    """
    name = SECURE_NAME if is_secure else NAME
    for part in (header or "").split(";"):
        key, equals, value = part.strip().partition("=")
        if equals and key == name:
            return value.strip('"')
    return None
