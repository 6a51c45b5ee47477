"""What partners are told about beside their records: the kinds of notices and their form (pure)."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum


class Kind(StrEnum):
    """Every kind of notice; the value is the ``type`` of its envelope."""

    ENDPOINT_FAILING = "kafkahub.endpoint.failing"
    ENDPOINT_WARNING = "kafkahub.endpoint.warning"
    ENDPOINT_RECOVERED = "kafkahub.endpoint.recovered"
    ENDPOINT_DISABLED = "kafkahub.endpoint.disabled"
    ENDPOINT_ENABLED = "kafkahub.endpoint.enabled"
    ENDPOINT_VERIFIED = "kafkahub.endpoint.verified"
    ENDPOINT_VERIFICATION_FAILED = "kafkahub.endpoint.verification_failed"
    DEAD_LETTER = "kafkahub.delivery.dead_letter"
    DEAD_LETTERS_EXPIRING = "kafkahub.dead_letters.expiring"
    SUBSCRIPTION_BEHIND = "kafkahub.subscription.behind"
    SUBSCRIPTION_CAUGHT_UP = "kafkahub.subscription.caught_up"
    SUBSCRIPTION_HEADROOM_LOW = "kafkahub.subscription.headroom_low"
    SUBSCRIPTION_SUSPENDED = "kafkahub.subscription.suspended"
    SUBSCRIPTION_RESUMED = "kafkahub.subscription.resumed"
    GAP = "kafkahub.gap"
    SECRET_ROTATED = "kafkahub.secret.rotated"  # noqa: S105 - the name of a kind
    SECRET_EXPIRING = "kafkahub.secret.expiring"  # noqa: S105 - the name of a kind
    CERTIFICATE_EXPIRING = "kafkahub.certificate.expiring"
    KEY_EXPIRING = "kafkahub.key.expiring"
    QUOTA = "kafkahub.quota.used"
    REPLAY_DONE = "kafkahub.replay.done"
    REPLAY_FAILED = "kafkahub.replay.failed"


TEXT: Mapping[str, object] = {"type": "string"}
MAYBE_TEXT: Mapping[str, object] = {"type": ["string", "null"]}
TIME: Mapping[str, object] = {"type": "string", "format": "date-time"}
MAYBE_TIME: Mapping[str, object] = {"type": ["string", "null"], "format": "date-time"}
WHOLE: Mapping[str, object] = {"type": "integer"}
MAYBE_WHOLE: Mapping[str, object] = {"type": ["integer", "null"]}
NUMBERS: Mapping[str, object] = {"type": "object", "additionalProperties": {"type": "integer"}}
NAMES: Mapping[str, object] = {"type": "array", "items": {"type": "string"}, "maxItems": 100}

Members = Mapping[str, Mapping[str, object]]
COMMON: Members = {"notice": TEXT, "partner": TEXT, "text": TEXT, "link": TEXT}
"""Members of every notice's ``data``, before its own."""

_FAILURE: Members = {
    "endpoint": TEXT,
    "url_host": TEXT,
    "outcome": MAYBE_TEXT,
    "http_status": MAYBE_WHOLE,
    "since": TIME,
    "disable_at": MAYBE_TIME,
    "owed": MAYBE_WHOLE,
    "parked": WHOLE,
}
_SWITCH: Members = {"endpoint": TEXT, "reason": TEXT, "by": TEXT}
_DEAD: Members = {
    "subscription": TEXT,
    "count": WHOLE,
    "reasons": NUMBERS,
    "oldest_at": TIME,
    "ids": NAMES,
}
_LAG: Members = {
    "subscription": TEXT,
    "reason": TEXT,
    "lag_records": MAYBE_WHOLE,
    "lag_s": MAYBE_WHOLE,
    "headroom_s": MAYBE_WHOLE,
    "loses_at": MAYBE_TIME,
}
_STANDING: Members = {"subscription": TEXT, "reason": TEXT}
_END: Members = {"object": TEXT, "expires_at": TIME}
_REPLAY: Members = {"replay": TEXT, "subscription": TEXT, "counts": NUMBERS}
_QUOTA: Members = {
    "topic": TEXT,
    "action": TEXT,
    "used_percent": WHOLE,
    "is_hard": {"type": "boolean"},
    "resets_at": TIME,
}
_GAP: Members = {
    "subscription": TEXT,
    "topic": TEXT,
    "reason": TEXT,
    "from_cursor": MAYBE_TEXT,
    "resumed_at": MAYBE_TEXT,
}
_GAP_NUMBERS: Members = {"partition": WHOLE, "from": WHOLE, "to": MAYBE_WHOLE, "lost": MAYBE_WHOLE}


@dataclass(frozen=True, slots=True)
class Form:
    """How one kind of notice looks.

    text      template of the sentence for people, filled from the members
    members   each with its JSON Schema; all of them are in every notice
    optional  members that may be missing: numbers that a filtered grant hides
    subject   the member whose object the link leads to, with its path below the API
    """

    description: str
    text: str
    members: Members
    subject: tuple[str, str]
    optional: Members = field(default_factory=dict)


