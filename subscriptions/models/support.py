"""Looks of operators at a partner's portal."""

import functools
from datetime import datetime, timedelta
from typing import Self

from django.conf import settings
from django.db import models

from kafkahub import clock, ids
from subscriptions.models.partners import Partner

VISIT_LIFE = timedelta(minutes=30)


class SupportVisitQuerySet(models.QuerySet["SupportVisit"]):
    """Questions about visits."""

    def open(self) -> Self:
        """Return those that still show something: not ended, in time."""
        return self.filter(ended_at__isnull=True, expires_at__gt=clock.now())


class SupportVisit(models.Model):
    """An operator reads one partner's portal, for a reason, for half an hour."""

    id = models.CharField(
        primary_key=True, max_length=40, editable=False, default=functools.partial(ids.new, "vis")
    )
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="support_visits"
    )
    partner = models.ForeignKey(Partner, on_delete=models.CASCADE, related_name="support_visits")
    reason = models.CharField(max_length=200)
    opened_at = models.DateTimeField(default=clock.now, editable=False)
    expires_at = models.DateTimeField(editable=False)
    ended_at = models.DateTimeField(null=True, editable=False)
    pages = models.JSONField(
        default=list, editable=False, help_text="Addresses looked at, each once, in order."
    )

    objects = SupportVisitQuerySet.as_manager()

    class Meta:
        ordering = ["-id"]
        permissions = [("support_view", "Can look at a partner's portal, read only")]
        constraints = [
            models.UniqueConstraint(
                fields=["user", "partner"],
                condition=models.Q(ended_at__isnull=True),
                name="support_visit_once",
            )
        ]

    @property
    def until(self) -> datetime:
        """When it was over, or will be."""
        return self.ended_at or self.expires_at

    def __str__(self) -> str:
        return f"{self.user} at {self.partner}"
