"""Positions, exceptions and the log of deliveries. What goes well is never copied here."""

import functools
from typing import ClassVar

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from delivery import sealing
from kafkahub import ids
from kafkahub.fields import EncryptedField
from subscriptions.live import NOTICES
from subscriptions.models import Subscription


class PartitionPosition(models.Model):
    """The floor of one partition, and who may move it.

    ``epoch`` and ``owner`` together are the fence: a claim raises the one and renews the other,
    and every later write names both, so a process that lost the partition changes nothing.
    """

    topic = models.CharField(max_length=249)
    partition = models.IntegerField()
    next_offset = models.BigIntegerField(help_text="Below it no lane owes anything.")
    epoch = models.BigIntegerField(default=0)
    owner = models.UUIDField(null=True)
    generation = models.IntegerField(
        default=1, help_text="Rises when the topic is recreated or its offsets go back."
    )
    checkpoint = models.BigIntegerField(
        default=0, help_text="Number of the last checkpoint that wrote here."
    )
    topic_id = models.CharField(
        max_length=40,
        blank=True,
        db_default="",
        help_text="Kafka's id of the topic; empty where it gives none.",
    )
    updated_at = models.DateTimeField(db_default=Now())

    class Meta:
        db_table = "partition_position"
        constraints = [
            models.UniqueConstraint(fields=["topic", "partition"], name="partition_position_once")
        ]

    def __str__(self) -> str:
        return f"{self.topic}[{self.partition}] at {self.next_offset}"


class ParkedDelivery(models.Model):
    """One record set aside for one subscription because it failed while its endpoint was well.

    A discarded row stays, without its body, as a mark until its lane has passed the offset: a
    re-read after a crash would send the record otherwise.

    Rows with an ``order_key`` go out one after the other, by offset: the first that is open is the
    head of its key, and the others are ``blocked`` behind it.
    """

    class State(models.TextChoices):
        SCHEDULED = "scheduled"
        SENDING = "sending"
        BLOCKED = "blocked"
        HELD = "held"
        DEAD = "dead"
        DISCARDED = "discarded"

    class Reason(models.TextChoices):
        FAILED = "failed"
        BLOCKED = "blocked"
        EXHAUSTED = "exhausted"
        UNDECODABLE = "undecodable"
        TOO_LARGE = "too_large"
        GRANT_CHANGED = "grant_changed"
        RESEND = "resend"
        TEST = "test"
        GAP = "gap"
        NOTICE = "notice"

    id = models.CharField(primary_key=True, max_length=40, help_text="The webhook-id.")
    subscription = models.ForeignKey(Subscription, on_delete=models.CASCADE, related_name="parked")
    topic = models.CharField(max_length=249)
    partition = models.IntegerField()
    offset = models.BigIntegerField()
    generation = models.IntegerField(default=1)
    key = models.BinaryField(null=True)
    order_key = models.BinaryField(
        null=True,
        editable=False,
        help_text="Tag of the key whose order it keeps; null: it goes out on its own.",
    )
    record_time = models.DateTimeField(null=True)
    body = models.BinaryField(
        null=True, help_text="The exact bytes to send; null where none could be made."
    )
    sealed_body = EncryptedField(
        null=True, editable=False, help_text="The body instead, where its topic is sensitive."
    )
    headers = models.JSONField(
        default=dict, help_text="Content type and the other headers the format gave."
    )
    grant_version = models.IntegerField(default=1)
    state = models.CharField(max_length=10, choices=State.choices, default=State.SCHEDULED)
    reason = models.CharField(max_length=16, choices=Reason.choices, default=Reason.FAILED)
    attempts = models.IntegerField(default=0, help_text="Attempts that counted.")
    sends = models.IntegerField(default=0, help_text="Requests made, counted or not.")
    first_failed_at = models.DateTimeField(db_default=Now())
    next_attempt_at = models.DateTimeField(null=True)
    last_outcome = models.CharField(max_length=32, blank=True)
    last_status = models.IntegerField(null=True)
    claimed_by = models.UUIDField(null=True)
    lease_until = models.DateTimeField(null=True)
    expires_at = models.DateTimeField(null=True, help_text="When a dead letter is purged.")
    replay = models.CharField(
        max_length=40, blank=True, default="", db_default="", help_text="The replay that parked it."
    )
    announced_at = models.DateTimeField(
        null=True, help_text="When the partner was told that it is dead."
    )

    class Meta:
        db_table = "parked_delivery"
        ordering = ["-first_failed_at", "-id"]
        verbose_name_plural = "parked deliveries"
        permissions = [("see_payload", "Can see what partners are sent")]
        constraints = [
            models.UniqueConstraint(
                fields=["subscription", "topic", "partition", "generation", "offset"],
                name="parked_once",
            ),
            models.CheckConstraint(
                condition=Q(state__in=["blocked", "held", "dead", "discarded"])
                | Q(next_attempt_at__isnull=False),
                name="parked_owed_is_scheduled",
            ),
            models.CheckConstraint(
                condition=~Q(state="sending")
                | Q(claimed_by__isnull=False, lease_until__isnull=False),
                name="parked_sending_is_claimed",
            ),
            models.CheckConstraint(
                condition=~Q(state__in=["blocked", "held"]) | Q(order_key__isnull=False),
                name="parked_waiting_has_order",
            ),
        ]
        indexes = [
            models.Index(
                fields=["subscription", "next_attempt_at"],
                condition=Q(state="scheduled"),
                name="parked_due",
            ),
            models.Index(
                fields=[
                    "topic",
                    "partition",
                    "subscription",
                    "order_key",
                    "generation",
                    "offset",
                ],
                condition=Q(
                    order_key__isnull=False,
                    state__in=["scheduled", "sending", "blocked", "held"],
                ),
                name="parked_order",
            ),
            models.Index(
                fields=["lease_until"], condition=Q(state="sending"), name="parked_leases"
            ),
            models.Index(fields=["subscription", "-first_failed_at", "-id"], name="parked_listed"),
            models.Index(fields=["topic", "partition", "offset"], name="parked_position"),
            models.Index(fields=["expires_at"], condition=Q(state="dead"), name="parked_expiring"),
            models.Index(
                fields=["topic", "partition"], condition=Q(state="discarded"), name="parked_marks"
            ),
            models.Index(fields=["id"], condition=Q(reason="gap"), name="parked_gaps"),
            models.Index(
                fields=["replay", "state"], condition=~Q(replay=""), name="parked_of_replay"
            ),
            models.Index(
                fields=["id"],
                condition=Q(state="dead", announced_at=None),
                name="parked_unannounced",
            ),
        ]

    @property
    def is_notice(self) -> bool:
        """Whether it is a notice, which Kafka does not have: its body is all there is of it."""
        return self.topic == NOTICES or self.generation < 0

    @property
    def content(self) -> bytes | None:
        """Return the exact bytes to send, or None; raise SealBroken when they do not open."""
        sealed = None if self.sealed_body is None else self.sealed_body.sealed
        return sealing.opened(self.pk, None if self.body is None else bytes(self.body), sealed)

    def __str__(self) -> str:
        return f"{self.id} {self.state}"


