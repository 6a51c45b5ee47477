"""The operators' pages of this app; Django finds them here."""

from subscriptions.admin import (
    clients,
    endpoints,
    grants,
    issuers,
    issues,
    keys,
    members,
    notices,
    operators,
    overview,
    partners,
    plans,
    records,
    streams,
    subscriptions,
    topics,
)

__all__ = [
    "clients",
    "endpoints",
    "grants",
    "issuers",
    "issues",
    "keys",
    "members",
    "notices",
    "operators",
    "overview",
    "partners",
    "plans",
    "records",
    "streams",
    "subscriptions",
    "topics",
]