_EP = ("endpoint", "endpoints")
_SUB = ("subscription", "subscriptions")
FORMS: Mapping[Kind, Form] = {
    Kind.ENDPOINT_FAILING: Form(
        "Nothing got through to the endpoint for 15 minutes, and something is owed.",
        "Nothing has got through to {url_host} since {since}.",
        _FAILURE,
        _EP,
    ),
    Kind.ENDPOINT_WARNING: Form(
        "The endpoint is failing and will be disabled; at 50, 70 and 90 % and 24 h before.",
        "Nothing has got through to {url_host} since {since}; it is disabled at {disable_at}.",
        _FAILURE,
        _EP,
    ),
    Kind.ENDPOINT_RECOVERED: Form(
        "The endpoint takes deliveries again; once for each time it was failing.",
        "{url_host} takes deliveries again; nothing got through since {since}.",
        _FAILURE,
        _EP,
    ),
    Kind.ENDPOINT_DISABLED: Form(
        "Nothing more is sent to the endpoint; what it is owed waits.",
        "The endpoint {endpoint} is disabled ({reason}).",
        _SWITCH,
        _EP,
    ),
    Kind.ENDPOINT_ENABLED: Form(
        "The endpoint is sent to again.",
        "The endpoint {endpoint} is enabled again ({reason}).",
        _SWITCH,
        _EP,
    ),
    Kind.ENDPOINT_VERIFIED: Form(
        "The endpoint has shown that it wants what it is sent.",
        "The endpoint {endpoint} is verified ({reason}).",
        _SWITCH,
        _EP,
    ),
    Kind.ENDPOINT_VERIFICATION_FAILED: Form(
        "The endpoint did not show that it wants what it is sent; nothing is sent to it.",
        "The endpoint {endpoint} could not be verified: {reason}",
        _SWITCH,
        _EP,
    ),
    Kind.DEAD_LETTER: Form(
        "Deliveries will not be tried again by themselves; joined per minute.",
        "{count} deliveries of {subscription} are dead letters now.",
        _DEAD,
        _SUB,
    ),
    Kind.DEAD_LETTERS_EXPIRING: Form(
        "Dead letters are purged in three days.",
        "{count} dead letters of {subscription} are purged at {purge_at}.",
        {**_DEAD, "purge_at": TIME},
        _SUB,
    ),
    Kind.SUBSCRIPTION_BEHIND: Form(
        "The oldest record that is owed is older than 10 minutes.",
        "{subscription} is behind ({reason}).",
        _LAG,
        _SUB,
    ),
    Kind.SUBSCRIPTION_CAUGHT_UP: Form(
        "The subscription owes nothing old any more.",
        "{subscription} has caught up.",
        _LAG,
        _SUB,
    ),
    Kind.SUBSCRIPTION_HEADROOM_LOW: Form(
        "In less than 24 hours Kafka deletes records that are still owed.",
        "{subscription} loses records at {loses_at} unless it catches up.",
        _LAG,
        _SUB,
    ),
    Kind.SUBSCRIPTION_SUSPENDED: Form(
        "Nothing is sent for the subscription until the cause ends; what is owed waits.",
        "{subscription} is suspended ({reason}).",
        _STANDING,
        _SUB,
    ),
    Kind.SUBSCRIPTION_RESUMED: Form(
        "The cause that suspended the subscription has ended.",
        "{subscription} goes on; it was suspended ({reason}).",
        _STANDING,
        _SUB,
    ),
    Kind.GAP: Form(
        "Records that were owed will never come; the range is exact.",
        "Records of {topic} are lost to {subscription} ({reason}).",
        _GAP,
        _SUB,
        _GAP_NUMBERS,
    ),
    Kind.SECRET_ROTATED: Form(
        "A signing secret has a successor; the old one signs until it expires.",
        "The secret {object} was rotated; it signs until {expires_at}.",
        _END,
        ("object", ""),
    ),
    Kind.SECRET_EXPIRING: Form(
        "A secret ends in 30, 7 or 1 days.",
        "The secret {object} ends at {expires_at}.",
        _END,
        ("object", ""),
    ),
    Kind.CERTIFICATE_EXPIRING: Form(
        "A certificate of the endpoint ends in 30, 7 or 1 days.",
        "A certificate of {object} ends at {expires_at}.",
        _END,
        ("object", "endpoints"),
    ),
    Kind.KEY_EXPIRING: Form(
        "An API key ends in 14, 3 or 1 days.",
        "The API key {object} ends at {expires_at}.",
        _END,
        ("object", "api-keys"),
    ),
    Kind.QUOTA: Form(
        "80 or 100 % of a grant's quota is used; a hard one lets nothing more through until then.",
        "{used_percent} % of what may be used of {topic} ({action}) is used until {resets_at}.",
        _QUOTA,
        ("topic", "topics"),
    ),
    Kind.REPLAY_DONE: Form(
        "A replay has come to its end.", "The replay {replay} is done.", _REPLAY, _SUB
    ),
    Kind.REPLAY_FAILED: Form(
        "A replay cannot go on.", "The replay {replay} has failed.", _REPLAY, _SUB
    ),
}


def schema(kind: Kind) -> dict[str, object]:
    """Return the JSON Schema of a notice's ``data``."""
    form = FORMS[kind]
    return {
        "type": "object",
        "required": [*COMMON, *form.members],
        "properties": {**COMMON, **form.members, **form.optional},
        "additionalProperties": False,
    }


def check(kind: Kind, given: Mapping[str, object]) -> None:
    """Raise ValueError where members are missing or nobody knows them."""
    form = FORMS[kind]
    missing = form.members.keys() - given.keys()
    unknown = given.keys() - form.members.keys() - form.optional.keys()
    if missing or unknown:
        raise ValueError(f"{kind}: missing {sorted(missing)}, unknown {sorted(unknown)}")


def plain(value: object) -> object:
    """Return a member as JSON has it: times in RFC 3339."""
    if isinstance(value, datetime):
        return value.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return value


def sentence(kind: Kind, members: Mapping[str, object]) -> str:
    """Return the text for people."""
    return FORMS[kind].text.format_map({name: plain(value) for name, value in members.items()})


def place(kind: Kind, members: Mapping[str, object]) -> str:
    """Return the path, below the API, of the object that a notice speaks of; "" for none."""
    member, collection = FORMS[kind].subject
    return f"{collection}/{members[member]}" if collection else ""
