"""Who is authenticated, and what a partner may do: frozen values without rows."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from kafkahub.limits.policies import STANDARD, Limits
from subscriptions.projection import Projection

Action = Literal["read", "write"]
ACTIONS: tuple[Action, Action] = ("read", "write")
PrincipalKind = Literal["key", "client", "subject", "member", "support", "operator", "system"]
"""``client``: of our own OAuth server; ``subject``: whom a registered issuer vouches for;
``member``: a person in the portal, who looks after live and test alike; ``support``: an operator
who looks at the portal of a partner, and may change nothing."""
PARTNERS: frozenset[PrincipalKind] = frozenset({"key", "client", "subject"})
Mode = Literal["live", "test"]


@dataclass(frozen=True, slots=True)
class Grant:
    """A partner may read or write a topic.

    version         rises with every change; what was projected under an older one is made anew
    valid_until_ms  Unix time in ms from which it is over, or None for no end
    projection      what it shows of which records; None: everything as it is
    spent_until_ms  Unix time in ms until which its quota lets nothing through, or None

    allow_unconfirmed  records may be answered before Kafka has them
    hide_offsets       answers to what was written tell no offsets
    """

    id: str
    partner: str
    topic: str
    action: Action
    version: int
    valid_until_ms: int | None = None
    projection: Projection | None = None
    spent_until_ms: int | None = None
    allow_unconfirmed: bool = False
    hide_offsets: bool = False

    @property
    def is_filtered(self) -> bool:
        """Whether it hides whole records, so that no offset and no count of them may be shown."""
        return self.projection is not None and self.projection.is_filtered

    @property
    def is_masked(self) -> bool:
        """Whether it shows values in part only."""
        return self.projection is not None and self.projection.is_masked

    @property
    def hides_offsets(self) -> bool:
        """Whether offsets of what was written are kept from the partner."""
        return self.is_filtered or self.hide_offsets

    @property
    def seals(self) -> bool:
        """Whether its cursors must not be in the open."""
        return self.hides_offsets or self.is_masked

    def is_spent(self, now_ms: int) -> bool:
        """Return whether its quota is used up at this Unix time in ms."""
        return self.spent_until_ms is not None and now_ms < self.spent_until_ms

    def is_alive(self, now_ms: int) -> bool:
        """Return whether the grant is in force at this Unix time in ms."""
        return self.valid_until_ms is None or now_ms < self.valid_until_ms


GrantKey = tuple[str, str, str]
"""Partner, topic, action."""
Grants = Mapping[GrantKey, Grant]


@dataclass(frozen=True, slots=True)
class Principal:
    """Whoever is authenticated now.

    partner        the tenant; ``""`` for an operator who named none
    id, name       of the key, client, subject, operator or process
    mode           a test principal sees sandbox topics only, a live one only the others
    topics         names it is limited to, or None for all that the grants allow
    expires_at_ms  Unix time in ms at which the credential ends
    limits         what it is held to: the standard values, or those of its plan
    token          id of the token it came by, or "" where ``id`` is the credential itself
    """

    partner: str
    kind: PrincipalKind
    id: str
    name: str
    mode: Mode
    scopes: frozenset[str]
    topics: frozenset[str] | None
    expires_at_ms: int
    limits: Limits = STANDARD
    token: str = ""

    @property
    def credential(self) -> str:
        """Return the id of what was shown, which may end before its holder does."""
        return self.token or self.id

    @property
    def is_partners(self) -> bool:
        """Return whether it acts for a partner, so that one's mode and grants bound it."""
        return self.kind in PARTNERS

    def has(self, scope: str) -> bool:
        """Return whether the principal holds exactly this scope."""
        return scope in self.scopes

    def may(self, topic: str, action: Action) -> bool:
        """Return whether a scope covers this action on the topic; says nothing of grants."""
        return self.has(f"topic:{topic}:{action}") or self.has(f"topic:*:{action}")

    def reaches(self, topic: str) -> bool:
        """Return whether its topic list lets it see this topic; says nothing of grants."""
        return self.topics is None or topic in self.topics
