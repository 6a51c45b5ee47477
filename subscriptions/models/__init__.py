"""Tables of partners, what they may see, and where they want it."""

from subscriptions.models.attention import Issue, Sighting, SightingHour
from subscriptions.models.audit import AuditEvent
from subscriptions.models.clients import Issuer, OAuthClient, TokenSubject
from subscriptions.models.endpoints import Endpoint, Handshake, HandshakeRun, SigningSecret
from subscriptions.models.lanes import LanePosition
from subscriptions.models.members import Invitation, Member, Role
from subscriptions.models.notices import Episode, Notice
from subscriptions.models.operations import IdempotencyKey, UsageHour
from subscriptions.models.partners import ApiKey, Partner
from subscriptions.models.plans import Plan
from subscriptions.models.pull import (
    ProduceReceipt,
    PullAssignment,
    PullException,
    PullGap,
    PullGroup,
    PullInstance,
    PullLease,
    PullPosition,
)
from subscriptions.models.replays import Replay, ReplayLane, ReplayProgress
from subscriptions.models.subscriptions import Subscription
from subscriptions.models.support import SupportVisit
from subscriptions.models.tickets import StreamTicket
from subscriptions.models.topics import Grant, Topic

__all__ = [
    "ApiKey",
    "AuditEvent",
    "Endpoint",
    "Episode",
    "Grant",
    "Handshake",
    "HandshakeRun",
    "IdempotencyKey",
    "Invitation",
    "Issue",
    "Issuer",
    "LanePosition",
    "Member",
    "Notice",
    "OAuthClient",
    "Partner",
    "Plan",
    "ProduceReceipt",
    "PullAssignment",
    "PullException",
    "PullGap",
    "PullGroup",
    "PullInstance",
    "PullLease",
    "PullPosition",
    "Replay",
    "ReplayLane",
    "ReplayProgress",
    "Role",
    "Sighting",
    "SightingHour",
    "SigningSecret",
    "StreamTicket",
    "Subscription",
    "SupportVisit",
    "TokenSubject",
    "Topic",
    "UsageHour",
]
