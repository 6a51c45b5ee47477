"""Every situation of the doors' one vocabulary as gRPC says it: code, reason and details."""

from collections.abc import Sequence

import pytest
from google.rpc import code_pb2

from gateway.grpc_service import faults
from kafkahub import errors
from kafkahub.errors import Fault, HubError
from kafkahub.kafka.record import Refused
from tests.gateway.grpc_rig import details_of

CASES: Sequence[tuple[HubError, str, str, set[str]]] = [
    (
        errors.Invalid([Fault("/topic", "invalid_parameter", "It is no name.")]),
        "INVALID_ARGUMENT",
        "INVALID_PARAMETER",
        {"BadRequest"},
    ),
    (
        errors.Invalid([Fault("/from", "invalid_cursor", "It is none of ours.")]),
        "INVALID_ARGUMENT",
        "INVALID_CURSOR",
        {"BadRequest"},
    ),
    (errors.Unauthenticated("Who?"), "UNAUTHENTICATED", "UNAUTHENTICATED", set()),
    (errors.KeyExpired("It is over."), "UNAUTHENTICATED", "KEY_EXPIRED", set()),
    (errors.ActionNotGranted("No."), "PERMISSION_DENIED", "ACTION_NOT_GRANTED", set()),
    (errors.TopicNotFound(), "NOT_FOUND", "TOPIC_NOT_FOUND", {"ResourceInfo"}),
    (errors.PartitionNotFound("No."), "NOT_FOUND", "PARTITION_NOT_FOUND", set()),
    (errors.NotFound(), "NOT_FOUND", "NOT_FOUND", {"ResourceInfo"}),
    (errors.MethodNotAllowed("No."), "UNIMPLEMENTED", "METHOD_NOT_ALLOWED", set()),
    (errors.RequestTimeout("Late."), "DEADLINE_EXCEEDED", "REQUEST_TIMEOUT", set()),
    (errors.Conflict("Not in this mode."), "FAILED_PRECONDITION", "CONFLICT", set()),
    (errors.CursorExpired({"topic": "orders"}, "c1"), "OUT_OF_RANGE", "CURSOR_EXPIRED", set()),
    (errors.BodyTooLarge("Over 4 MiB."), "RESOURCE_EXHAUSTED", "BODY_TOO_LARGE", set()),
    (errors.IdempotencyKeyReused("No."), "INVALID_ARGUMENT", "IDEMPOTENCY_KEY_REUSED", set()),
    (errors.IdempotencyInProgress("Wait."), "ABORTED", "IDEMPOTENCY_IN_PROGRESS", {"RetryInfo"}),
    (errors.OutcomeUnknown("Gone."), "ABORTED", "OUTCOME_UNKNOWN", set()),
    (
        errors.RateLimited("Too fast.", retry_after_s=1),
        "RESOURCE_EXHAUSTED",
        "RATE_LIMITED",
        {"QuotaFailure", "RetryInfo"},
    ),
    (
        errors.QuotaExceeded("Too many groups.", retry_after_s=60),
        "RESOURCE_EXHAUSTED",
        "QUOTA_EXCEEDED",
        {"QuotaFailure", "RetryInfo"},
    ),
    (errors.NotSupportedByCluster("No."), "UNIMPLEMENTED", "NOT_SUPPORTED_BY_CLUSTER", set()),
    (errors.Unavailable("Away."), "UNAVAILABLE", "UNAVAILABLE", {"RetryInfo"}),
]


@pytest.mark.parametrize(
    ("error", "code", "reason", "details"), CASES, ids=[case[2] for case in CASES]
)
def test_each_situation_has_its_code_reason_and_details(
    error: HubError, code: str, reason: str, details: set[str]
) -> None:
    status = faults.status_of(error)

    found = details_of(status)
    assert code_pb2.Code.Name(status.code) == code
    assert (found["ErrorInfo"].domain, found["ErrorInfo"].reason) == ("kafkahub", reason)
    assert found.keys() - {"ErrorInfo"} == details


def test_a_position_that_is_gone_says_where_to_go_on() -> None:
    status = faults.status_of(errors.CursorExpired({"topic": "orders"}, "c1"))

    assert details_of(status)["ErrorInfo"].metadata == {"topic": "orders", "resume": "c1"}


def test_a_fault_of_ours_tells_nothing_of_our_insides() -> None:
    for status in (faults.internal(), faults.status_of(HubError("SELECT secret"))):
        assert code_pb2.Code.Name(status.code) == "INTERNAL"
        assert details_of(status)["ErrorInfo"].reason == "INTERNAL_ERROR"
        assert "secret" not in status.message


@pytest.mark.parametrize(
    ("refused", "code"),
    [
        (Refused("unavailable", "Away.", is_retriable=True), "UNAVAILABLE"),
        (Refused("record_too_large", "Too large."), "INVALID_ARGUMENT"),
        (Refused("record_refused", "No key."), "INVALID_ARGUMENT"),
        (Refused("partition_not_found", "There is none."), "NOT_FOUND"),
        (Refused("internal_error", "Kafka refused this installation."), "INTERNAL"),
    ],
)
def test_a_record_that_is_not_written_says_what_is_certain(refused: Refused, code: str) -> None:
    status = faults.status_of_record(refused)

    assert code_pb2.Code.Name(status.code) == code
    assert details_of(status)["ErrorInfo"].metadata["outcome"] == "not_written"
