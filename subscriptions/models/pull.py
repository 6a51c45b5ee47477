"""Pull groups: consumers over HTTP and gRPC whose state is here, so that any process serves them.

All their SQL is in ``subscriptions/pull``; times are PostgreSQL's.
"""

import uuid

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from subscriptions.models.partners import Partner
from subscriptions.models.subscriptions import Subscription


class PullGroup(models.Model):
    """Instances that share one set of positions; one per subscription of mode ``pull``."""

    class OrderMode(models.TextChoices):
        ORDERED = "ordered"
        PARALLEL = "parallel"

    subscription = models.OneToOneField(
        Subscription, on_delete=models.CASCADE, related_name="pull_group"
    )
    partner = models.ForeignKey(Partner, on_delete=models.CASCADE, related_name="pull_groups")
    name = models.CharField(max_length=200)
    order_mode = models.CharField(
        max_length=8, choices=OrderMode.choices, default=OrderMode.ORDERED
    )
    generation = models.BigIntegerField(
        default=0, help_text="Rises with every change of who may own what."
    )
    shared_generation = models.BigIntegerField(
        default=0, help_text="The generation that owners were chosen for."
    )
    mirrored_at = models.DateTimeField(
        null=True, help_text="When its positions were last copied to a Kafka group."
    )

    class Meta:
        db_table = "pull_group"
        constraints = [models.UniqueConstraint(fields=["partner", "name"], name="pull_group_once")]

    def __str__(self) -> str:
        return self.name


