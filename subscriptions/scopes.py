"""What a credential may do, in words, and what two of them have in common (pure)."""

from collections.abc import Iterable, Iterator, Mapping

ANY_TOPIC = "*"

ON_TOPICS = ("topic:*:read", "topic:*:write")
"""Scopes on every topic that the grants allow."""

_VIEWER = frozenset({"topic:*:read", "webhooks:read", "deliveries:read"})
_DEVELOPER = _VIEWER | {"topic:*:write", "webhooks:write", "deliveries:write", "keys:manage"}
OF_ROLE: Mapping[str, frozenset[str]] = {
    "viewer": _VIEWER,
    "developer": _DEVELOPER,
    "owner": _DEVELOPER | {"members:manage"},
}
"""What a person may do for a partner, in the words that credentials use.

``members:manage`` is no scope of a credential: only people look after people.
"""


def common(one: frozenset[str], other: frozenset[str]) -> frozenset[str]:
    """Return what both allow; ``topic:*:read`` covers ``topic:orders:read``."""
    return frozenset((*_covered(one, other), *_covered(other, one)))


def covers(held: frozenset[str], wanted: str) -> bool:
    """Return whether what is held allows what is wanted."""
    return wanted in held or _wide(wanted) in held


def _covered(wanted: Iterable[str], held: frozenset[str]) -> Iterator[str]:
    return (scope for scope in wanted if covers(held, scope))


def _wide(scope: str) -> str:
    """Return the scope on all topics that a scope on one is part of, or the scope itself."""
    kind, _, rest = scope.partition(":")
    _, colon, action = rest.rpartition(":")
    return f"topic:{ANY_TOPIC}:{action}" if kind == "topic" and colon else scope
