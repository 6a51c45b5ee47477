"""Where each subscription stands; here because the API fixes the start and engines move it."""

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from subscriptions.models.subscriptions import Subscription


class LanePosition(models.Model):
    """Where one subscription stands on one partition, when that is not the floor.

    ``LIVE``: it stands at the higher of ``next_offset`` and the floor. ``BEHIND`` and ``PAUSED``:
    it owes everything from ``next_offset`` but the offsets in ``ahead``.
    """

    class State(models.TextChoices):
        LIVE = "live"
        BEHIND = "behind"
        PAUSED = "paused"

    class Reason(models.TextChoices):
        NONE = ""
        START = "start"
        OVERFLOW = "overflow"
        ENDPOINT_DOWN = "endpoint_down"
        THROTTLED = "throttled"
        PARKED_FULL = "parked_full"
        SUBSCRIPTION = "subscription"
        RECREATED = "recreated"
        SEEK = "seek"
        GRANT_CHANGED = "grant_changed"
        HEAD = "head"
        HELD = "held"

    subscription = models.ForeignKey(Subscription, on_delete=models.CASCADE, related_name="lanes")
    topic = models.CharField(max_length=249)
    partition = models.IntegerField()
    state = models.CharField(max_length=8, choices=State.choices, default=State.BEHIND)
    reason = models.CharField(
        max_length=16, choices=Reason.choices, default=Reason.START, blank=True
    )
    next_offset = models.BigIntegerField()
    ahead = ArrayField(
        models.BigIntegerField(), default=list, help_text="Settled offsets above next_offset."
    )
    since = models.DateTimeField(
        db_default=Now(), help_text="Start of this pass: last seek or start."
    )
    seeks = models.IntegerField(
        default=0,
        db_default=0,
        help_text="Rises when a person moves the lane: an engine that moves an older one writes"
        " nothing.",
    )
    head_attempts = models.IntegerField(
        db_default=0,
        help_text="Attempts that counted of the record at next_offset, in a serial lane.",
    )
    not_before = models.DateTimeField(
        null=True, help_text="When that record is tried again; null: at once."
    )
    updated_at = models.DateTimeField(db_default=Now())

    class Meta:
        db_table = "lane_position"
        constraints = [
            models.UniqueConstraint(
                fields=["subscription", "topic", "partition"], name="lane_position_once"
            ),
            models.CheckConstraint(condition=Q(next_offset__gte=0), name="lane_position_offset"),
        ]
        indexes = [models.Index(fields=["topic", "partition"], name="lane_position_partition")]

    def __str__(self) -> str:
        return f"{self.topic}[{self.partition}] {self.state} at {self.next_offset}"
