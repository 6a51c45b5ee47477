"""Every error that may reach a user, as one tree.

HubError                       code                   status
├── Invalid                    validation_failed      400   one or more faults, each with its place
├── InvalidMessage             invalid_message        400   WebSocket only
├── Unauthenticated            unauthenticated        401
│   ├── KeyExpired             key_expired            401
│   └── InvalidToken           invalid_token          401
├── Forbidden                  insufficient_scope     403
│   ├── ActionNotGranted       action_not_granted     403
│   ├── OriginNotAllowed       origin_not_allowed     403
│   └── ReadOnlyView           read_only_view         403
├── NotFound                   not_found              404   unknown, foreign, deleted: the same
│   └── TopicNotFound          topic_not_found        404
├── PartitionNotFound          partition_not_found    404
├── MethodNotAllowed           method_not_allowed     405
├── NotAcceptable              not_acceptable         406
├── RequestTimeout             request_timeout        408   the doors to records only
├── Conflict                   conflict               409
│   ├── IdempotencyInProgress  idempotency_in_progress 409  the doors to records only
│   └── OutcomeUnknown         outcome_unknown        409
├── CursorExpired              cursor_expired         410
├── StaleVersion               stale_version          412
├── TooLarge                   payload_too_large      413
│   ├── BodyTooLarge           body_too_large         413   the doors to records only
│   └── RecordTooLarge         record_too_large       413
├── UnsupportedMedia           unsupported_media_type 415
├── IdempotencyKeyReused       idempotency_key_reused 422
├── RecordRefused              record_refused         422
├── UpgradeRequired            upgrade_required       426
├── RateLimited                rate_limited           429
│   ├── TooManyOutstanding     too_many_outstanding   429   WebSocket only
│   └── QuotaExceeded          quota_exceeded         429
├── NotSupportedByCluster      not_supported_by_cluster 501
└── Unavailable                unavailable            503
    ├── IssuerUnavailable      issuer_unavailable     503
    └── Overloaded             overloaded             503

``code`` and ``status`` are promised, the text is not. Only ``problems.py`` knows HTTP bodies.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing wrong with an input.

    pointer  JSON pointer into the body (RFC 6901), or ``""`` for the whole
    code     promised name of the kind of fault
    message  what was wrong, what is allowed, how to mend it
    more     further members of the fault, such as ``allowed``, ``nearest``, ``line``, ``column``
    """

    pointer: str
    code: str
    message: str
    more: dict[str, object] = field(default_factory=dict)


class HubError(Exception):
    """A fault of ours, and the base of every error that a user may see."""

    code: ClassVar[str] = "internal_error"
    status: ClassVar[int] = 500
    title: ClassVar[str] = "Internal error"

    def __init__(self, detail: str, *, retry_after_s: int | None = None) -> None:
        super().__init__(detail)
        self.detail = detail
        self.retry_after_s = retry_after_s
        self.faults: Sequence[Fault] = ()


class Invalid(HubError):
    """The input cannot be taken; ``faults`` names everything that is wrong with it.

    ``instance_code`` is ``code`` if given, else the faults' own where all of them share one. Where
    ``code`` names the subject (``invalid_filter``), the faults' codes say what is wrong with it.
    """

    code = "validation_failed"
    status = 400
    title = "The request is not valid"

    def __init__(self, faults: Sequence[Fault], *, code: str | None = None) -> None:
        super().__init__("; ".join(fault.message for fault in faults[:3]))
        self.faults = tuple(faults)
        codes = {fault.code for fault in faults}
        self.instance_code = code or (codes.pop() if len(codes) == 1 else self.code)


class InvalidMessage(HubError):
    """A WebSocket message that cannot be understood or followed; the connection stays."""

    code = "invalid_message"
    status = 400
    title = "The message cannot be used"


class Unauthenticated(HubError):
    """No credential, or one that is not accepted."""

    code = "unauthenticated"
    status = 401
    title = "Authentication is needed"


class KeyExpired(Unauthenticated):
    """The right secret of a key that has expired or was revoked."""

    code = "key_expired"
    title = "The API key is no longer valid"


class InvalidToken(Unauthenticated):
    """A token that is expired, revoked, or a foreign one that fails a check, which is named."""

    code = "invalid_token"
    title = "The token is not accepted"


class Forbidden(HubError):
    """The principal is known, and may not do this."""

    code = "insufficient_scope"
    status = 403
    title = "The credential lacks a scope"


class ActionNotGranted(Forbidden):
    """The partner may see the topic, in the other action only."""

    code = "action_not_granted"
    title = "The grant does not include this action"


class OriginNotAllowed(Forbidden):
    """A page of an origin that may not open streams here; answered without CORS headers."""

    code = "origin_not_allowed"
    title = "The origin is not allowed"

    def __init__(self) -> None:
        super().__init__("This origin is not among those that the partner allows.")


class ReadOnlyView(Forbidden):
    """An operator looks at a partner's portal, and tried to change something there."""

    code = "read_only_view"
    title = "A support view changes nothing"

    def __init__(self) -> None:
        super().__init__("This is a support view: it reads only, and nothing was changed.")


class NotFound(HubError):
    """Nothing there for this principal; never tells whether a stranger's thing exists."""

    code = "not_found"
    status = 404
    title = "Not found"

    def __init__(self) -> None:
        super().__init__("There is nothing here that this credential may see.")


