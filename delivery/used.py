"""What webhooks use, told to the table of hours: one note a partner, topic and checkpoint."""

from delivery.batch import Batch
from delivery.outcome import OutcomeClass
from subscriptions.usage import Usage, Used

DOOR = "webhook"


def note(batch: Batch, usage: Usage) -> None:
    """Count what a checkpoint has made durable.

    Every attempt is a request and has its bytes; a record is out once it was delivered.
    """
    found: dict[tuple[str, str], Used] = {}
    for row in batch.attempts:
        used = found.setdefault((row.partner, row.topic), Used())
        used.requests += 1
        used.bytes_out += row.request_bytes
        used.records_out += row.outcome_class == OutcomeClass.DELIVERED
    for (partner, topic), used in found.items():
        usage.note(partner, DOOR, used, topic)