class DeliveryGap(models.Model):
    """Offsets of one lane that will never come, and why.

    Written with the lane's new position in one transaction; the audit row and the notice follow
    from the row, see ``announced_at``.
    """

    class Reason(models.TextChoices):
        RETENTION = "retention"
        TRUNCATED = "truncated"
        RECREATED = "recreated"
        FOREIGN_CLUSTER = "foreign_cluster"
        SKIPPED = "skipped"

    PREFIX: ClassVar[str] = "ntc"

    id = models.CharField(
        primary_key=True, max_length=40, editable=False, default=functools.partial(ids.new, "ntc")
    )
    subscription = models.ForeignKey(Subscription, on_delete=models.CASCADE, related_name="gaps")
    topic = models.CharField(max_length=249)
    partition = models.IntegerField()
    generation = models.IntegerField(default=1)
    from_offset = models.BigIntegerField(help_text="First offset that is missing.")
    to_offset = models.BigIntegerField(
        null=True,
        help_text="First one after the gap; null where the old log's end was never seen.",
    )
    reason = models.CharField(max_length=16, choices=Reason.choices)
    delivery = models.CharField(
        max_length=40,
        blank=True,
        db_default="",
        help_text="The webhook-id that told the subscription of it.",
    )
    replay = models.CharField(
        max_length=40, blank=True, db_default="", help_text="The replay that met it."
    )
    found_at = models.DateTimeField(db_default=Now())
    announced_at = models.DateTimeField(null=True, help_text="When the audit row was written.")

    class Meta:
        db_table = "delivery_gap"
        ordering = ["-found_at", "-id"]
        constraints = [
            models.UniqueConstraint(
                fields=[
                    "subscription",
                    "topic",
                    "partition",
                    "generation",
                    "from_offset",
                    "replay",
                ],
                name="delivery_gap_once",
            ),
        ]
        indexes = [
            models.Index(fields=["delivery"], condition=~Q(delivery=""), name="gap_of_delivery"),
            models.Index(fields=["replay"], condition=~Q(replay=""), name="gap_of_replay"),
            models.Index(
                fields=["found_at"],
                condition=Q(announced_at__isnull=True),
                name="gap_to_announce",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.topic}[{self.partition}] {self.from_offset} to {self.to_offset}"

    @property
    def lost(self) -> int | None:
        """Return how many offsets are missing; None while the end is not known."""
        return None if self.to_offset is None else self.to_offset - self.from_offset


class EndpointStanding(models.Model):
    """What engines know of one endpoint, written every few seconds while they send to it.

    ``engines`` has what each of them has in memory, by its id and with its time; the rest is of
    all together and outlives them.
    """

    endpoint = models.CharField(primary_key=True, max_length=40)
    last_success_at = models.DateTimeField(null=True)
    failing_since = models.DateTimeField(
        null=True, help_text="First failure after the last success; null while there is none."
    )
    last_failure_at = models.DateTimeField(null=True)
    failures = models.IntegerField(default=0, help_text="Since the last success.")
    last_outcome = models.CharField(max_length=32, blank=True)
    last_status = models.IntegerField(null=True)
    engines = models.JSONField(default=dict)
    disabled_at = models.DateTimeField(null=True, help_text="When failing has disabled it.")
    probe_due_at = models.DateTimeField(null=True)
    probe_good_at = models.DateTimeField(
        null=True, help_text="First good probe since the last bad one."
    )
    updated_at = models.DateTimeField(db_default=Now())

    class Meta:
        db_table = "endpoint_standing"
        indexes = [
            models.Index(
                fields=["failing_since"],
                condition=Q(failing_since__isnull=False),
                name="standing_failing",
            )
        ]

    def __str__(self) -> str:
        return self.endpoint


class DeliveryAttempt(models.Model):
    """One request and what came of it; daily range partitions by ``at``, written by COPY only.

    The table and its partitions are made by SQL (``delivery/partitions.py``); rows are never
    changed. The public id is ``att_`` over the time and the number, see ``public_id``.
    """

    class Kind(models.TextChoices):
        FIRST = "first"
        RETRY = "retry"
        PROBE = "probe"
        REPLAY = "replay"
        MANUAL = "manual"
        TEST = "test"

    PREFIX: ClassVar[str] = "att"

    id = models.BigIntegerField(primary_key=True)
    at = models.DateTimeField(help_text="End of the attempt.")
    partner = models.CharField(max_length=40)
    subscription = models.CharField(max_length=40)
    endpoint = models.CharField(max_length=40)
    delivery = models.CharField(max_length=40, help_text="The webhook-id.")
    topic = models.CharField(max_length=249)
    partition = models.IntegerField()
    offset = models.BigIntegerField()
    record_time = models.DateTimeField(null=True)
    key = models.BinaryField(null=True)
    number = models.IntegerField()
    kind = models.CharField(max_length=8, choices=Kind.choices)
    outcome = models.CharField(max_length=32)
    outcome_class = models.CharField(max_length=12)
    http_status = models.IntegerField(null=True)
    duration_us = models.IntegerField()
    timings_us = ArrayField(
        models.IntegerField(),
        help_text="dns, tcp, tls, sent, first_byte, body; each since the start",
    )
    reused = models.BooleanField(help_text="Sent on a connection kept alive.")
    request_bytes = models.IntegerField()
    response_excerpt = models.TextField(null=True)
    response_note = models.CharField(max_length=16, null=True)
    retry_after_s = models.IntegerField(null=True)
    next_attempt_at = models.DateTimeField(null=True)
    secret_ids = ArrayField(models.CharField(max_length=40))
    batch = models.CharField(max_length=40, null=True, help_text="The batch it was sent in.")
    replay = models.CharField(max_length=40, null=True, help_text="The replay it was part of.")

    class Meta:
        managed = False
        db_table = "delivery_attempt"
        ordering = ["-at", "-id"]

    def __str__(self) -> str:
        return f"{self.delivery} #{self.number} {self.outcome}"

    @functools.cached_property
    def public_id(self) -> str:
        """Return ``att_`` + 26 characters: ``at`` in ms and ``id``, so a look-up prunes days."""
        return f"{self.PREFIX}_{ids.encode(int(self.at.timestamp() * 1000), self.id)}"