class PullInstance(models.Model):
    """One consumer of a group, as its client made it; no process is its home."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    group = models.ForeignKey(PullGroup, on_delete=models.CASCADE, related_name="instances")
    name = models.CharField(max_length=200)
    door = models.CharField(max_length=8, help_text="v2, grpc or ws.")
    settings = models.JSONField(default=dict)
    topics = ArrayField(models.CharField(max_length=249), default=list)
    pattern = models.CharField(max_length=200, blank=True)
    manual = models.BooleanField(default=False, help_text="It chose its partitions itself.")
    generation = models.BigIntegerField(
        default=-1, help_text="The group's at which it last learned what it owns."
    )
    read_seq = models.BigIntegerField(default=0, help_text="Number of its last answer.")
    read_token = models.UUIDField(null=True, help_text="Of the read under way; the newest wins.")
    last_seen = models.DateTimeField(db_default=Now())
    timeout = models.DurationField(help_text="Without a call for so long it ends.")

    class Meta:
        db_table = "pull_instance"
        constraints = [models.UniqueConstraint(fields=["group", "name"], name="pull_instance_once")]

    def __str__(self) -> str:
        return self.name


class PullAssignment(models.Model):
    """A partition that an instance reads, and the next offset to hand out."""

    instance = models.ForeignKey(PullInstance, on_delete=models.CASCADE, related_name="assignments")
    topic = models.CharField(max_length=249)
    partition = models.IntegerField()
    position = models.BigIntegerField(null=True, help_text="Null: nothing says where to begin.")
    owner_generation = models.BigIntegerField(
        default=0, help_text="Of the ownership that the position belongs to."
    )

    class Meta:
        db_table = "pull_assignment"
        constraints = [
            models.UniqueConstraint(
                fields=["instance", "topic", "partition"], name="pull_assignment_once"
            )
        ]

    def __str__(self) -> str:
        return f"{self.topic}[{self.partition}] at {self.position}"


class PullPosition(models.Model):
    """Where a group stands on a partition, and who of it may move it.

    The column ``acked``, an int8multirange of what is done above ``committed``, is made by its
    migration: Django knows no such field.
    """

    group = models.ForeignKey(PullGroup, on_delete=models.CASCADE, related_name="positions")
    topic = models.CharField(max_length=249)
    partition = models.IntegerField()
    topic_epoch = models.CharField(
        max_length=40, blank=True, help_text="Kafka's id of the topic; empty where it has none."
    )
    start = models.BigIntegerField(
        null=True, help_text="Where reading begins while nothing is committed."
    )
    committed = models.BigIntegerField(null=True, help_text="Next offset; null before the first.")
    committed_at = models.DateTimeField(null=True)
    metadata = models.CharField(max_length=4_096, blank=True)
    owner = models.ForeignKey(
        PullInstance, null=True, on_delete=models.SET_NULL, db_column="owner_instance"
    )
    owner_generation = models.BigIntegerField(
        default=0, help_text="The group's when this owner got it; fences late commits."
    )

    class Meta:
        db_table = "pull_position"
        constraints = [
            models.UniqueConstraint(
                fields=["group", "topic", "partition"], name="pull_position_once"
            )
        ]

    def __str__(self) -> str:
        return f"{self.topic}[{self.partition}] at {self.committed}"


class PullLease(models.Model):
    """Offsets that were handed out and of which nobody knows yet whether they arrived."""

    group = models.ForeignKey(PullGroup, on_delete=models.CASCADE, related_name="leases")
    instance = models.ForeignKey(PullInstance, on_delete=models.CASCADE, related_name="leases")
    topic = models.CharField(max_length=249)
    partition = models.IntegerField()
    from_offset = models.BigIntegerField()
    to_offset = models.BigIntegerField(help_text="One after the last.")
    read_seq = models.BigIntegerField()
    sent = models.BooleanField(default=False, help_text="The last byte was accepted.")
    created_at = models.DateTimeField(db_default=Now())
    expires_at = models.DateTimeField(null=True, help_text="Null for v2: the next read settles.")
    offsets = ArrayField(
        models.BigIntegerField(),
        null=True,
        help_text="Of gRPC: the records in it, in order; -1 - offset for one that is settled.",
    )
    size = models.BigIntegerField(db_default=0, help_text="Bytes of those records.")
    settled = models.BooleanField(
        db_default=False, help_text="All of it is; kept so that an ack may come twice."
    )

    class Meta:
        db_table = "pull_lease"
        indexes = [models.Index(fields=["instance", "read_seq"], name="pull_lease_instance")]
        constraints = [
            models.CheckConstraint(
                condition=Q(to_offset__gt=models.F("from_offset")), name="pull_lease_range"
            )
        ]

    def __str__(self) -> str:
        return f"{self.topic}[{self.partition}] {self.from_offset}-{self.to_offset}"


class PullException(models.Model):
    """A record that a group did not take: due again, or dead with what it held."""

    class State(models.TextChoices):
        RETRY = "retry"
        DEAD = "dead"

    group = models.ForeignKey(PullGroup, on_delete=models.CASCADE, related_name="exceptions")
    topic = models.CharField(max_length=249)
    partition = models.IntegerField()
    offset = models.BigIntegerField()
    attempt = models.PositiveIntegerField(default=1)
    state = models.CharField(max_length=5, choices=State.choices, default=State.RETRY)
    due_at = models.DateTimeField(null=True)
    reason = models.CharField(max_length=200, blank=True)
    payload = models.BinaryField(null=True, help_text="As the grant showed it; dead ones only.")

    class Meta:
        db_table = "pull_exception"
        constraints = [
            models.UniqueConstraint(
                fields=["group", "topic", "partition", "offset"], name="pull_exception_once"
            )
        ]

    def __str__(self) -> str:
        return f"{self.topic}[{self.partition}] {self.offset} {self.state}"


class PullGap(models.Model):
    """Offsets that a group will never get, as it was told; the last ones are shown in stats."""

    group = models.ForeignKey(PullGroup, on_delete=models.CASCADE, related_name="gaps")
    topic = models.CharField(max_length=249)
    partition = models.IntegerField()
    from_offset = models.BigIntegerField()
    to_offset = models.BigIntegerField()
    reason = models.CharField(max_length=16)
    at = models.DateTimeField(db_default=Now())

    class Meta:
        db_table = "pull_gap"
        indexes = [models.Index(fields=["group", "-at"], name="pull_gap_newest")]

    def __str__(self) -> str:
        return f"{self.topic}[{self.partition}] {self.from_offset}-{self.to_offset}"


class ProduceReceipt(models.Model):
    """A produce request with an ``Idempotency-Key``: a retry writes only what is missing."""

    class State(models.TextChoices):
        RUNNING = "running"
        UNKNOWN = "unknown"
        DONE = "done"

    partner = models.ForeignKey(Partner, on_delete=models.CASCADE, related_name="+")
    key_hash = models.BinaryField(help_text="SHA-256 of partner and key.")
    fingerprint = models.BinaryField(help_text="SHA-256 of what the client sent.")
    state = models.CharField(max_length=8, choices=State.choices, default=State.RUNNING)
    lease_until = models.DateTimeField(help_text="Until then one process works on it.")
    topic = models.CharField(max_length=249)
    partitions = ArrayField(models.IntegerField(), help_text="Chosen for each record, in order.")
    floor = models.JSONField(help_text="By partition, the end before anything was written.")
    scanned = models.JSONField(default=dict, help_text="By partition, how far was looked.")
    found = models.JSONField(default=dict, help_text="By index, offset and time of what is there.")
    answer = models.JSONField(null=True, help_text="Results of the records, once they are known.")
    created_at = models.DateTimeField(db_default=Now(), db_index=True)

    class Meta:
        db_table = "produce_receipt"
        constraints = [
            models.UniqueConstraint(fields=["partner", "key_hash"], name="produce_receipt_once")
        ]

    def __str__(self) -> str:
        return f"{self.topic} {self.state}"
