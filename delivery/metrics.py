"""What an engine counts."""

from collections import Counter as Tally

from delivery.batch import Batch
from kafkahub.observability.metrics import counter, gauge, histogram

deliveries = counter(
    "deliveries_total", "Attempts by what came of them.", ("outcome_class", "outcome")
)
delivery_seconds = histogram(
    "delivery_seconds", "Time of one attempt, from its start to the end of the answer."
)
parked = counter("parked_total", "Records set aside, by reason.", ("reason",))
records_read = counter("records_read_total", "Records read by the shared readers.")
records_read_again = counter("records_read_again_total", "Records read again for lanes behind.")
checkpoint_seconds = histogram("checkpoint_seconds", "Time of one checkpoint transaction.")
checkpoint_failures = counter(
    "checkpoint_failures_total", "Checkpoints that PostgreSQL did not take at once."
)
fenced_writes = counter(
    "fenced_writes_total", "Writes refused because another engine holds the partition."
)
leases_lost = counter("lease_lost_total", "Claims of parked rows that another engine took.")
rebalances = counter("rebalances_total", "Partitions claimed.")
lanes = gauge("lanes", "Lanes of this engine.", ("state",))
partition_lag = gauge(
    "partition_lag", "Records between a partition's floor and its end.", ("topic", "partition")
)
floor_age = gauge(
    "floor_age_seconds",
    "How long the floor that stands longest has stood with records above it.",
    across="max",
)
lane_lag = gauge(
    "lane_lag_records",
    "Offsets between where lanes stand and the end.",
    ("partner", "subscription"),
)
oldest_undelivered = gauge(
    "oldest_undelivered_seconds",
    "Age of the oldest record known to be owed.",
    ("partner", "subscription"),
    across="max",
)
headroom = gauge(
    "retention_headroom_seconds",
    "Time until retention may overtake the oldest record known to be owed.",
    ("partner", "subscription"),
    across="min",
)
gaps = counter("gaps_total", "Gaps announced.", ("reason",))
gap_records = counter("gap_records_total", "Offsets that will never be delivered.", ("reason",))
kafka_troubles = counter(
    "kafka_troubles_total", "Trouble that the Kafka client mends by itself.", ("kind",)
)
engine_restarts = counter(
    "engine_restarts_total", "Engines that ended by themselves, to be started anew.", ("reason",)
)
engine_state = gauge("engine_state", "Engines by what they wait for.", ("state",))
inflight = gauge("inflight_requests", "Requests that are out.")
unflushed = gauge("unflushed_outcomes", "Outcomes that wait for a checkpoint.")


def count(batch: Batch) -> None:
    """Count what a checkpoint has made durable."""
    tally = Tally((row.outcome_class, row.outcome) for row in batch.attempts)
    for labels, number in tally.items():
        deliveries.labels(*labels).inc(number)
    for row in batch.attempts:
        delivery_seconds.observe(row.duration_us / 1e6)
    for reason, number in Tally(row.reason for row in batch.parked).items():
        parked.labels(reason).inc(number)
    for found in batch.gaps:
        gaps.labels(found.gap.reason).inc()
        gap_records.labels(found.gap.reason).inc(found.gap.lost or 0)
