"""The values of a snapshot: what engines and doors know of partners, without a table in sight."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from kafkahub.certificates import ClientTls
from kafkahub.signing import Signer
from subscriptions.credentials import OAuth2
from subscriptions.filters.closures import Test
from subscriptions.grants import Grant, Grants
from subscriptions.signatures import Signatures


@dataclass(frozen=True, slots=True)
class SigningKey:
    """One secret of an endpoint, ready to sign.

    expires_at_ms  Unix time in ms from which it must sign no more; None for the active one
    """

    id: str
    kind: str
    signer: Signer = field(repr=False)
    expires_at_ms: int | None


@dataclass(frozen=True, slots=True, eq=False)
class LiveEndpoint:
    """A partner's URL as it is dialled; the same object until something of it changes.

    headers        custom ones, and the one that logs us in where it never changes
    keys           newest first
    is_unreadable  a secret or header does not open, or nothing signs: nothing may be sent, the
                   outcome is ``secret_unreadable``, and the partner is not to blame
    source         the rows it was made from, to see whether they changed
    signatures     what is signed beside the standard headers; None: nothing
    oauth2         how the access token is had that each request carries; None: it carries none
    tls            client certificate and authorities of its own; None: neither
    rate_per_s     requests a second at most, over all engines: what its partner set, or what it
                   consented to; None for no limit
    """

    id: str
    partner: str
    url: str
    status: str
    timeout_ms: int
    connect_timeout_ms: int
    max_in_flight: int
    max_body_bytes: int
    headers: tuple[tuple[str, str], ...] = field(repr=False)
    keys: tuple[SigningKey, ...] = field(repr=False)
    is_unreadable: bool
    version: int
    source: object = field(repr=False)
    signatures: Signatures | None = None
    tls: ClientTls | None = field(default=None, repr=False)
    oauth2: OAuth2 | None = None
    rate_per_s: float | None = None


NOTICES = ""
"""Stands for a topic where a delivery is of a notice: no topic of Kafka has this name."""


@dataclass(frozen=True, slots=True)
class LiveTopic:
    """An exposed topic: what its values are, and where its event type comes from."""

    name: str
    format: str
    content_type: str
    type_source: str
    type_value: str
    is_sandbox: bool
    is_sensitive: bool
    is_enabled: bool


NOTICES_TOPIC = LiveTopic(
    name=NOTICES,
    format="json",
    content_type="application/json",
    type_source="constant",
    type_value="",
    is_sandbox=False,
    is_sensitive=False,
    is_enabled=True,
)


@dataclass(frozen=True, slots=True)
class BatchLimits:
    """A batch is sent when the first of these is reached.

    partial  whether the endpoint may name those of a batch that it did not take
    """

    max_records: int
    max_wait_ms: int
    max_bytes: int
    partial: bool


@dataclass(frozen=True, slots=True, eq=False)
class LiveSubscription:
    """A subscription as engines run it; the same object until something of it changes.

    types       event types it wants; empty for all
    test        its filter, or None where everything passes
    schedule_s  seconds between the end of one attempt and the next
    jitter      share by which each of them varies, either way
    holds       whether what is exhausted keeps its key or lane waiting for a person
    batch       limits of a batch; None: one record a request
    grants      living read grants by topic
    sending     whether anything may be sent: it is active, its partner and endpoint are, all its
                topics are open and granted, its filter can be read. If not, its lanes hold
    source      the row it was made from, to see whether it changed
    seeks       how often its lanes were moved by hand: their rows are read anew when it rises
    rate_per_s  requests a second at most, over all engines; None for no limit

    ``is_unreadable`` says that its filter breaks today's rules: it must not pass everything.
    """

    id: str
    partner: str
    name: str
    endpoint: LiveEndpoint
    status: str
    topics: tuple[str, ...]
    types: frozenset[str]
    test: Test | None = field(repr=False)
    format: str
    include: tuple[str, ...]
    ordering: str
    schedule_s: tuple[int, ...]
    jitter: float
    holds: bool
    batch: BatchLimits | None
    trace: bool
    grants: Mapping[str, Grant]
    sending: bool
    is_unreadable: bool
    version: int
    source: object = field(repr=False)
    seeks: int = 0
    rate_per_s: float | None = None


@dataclass(frozen=True, slots=True, eq=False)
class LiveReplay:
    """Records that are sent again.

    live          the subscription as the replay sends: to its endpoint, through both filters
    rate_per_s    requests a second at most, over all engines; None for the subscription's own
    only_missing  whether what has a delivered attempt is passed over
    is_over       it has ended; it is known for the sake of what it left parked
    """

    id: str
    live: LiveSubscription
    rate_per_s: float | None
    only_missing: bool
    is_over: bool


@dataclass(frozen=True, slots=True, eq=False)
class Snapshot:
    """Everything that was true at one version of the tables.

    version      ``access_version`` of the rows it was made from
    by_topic     all subscriptions of a topic, sending or not
    endpoints    all, with a subscription or without
    grants       living grants of all partners, by partner, topic and action
    replays      those that run, are paused, or have left something parked for another endpoint
    stale_at_ms  Unix time in ms at which a grant or key ends, so that another must be made without
                 any row changing; None when nothing ends by time
    """

    version: int
    subscriptions: Mapping[str, LiveSubscription]
    by_topic: Mapping[str, tuple[LiveSubscription, ...]]
    topics: Mapping[str, LiveTopic]
    endpoints: Mapping[str, LiveEndpoint]
    grants: Grants
    stale_at_ms: int | None
    origins: Mapping[str, frozenset[str]] = field(default_factory=dict)
    replays: Mapping[str, LiveReplay] = field(default_factory=dict)


NOTHING = Snapshot(
    version=0,
    subscriptions={},
    by_topic={},
    topics={},
    endpoints={},
    grants={},
    stale_at_ms=None,
)
"""The snapshot of a process that has not read the tables yet."""
