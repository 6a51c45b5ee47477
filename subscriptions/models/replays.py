"""Replays: lanes with an end; here because the API makes them and engines move them."""

import functools
from typing import ClassVar

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from kafkahub import clock, ids
from subscriptions.models.endpoints import Endpoint
from subscriptions.models.partners import Partner
from subscriptions.models.subscriptions import Subscription


class Replay(models.Model):
    """Records sent again, asked for once; its state and settings, which engines follow.

    Figures that move are in ``ReplayProgress``, places in ``ReplayLane``: a change here makes
    every engine read its subscriptions anew.
    """

    class State(models.TextChoices):
        COUNTING = "counting"
        READY = "ready"
        RUNNING = "running"
        PAUSED = "paused"
        DONE = "done"
        CANCELLED = "cancelled"
        FAILED = "failed"

    class Source(models.TextChoices):
        KAFKA = "kafka"
        PARKED = "parked"

    PREFIX: ClassVar[str] = "rep"
    OPEN: ClassVar[tuple[State, ...]] = (
        State.COUNTING,
        State.READY,
        State.RUNNING,
        State.PAUSED,
    )

    id = models.CharField(
        primary_key=True, max_length=40, editable=False, default=functools.partial(ids.new, "rep")
    )
    partner = models.ForeignKey(Partner, on_delete=models.CASCADE, related_name="replays")
    subscription = models.ForeignKey(Subscription, on_delete=models.CASCADE, related_name="replays")
    endpoint = models.ForeignKey(
        Endpoint,
        null=True,
        on_delete=models.CASCADE,
        related_name="replays",
        help_text="Null for the subscription's own.",
    )
    state = models.CharField(max_length=10, choices=State.choices, default=State.COUNTING)
    reason = models.CharField(max_length=200, blank=True, help_text="Why it ended early.")
    kind = models.CharField(max_length=8, choices=Source.choices)
    source = models.JSONField(help_text="As it was asked for.")
    filter = models.JSONField(default=dict, help_text="Narrows the subscription's own.")
    only_missing = models.BooleanField(default=False)
    rate_per_s = models.FloatField(null=True)
    auto_start = models.BooleanField(default=False)
    version = models.PositiveIntegerField(default=1)
    created_at = models.DateTimeField(default=clock.now)
    ready_at = models.DateTimeField(null=True)
    started_at = models.DateTimeField(null=True)
    ended_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ["-id"]
        indexes = [
            models.Index(
                fields=["partner", "subscription"],
                condition=Q(state__in=["counting", "ready", "running", "paused"]),
                name="replay_open",
            )
        ]

    def __str__(self) -> str:
        return f"{self.id} {self.state}"


class ReplayLane(models.Model):
    """One partition of a replay: everything from ``from_offset`` to before ``end_offset``."""

    replay = models.ForeignKey(Replay, on_delete=models.CASCADE, related_name="lanes")
    topic = models.CharField(max_length=249)
    partition = models.IntegerField()
    from_offset = models.BigIntegerField()
    next_offset = models.BigIntegerField(help_text="Everything below it is settled.")
    end_offset = models.BigIntegerField()
    counted_to = models.BigIntegerField(help_text="How far the dry run has read.")

    class Meta:
        db_table = "replay_lane"
        constraints = [
            models.UniqueConstraint(
                fields=["replay", "topic", "partition"], name="replay_lane_once"
            )
        ]
        indexes = [models.Index(fields=["topic", "partition"], name="replay_lane_partition")]

    def __str__(self) -> str:
        return f"{self.topic}[{self.partition}] at {self.next_offset} of {self.end_offset}"


class ReplayProgress(models.Model):
    """What a replay has found and done so far, written with what it counts."""

    replay = models.OneToOneField(
        Replay, primary_key=True, on_delete=models.CASCADE, related_name="progress"
    )
    count = models.BigIntegerField(default=0, help_text="Records that match, by the dry run.")
    is_exact = models.BooleanField(default=True)
    bytes = models.BigIntegerField(default=0)
    first_at = models.DateTimeField(null=True)
    last_at = models.DateTimeField(null=True)
    already_delivered = models.BigIntegerField(default=0)
    sent = models.BigIntegerField(default=0)
    delivered = models.BigIntegerField(default=0)
    failed = models.BigIntegerField(default=0)
    parked = models.BigIntegerField(default=0)
    updated_at = models.DateTimeField(db_default=Now())

    class Meta:
        db_table = "replay_progress"

    def __str__(self) -> str:
        return f"{self.replay_id}: {self.delivered} of {self.count}"
