"""What clients say of records that they were handed, and what of it was not taken (pure)."""

from typing import Final

from gateway.grpc_service import faults
from gateway.grpc_service.asked import seconds_of, wrong
from gateway.proto.kafkahub.v1 import kafkahub_pb2 as pb
from kafkahub.errors import Fault, Invalid
from subscriptions.pull.acks import Act, Failed

MIN_LEASE_S, MAX_LEASE_S = 10.0, 600.0
MAX_DELAY_S = 3_600.0
MAX_ACTS = 10_000
MAX_REASON = 200
FAILURES: Final = {
    "LEASE_EXPIRED": "The lease is over; the record comes again.",
    "UNKNOWN_ACK_ID": "No record was given under this ack_id.",
}


def acts_of(acks: pb.AckSet, at: str = "acks") -> list[Act]:
    """Return what a client says of records, in order: ack, nack, extend, reject. Raises Invalid."""
    acts = [Act(one, "ack") for one in acks.ack]
    wrongs: list[Fault] = []
    for number, nack in enumerate(acks.nack):
        delay_s = seconds_of(nack.delay)
        if not 0 <= delay_s <= MAX_DELAY_S:
            wrongs.append(wrong(f"{at}/nack/{number}/delay", f"It is 0 to {MAX_DELAY_S:g} s."))
        acts.append(Act(nack.ack_id, "nack", delay_s))
    for number, extend in enumerate(acks.extend):
        lease_s = seconds_of(extend.lease)
        if not MIN_LEASE_S <= lease_s <= MAX_LEASE_S:
            text = f"It is {MIN_LEASE_S:g} to {MAX_LEASE_S:g} s."
            wrongs.append(wrong(f"{at}/extend/{number}/lease", text))
        acts.append(Act(extend.ack_id, "extend", lease_s))
    for one in acks.reject:
        reason = one.reason[:MAX_REASON].replace("\0", "")  # no table could hold it
        acts.append(Act(one.ack_id, "reject", reason=reason))
    if not 1 <= len(acts) <= MAX_ACTS:
        wrongs.append(wrong(at, f"There are 1 to {MAX_ACTS} of them."))
    if wrongs:
        raise Invalid(wrongs)
    return acts


def failure_of(failed: Failed) -> pb.AckFailure:
    """Return why an act was not taken."""
    status = faults.status_of_ack(failed.why, FAILURES[failed.why])
    return pb.AckFailure(ack_id=failed.ack_id, status=status)
