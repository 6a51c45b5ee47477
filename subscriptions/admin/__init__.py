"""The operators' pages of this app; Django finds them here."""

from subscriptions.admin import (
    endpoints,
    keys,
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
    "endpoints",
    "keys",
    "operators",
    "overview",
    "partners",
    "plans",
    "records",
    "streams",
    "subscriptions",
    "topics",
]
