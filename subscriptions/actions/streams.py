"""What is done to open streams."""

from collections.abc import Mapping

from django.db import transaction

from subscriptions import audit, streams
from subscriptions.audit import Actor, Subject, Verb
from subscriptions.streams import OpenStream, Order

CLOSINGS: Mapping[str, str] = {"stop": "kicked", "reconnect": "moved"}
"""What is asked for, and the reason that its client is told."""


def close_stream(actor: Actor, stream: OpenStream, action: str, reason: str = "") -> None:
    """Close an open stream, wherever it is, within 2 s.

    action  one of ``CLOSINGS``
    reason  the operator's, for the audit log

    It bars nobody: to keep a client out, its key or ticket is revoked.
    """
    with transaction.atomic():
        streams.give(Order(stream=stream.id, reason=CLOSINGS[action]))
        subject = Subject("stream", stream.id, stream.partner)
        shown = {"action": (None, action), "key": (None, stream.key_id)}
        audit.append(actor, Verb.STREAM_CLOSED, subject, shown, reason)
