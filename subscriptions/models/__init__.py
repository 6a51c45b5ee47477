"""Tables of partners, what they may see, and where they want it."""

from subscriptions.models.audit import AuditEvent
from subscriptions.models.endpoints import Endpoint, SigningSecret
from subscriptions.models.lanes import LanePosition
from subscriptions.models.operations import IdempotencyKey, UsageHour
from subscriptions.models.partners import ApiKey, Partner
from subscriptions.models.plans import Plan
from subscriptions.models.subscriptions import Subscription
from subscriptions.models.tickets import StreamTicket
from subscriptions.models.topics import Grant, Topic

__all__ = [
    "ApiKey",
    "AuditEvent",
    "Endpoint",
    "Grant",
    "IdempotencyKey",
    "LanePosition",
    "Partner",
    "Plan",
    "SigningSecret",
    "StreamTicket",
    "Subscription",
    "Topic",
    "UsageHour",
]