class TopicNotFound(NotFound):
    """No such topic for this principal, at the doors to records."""

    code = "topic_not_found"
    title = "Topic not found"


class PartitionNotFound(HubError):
    """The topic is there, the partition is not."""

    code = "partition_not_found"
    status = 404
    title = "The topic has no such partition"


class MethodNotAllowed(HubError):
    """The route is there, and does not take this method."""

    code = "method_not_allowed"
    status = 405
    title = "The method is not allowed here"


class NotAcceptable(HubError):
    """The client accepts nothing of what can be answered."""

    code = "not_acceptable"
    status = 406
    title = "No acceptable content type"


class Conflict(HubError):
    """The state of the object forbids this."""

    code = "conflict"
    status = 409
    title = "The state does not allow this"


class InUse(Conflict):
    """Something else still needs the object."""

    code = "in_use"
    title = "The object is still in use"


class RecordGone(Conflict):
    """Kafka does not have the record any more, so it cannot be sent again."""

    code = "record_gone"
    title = "The record is gone from Kafka"


class LimitReached(Conflict):
    """A cap on the number of objects is reached."""

    code = "limit_reached"
    title = "A limit is reached"


class InProgress(Conflict):
    """The same ``Idempotency-Key`` is being worked on right now."""

    code = "in_progress"
    title = "The first request is still running"


class IdempotencyInProgress(InProgress):
    """The same ``Idempotency-Key`` is being worked on, or what it wrote is being looked for."""

    code = "idempotency_in_progress"


class OutcomeUnknown(Conflict):
    """Whether a request with this ``Idempotency-Key`` was written cannot be found out any more."""

    code = "outcome_unknown"
    title = "What became of the first request is unknown"


class RequestTimeout(HubError):
    """The body did not come in time."""

    code = "request_timeout"
    status = 408
    title = "The request took too long"


class CursorExpired(HubError):
    """Records at the cursor are gone, and the caller asked to fail then.

    gap     what is missing
    resume  a cursor behind it
    """

    code = "cursor_expired"
    status = 410
    title = "The cursor is older than what is kept"

    def __init__(self, gap: Mapping[str, object], resume: str) -> None:
        super().__init__("Records at this position are gone; go on from resume to accept the gap.")
        self.gap = gap
        self.resume = resume


class StaleVersion(HubError):
    """``If-Match`` named another version than the object's."""

    code = "stale_version"
    status = 412
    title = "The object has changed"

    def __init__(self, version: int) -> None:
        super().__init__(f"The object is at version {version}; read it again, then repeat.")
        self.version = version


class TooLarge(HubError):
    """The body is larger than what is taken."""

    code = "payload_too_large"
    status = 413
    title = "The body is too large"


class BodyTooLarge(TooLarge):
    """The body of a request with records."""

    code = "body_too_large"


class RecordTooLarge(TooLarge):
    """One record is larger than what Kafka takes."""

    code = "record_too_large"
    title = "The record is too large"


class UnsupportedMedia(HubError):
    """The body is of a kind that is not taken."""

    code = "unsupported_media_type"
    status = 415
    title = "The content type is not supported"


class IdempotencyKeyReused(HubError):
    """An ``Idempotency-Key`` came again with another body."""

    code = "idempotency_key_reused"
    status = 422
    title = "The Idempotency-Key was used for another request"


class UpgradeRequired(HubError):
    """The address speaks WebSocket, and the request did not ask for it."""

    code = "upgrade_required"
    status = 426
    title = "This is a WebSocket"


class RecordRefused(HubError):
    """Kafka takes no such record into this topic, whenever it comes."""

    code = "record_refused"
    status = 422
    title = "The record is refused"


class RateLimited(HubError):
    """Too much in too short a time; ``retry_after_s`` says when to come again."""

    code = "rate_limited"
    status = 429
    title = "Too many requests"

    def __init__(
        self, detail: str, *, retry_after_s: int | None = None, violated: Sequence[str] = ()
    ) -> None:
        """``violated``: names of the policies that are used up, where the limiter refused."""
        super().__init__(detail, retry_after_s=retry_after_s)
        self.violated = tuple(violated)


class QuotaExceeded(RateLimited):
    """Too many streams are open at once, or what a grant lets use in a period is used up."""

    code = "quota_exceeded"
    title = "The quota is used up"


class TooManyOutstanding(RateLimited):
    """Too many operations of a connection wait for their answer."""

    code = "too_many_outstanding"
    title = "Too many operations are waiting"


class NotSupportedByCluster(HubError):
    """The Kafka cluster cannot do what is asked."""

    code = "not_supported_by_cluster"
    status = 501
    title = "The cluster cannot do this"


class Unavailable(HubError):
    """A part that this request needs is away; nothing was done."""

    code = "unavailable"
    status = 503
    title = "Temporarily unavailable"


class IssuerUnavailable(Unavailable):
    """The keys of a token's issuer cannot be had, so nobody can say whether it is good."""

    code = "issuer_unavailable"
    title = "The issuer's keys cannot be had"


class Overloaded(Unavailable):
    """The process has as much to do as it can; another one, or later, may serve."""

    code = "overloaded"
    title = "The server is overloaded"
