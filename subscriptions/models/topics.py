"""Kafka topics that are exposed, and who may use them."""

import functools
import re
from typing import Self

from django.core.validators import RegexValidator
from django.db import models
from django.db.models import Q

from kafkahub import clock, ids
from subscriptions.models.partners import Partner

TOPIC_NAME = re.compile(r"(?!\.{1,2}$)(?!__)[A-Za-z0-9._-]{1,249}")
"""Names Kafka allows, less its internal ones, which can never be exposed."""


class Topic(models.Model):
    """A Kafka topic that operators have opened to partners."""

    class Format(models.TextChoices):
        JSON = "json"
        STRING = "string"
        BINARY = "binary"

    class TypeSource(models.TextChoices):
        CONSTANT = "constant"
        HEADER = "header"
        POINTER = "pointer"

    name = models.CharField(
        primary_key=True, max_length=249, validators=[RegexValidator(TOPIC_NAME)]
    )
    description = models.TextField(blank=True, max_length=2_000)
    format = models.CharField(max_length=8, choices=Format.choices, default=Format.JSON)
    content_type = models.CharField(
        max_length=100,
        default="application/json",
        help_text="Content type of a body in format `raw`.",
    )
    type_source = models.CharField(
        max_length=8, choices=TypeSource.choices, default=TypeSource.CONSTANT
    )
    type_value = models.CharField(
        max_length=200,
        blank=True,
        help_text="The event type, a Kafka header's name, or a JSON pointer. Empty: the topic.",
    )
    example = models.JSONField(null=True, blank=True, help_text="A value as partners will see it.")
    is_sandbox = models.BooleanField(
        default=False, help_text="Seen by test keys only; other topics by live keys only."
    )
    is_sensitive = models.BooleanField(
        default=False, help_text="Parked payloads are sealed at rest."
    )
    is_enabled = models.BooleanField(default=True)
    version = models.PositiveIntegerField(default=1, editable=False)
    created_at = models.DateTimeField(default=clock.now, editable=False)
    updated_at = models.DateTimeField(default=clock.now, editable=False)

    class Meta:
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name


class GrantQuerySet(models.QuerySet["Grant"]):
    """Questions about grants."""

    def alive(self) -> Self:
        """Return the grants in force now: not ended, of an active partner, on an enabled topic."""
        in_time = Q(valid_until__isnull=True) | Q(valid_until__gt=clock.now())
        return self.filter(in_time, partner__status=Partner.Status.ACTIVE, topic__is_enabled=True)


class Grant(models.Model):
    """A partner may read or write a topic, and which records in which form.

    What the JSON columns hold is told in ``subscriptions.grant_rules``.
    """

    class Action(models.TextChoices):
        READ = "read"
        WRITE = "write"

    id = models.CharField(
        primary_key=True, max_length=40, editable=False, default=functools.partial(ids.new, "grt")
    )
    partner = models.ForeignKey(Partner, on_delete=models.CASCADE, related_name="grants")
    topic = models.ForeignKey(Topic, on_delete=models.CASCADE, related_name="grants")
    action = models.CharField(max_length=5, choices=Action.choices, default=Action.READ)
    valid_until = models.DateTimeField(null=True, blank=True)
    key_rule = models.JSONField(
        null=True,
        blank=True,
        help_text='Which keys: {"equals": "c-1"}, {"prefix": "eu-"} or {"in": ["a", "b"]}.',
    )
    row_filter = models.JSONField(
        default=dict, blank=True, help_text="Which records, by the filter language, on the whole."
    )
    fields = models.JSONField(
        null=True,
        blank=True,
        help_text='Shown members as JSON pointers, such as ["/id", "/items/*/price"]. '
        "Empty: the whole value.",
    )
    masks = models.JSONField(
        default=dict,
        blank=True,
        help_text='Pointer to drop, null, last4, hash or year, such as {"/card": "last4"}.',
    )
    headers = models.JSONField(
        null=True,
        blank=True,
        help_text="Names of the Kafka headers that are shown. Empty: all where the value is "
        "whole, none where it is not.",
    )
    key_visible = models.BooleanField(default=True, help_text="If not, a hash of it is shown.")
    history_from = models.DateTimeField(
        null=True, blank=True, help_text="Older records are not shown."
    )
    max_bytes = models.PositiveIntegerField(
        null=True, blank=True, help_text="Larger records are not shown."
    )
    quota = models.JSONField(
        null=True,
        blank=True,
        help_text='What may be used in a day or month (UTC), such as {"period": "month", '
        '"records": 1000000, "hard": true}; also "bytes". Not hard: only told of.',
    )
    allow_unconfirmed = models.BooleanField(
        default=False,
        help_text="Writing: the partner may ask for an answer before Kafka's (`ack=enqueued`); "
        "records are lost when our process dies.",
    )
    hide_offsets = models.BooleanField(
        default=False,
        help_text="Writing: answers tell no offsets, which would count the records of others.",
    )
    spent_until = models.DateTimeField(
        null=True, editable=False, help_text="A hard quota is used up until then."
    )
    version = models.PositiveIntegerField(default=1, editable=False)
    created_at = models.DateTimeField(default=clock.now, editable=False)
    updated_at = models.DateTimeField(default=clock.now, editable=False)

    objects = GrantQuerySet.as_manager()

    class Meta:
        ordering = ["-id"]
        constraints = [
            models.UniqueConstraint(fields=["partner", "topic", "action"], name="grant_once")
        ]

    def __str__(self) -> str:
        return f"{self.partner} may {self.action} {self.topic_id}"

    @property
    def is_filtered(self) -> bool:
        """Whether it hides whole records, so that no offset and no count of them may be shown."""
        return self.key_rule is not None or bool(self.row_filter)

    @property
    def is_masked(self) -> bool:
        """Whether it shows values in part only."""
        return self.fields is not None or bool(self.masks)
