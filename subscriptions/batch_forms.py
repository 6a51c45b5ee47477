"""The member ``batch`` of a subscription: how many records go into one request."""

from collections.abc import Mapping
from typing import Any

from kafkahub.drf.fields import Strict, Truth, Whole

MAX_BODY_BYTES = 10_485_760
"""The largest body that any endpoint may be sent."""


class BatchIn(Strict):
    """Limits of one request; it leaves at the first that is reached."""

    max_records = Whole(min_value=1, max_value=1_000)
    max_wait_ms = Whole(min_value=0, max_value=60_000, default=1_000)
    max_bytes = Whole(min_value=1_024, max_value=MAX_BODY_BYTES, default=262_144)
    partial = Truth(default=False)  # type: ignore[assignment]  # DRF takes fields out of the class


def as_batch(value: object) -> dict[str, Any]:
    limits: dict[str, Any] = BatchIn().run_validation(value)
    return limits


BATCH: Mapping[str, object] = {
    "description": "Many records a request. A patch replaces it as a whole.",
    "oneOf": [
        {"type": "null"},
        {
            "type": "object",
            "required": ["max_records"],
            "properties": {
                "max_records": {"type": "integer", "minimum": 1, "maximum": 1_000},
                "max_wait_ms": {
                    "type": "integer",
                    "minimum": 0,
                    "maximum": 60_000,
                    "default": 1_000,
                },
                "max_bytes": {
                    "type": "integer",
                    "minimum": 1_024,
                    "maximum": MAX_BODY_BYTES,
                    "default": 262_144,
                },
                "partial": {"type": "boolean", "default": False},
            },
            "additionalProperties": False,
        },
    ],
}
