"""Errors of ours as gRPC knows them: a status code and ``google.rpc`` details (pure)."""

from collections.abc import Mapping, Sequence

from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.rpc import code_pb2, error_details_pb2
from google.rpc.status_pb2 import Status

from kafkahub.errors import (
    Conflict,
    CursorExpired,
    Fault,
    Forbidden,
    HubError,
    IdempotencyKeyReused,
    InProgress,
    Invalid,
    MethodNotAllowed,
    NotFound,
    NotSupportedByCluster,
    OutcomeUnknown,
    PartitionNotFound,
    RateLimited,
    RequestTimeout,
    TooLarge,
    Unauthenticated,
    Unavailable,
)
from kafkahub.kafka.record import Refused
from kafkahub.problems import RETRY_AFTER_S, code_and_title

DOMAIN = "kafkahub"

_CODES: Sequence[tuple[type[HubError], int]] = (
    (Invalid, code_pb2.INVALID_ARGUMENT),
    (IdempotencyKeyReused, code_pb2.INVALID_ARGUMENT),
    (Unauthenticated, code_pb2.UNAUTHENTICATED),
    (Forbidden, code_pb2.PERMISSION_DENIED),
    (NotFound, code_pb2.NOT_FOUND),
    (PartitionNotFound, code_pb2.NOT_FOUND),
    (InProgress, code_pb2.ABORTED),
    (OutcomeUnknown, code_pb2.ABORTED),
    (Conflict, code_pb2.FAILED_PRECONDITION),
    (RateLimited, code_pb2.RESOURCE_EXHAUSTED),
    (TooLarge, code_pb2.RESOURCE_EXHAUSTED),
    (CursorExpired, code_pb2.OUT_OF_RANGE),
    (RequestTimeout, code_pb2.DEADLINE_EXCEEDED),
    (MethodNotAllowed, code_pb2.UNIMPLEMENTED),
    (NotSupportedByCluster, code_pb2.UNIMPLEMENTED),
    (Unavailable, code_pb2.UNAVAILABLE),
)
"""The first kind that an error is decides; what is none of them is our fault."""

_OF_RECORDS: Mapping[str, int] = {
    "unavailable": code_pb2.UNAVAILABLE,
    "record_too_large": code_pb2.INVALID_ARGUMENT,
    "record_refused": code_pb2.INVALID_ARGUMENT,
    "partition_not_found": code_pb2.NOT_FOUND,
}
"""Codes of single records that were not written; any other is our fault."""


def status_of(error: HubError, *, metadata: Mapping[str, str] | None = None) -> Status:
    """Return the status that tells an error; ``metadata`` goes into its ErrorInfo."""
    code, _ = code_and_title(error)
    number = next((each for kind, each in _CODES if isinstance(error, kind)), code_pb2.INTERNAL)
    text = error.detail if number != code_pb2.INTERNAL else "Something went wrong on our side."
    if isinstance(error, CursorExpired):
        metadata = {"topic": str(error.gap["topic"]), "resume": error.resume}
    details = [_info(code, metadata or {}), *_details(error)]
    return _status(number, text, details)


def status_of_record(refused: Refused) -> Status:
    """Return why one record was not written."""
    number = _OF_RECORDS.get(refused.code, code_pb2.INTERNAL)
    outcome = "unknown" if refused.is_unknown else "not_written"
    return _status(number, refused.text, [_info(refused.code, {"outcome": outcome})])


def status_of_ack(reason: str, text: str) -> Status:
    """Return why an acknowledgement was not taken; ``reason`` is in capitals."""
    return _status(code_pb2.NOT_FOUND, text, [_info(reason, {})])


def status_of_end(number: int, reason: str, text: str, retry_ms: int | None = None) -> Status:
    """Return the status that ends a stream; ``retry_ms`` where its client shall come again."""
    details: list[Message] = [_info(reason, {})]
    if retry_ms is not None:
        details.append(error_details_pb2.RetryInfo(retry_delay=duration(retry_ms)))
    return _status(number, text, details)


def internal() -> Status:
    """Return the status of a fault of ours, which tells nothing of our insides."""
    return _status(
        code_pb2.INTERNAL, "Something went wrong on our side.", [_info("internal_error", {})]
    )


def duration(ms: int) -> Duration:
    return Duration(seconds=ms // 1_000, nanos=ms % 1_000 * 1_000_000)


def _status(number: int, text: str, details: Sequence[Message]) -> Status:
    status = Status(code=number, message=text)
    for detail in details:
        status.details.add().Pack(detail)
    return status


def _info(code: str, metadata: Mapping[str, str]) -> error_details_pb2.ErrorInfo:
    return error_details_pb2.ErrorInfo(reason=code.upper(), domain=DOMAIN, metadata=metadata)


def _details(error: HubError) -> list[Message]:
    if isinstance(error, Invalid):
        return [
            error_details_pb2.BadRequest(field_violations=[_violation(one) for one in error.faults])
        ]
    if isinstance(error, NotFound):
        return [error_details_pb2.ResourceInfo(resource_type="kafkahub", description=error.detail)]
    found: list[Message] = []
    if isinstance(error, RateLimited):
        violations = [
            error_details_pb2.QuotaFailure.Violation(subject=name, description=error.detail)
            for name in error.violated or (error.code,)
        ]
        found.append(error_details_pb2.QuotaFailure(violations=violations))
    if isinstance(error, RateLimited | Unavailable | InProgress):
        retry_s = error.retry_after_s if error.retry_after_s is not None else RETRY_AFTER_S
        found.append(error_details_pb2.RetryInfo(retry_delay=Duration(seconds=retry_s)))
    return found


def _violation(fault: Fault) -> error_details_pb2.BadRequest.FieldViolation:
    return error_details_pb2.BadRequest.FieldViolation(
        field=_field(fault.pointer), description=fault.message, reason=fault.code.upper()
    )


def _field(pointer: str) -> str:
    """Return a JSON pointer as gRPC writes places: ``/records/3/key`` is ``records[3].key``."""
    text = ""
    for step in pointer.split("/")[1:]:
        text += f"[{step}]" if step.isdigit() else f".{step}" if text else step
    return text
