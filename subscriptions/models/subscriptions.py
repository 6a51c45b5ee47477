"""Subscriptions: which records go to which endpoint, in which form."""

import functools
from typing import Self

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import Q

from kafkahub import clock, ids
from subscriptions.models.endpoints import Endpoint
from subscriptions.models.partners import MAX_NAME, Partner

DEFAULT_SCHEDULE_S = [5, 300, 1_800, 7_200, 18_000, 36_000, 50_400, 72_000, 86_400]
"""Seconds between the end of one attempt and the next: 10 attempts in 75 h 35 m 5 s."""


def default_schedule() -> list[int]:
    """Return a fresh copy of the default retry schedule in seconds."""
    return list(DEFAULT_SCHEDULE_S)


class SubscriptionQuerySet(models.QuerySet["Subscription"]):
    """Questions about subscriptions."""

    def webhooks(self) -> Self:
        """Return those that are sent to endpoints; pull groups come for their records."""
        return self.exclude(mode=Subscription.Mode.PULL)


class Subscription(models.Model):
    """Records of some topics that pass a filter: owed to an endpoint, or pulled by a group.

    One of notices has no topics: it is sent what its partner is told.
    """

    class Mode(models.TextChoices):
        WEBHOOK = "webhook"
        PULL = "pull"
        NOTICES = "notices"

    class Status(models.TextChoices):
        ACTIVE = "active"
        PAUSED = "paused"
        SUSPENDED = "suspended"

    class Format(models.TextChoices):
        ENVELOPE = "envelope"
        RAW = "raw"
        CLOUDEVENTS_STRUCTURED = "cloudevents_structured"
        CLOUDEVENTS_BINARY = "cloudevents_binary"

    class Ordering(models.TextChoices):
        NONE = "none"
        KEY = "key"
        PARTITION = "partition"

    class OnExhausted(models.TextChoices):
        DEAD_LETTER = "dead_letter"
        HOLD = "hold"

    id = models.CharField(
        primary_key=True, max_length=40, editable=False, default=functools.partial(ids.new, "sub")
    )
    partner = models.ForeignKey(Partner, on_delete=models.CASCADE, related_name="subscriptions")
    mode = models.CharField(
        max_length=8, choices=Mode.choices, default=Mode.WEBHOOK, editable=False
    )
    endpoint = models.ForeignKey(
        Endpoint,
        null=True,
        on_delete=models.PROTECT,
        related_name="subscriptions",
        help_text="Null for a pull group: its instances come for the records.",
    )
    name = models.CharField(max_length=MAX_NAME)
    status = models.CharField(max_length=16, choices=Status.choices, default=Status.ACTIVE)
    status_reason = models.CharField(max_length=40, blank=True)
    topics = ArrayField(models.CharField(max_length=249))
    types = ArrayField(models.CharField(max_length=128), default=list, blank=True)
    filter = models.JSONField(default=dict, blank=True)
    format = models.CharField(max_length=24, choices=Format.choices, default=Format.ENVELOPE)
    include = ArrayField(models.CharField(max_length=16), default=list, blank=True)
    ordering = models.CharField(max_length=10, choices=Ordering.choices, default=Ordering.NONE)
    retry_schedule_s = ArrayField(
        models.PositiveIntegerField(), default=default_schedule, blank=True
    )
    retry_jitter = models.FloatField(default=0.2)
    rate_per_s = models.FloatField(
        null=True, blank=True, help_text="Requests a second at most, within its endpoint's."
    )
    on_exhausted = models.CharField(
        max_length=12,
        choices=OnExhausted.choices,
        default=OnExhausted.DEAD_LETTER,
        db_default="dead_letter",
    )
    batch = models.JSONField(
        null=True, blank=True, help_text="Limits of a batch; null: one record a request."
    )
    trace = models.BooleanField(default=True)
    start = models.JSONField(
        default=str, help_text='"latest", "earliest" or {"time": …}, as it was asked for.'
    )
    seeks = models.IntegerField(
        default=0, db_default=0, editable=False, help_text="Rises when its lanes are moved by hand."
    )
    version = models.PositiveIntegerField(default=1, editable=False)
    created_at = models.DateTimeField(default=clock.now, editable=False)
    updated_at = models.DateTimeField(default=clock.now, editable=False)

    objects = SubscriptionQuerySet.as_manager()

    class Meta:
        ordering = ["-id"]
        constraints = [
            models.CheckConstraint(
                condition=Q(mode="pull", endpoint__isnull=True)
                | Q(mode__in=["webhook", "notices"], endpoint__isnull=False),
                name="subscription_mode",
            )
        ]

    def __str__(self) -> str:
        return self.name
