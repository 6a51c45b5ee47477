"""Stream tickets: what a browser opens one stream with, in place of a key it must not have."""

import functools
from typing import Self

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import Q

from kafkahub import clock, ids
from subscriptions.models.members import Member
from subscriptions.models.partners import MAX_ORIGIN, ApiKey, Partner


class StreamTicketQuerySet(models.QuerySet["StreamTicket"]):
    """Questions about tickets."""

    def live(self) -> Self:
        """Return the tickets that open a stream now: not over, not revoked, opened in time."""
        now = clock.now()
        was_opened_in_time = Q(opened_at__isnull=False) | Q(open_before__gt=now)
        return self.filter(was_opened_in_time, revoked_at__isnull=True, expires_at__gt=now)


class StreamTicket(models.Model):
    """The right to open streams of one topic set; only the hash of its secret is kept.

    A row ends with its issuer, and is deleted a day after its own end.
    """

    class Transport(models.TextChoices):
        SSE = "sse"
        WS = "ws"

    class Format(models.TextChoices):
        ENVELOPE = "envelope"
        RAW = "raw"
        CLOUDEVENTS = "cloudevents"

    id = models.CharField(
        primary_key=True, max_length=40, editable=False, default=functools.partial(ids.new, "tkt")
    )
    secret_hash = models.BinaryField(unique=True, editable=False, help_text="SHA-256 of the text.")
    partner = models.ForeignKey(Partner, on_delete=models.CASCADE, related_name="tickets")
    issuer = models.ForeignKey(
        ApiKey, null=True, on_delete=models.CASCADE, related_name="tickets", help_text="Its key."
    )
    member = models.ForeignKey(
        Member,
        null=True,
        on_delete=models.CASCADE,
        related_name="tickets",
        help_text="Who made it in the portal, where no key did.",
    )
    topics = ArrayField(models.CharField(max_length=249), help_text="In the order of its URL.")
    filter = models.JSONField(null=True, help_text="Null: the URL may bring one.")
    format = models.CharField(
        max_length=11, choices=Format.choices, blank=True, help_text="Empty: the URL may name one."
    )
    transports = ArrayField(models.CharField(max_length=3, choices=Transport.choices))
    origin = models.CharField(
        max_length=MAX_ORIGIN, blank=True, help_text="Empty: the origin of a page does not matter."
    )
    produce = models.BooleanField(default=False)
    max_connections = models.PositiveSmallIntegerField(default=2)
    created_at = models.DateTimeField(default=clock.now, editable=False)
    open_before = models.DateTimeField(help_text="When a ticket dies that was never opened.")
    opened_at = models.DateTimeField(null=True, editable=False)
    expires_at = models.DateTimeField(db_index=True)
    revoked_at = models.DateTimeField(null=True, editable=False)

    objects = StreamTicketQuerySet.as_manager()

    class Meta:
        ordering = ["-id"]
        indexes = [models.Index(fields=["partner", "expires_at"], name="ticket_partner_end")]
        constraints = [
            models.CheckConstraint(
                condition=Q(issuer__isnull=True) ^ Q(member__isnull=True), name="ticket_one_issuer"
            )
        ]

    def __str__(self) -> str:
        return self.id
