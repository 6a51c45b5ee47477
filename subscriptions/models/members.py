"""People: who may act for a partner, and who is asked to."""

import functools
from datetime import timedelta
from typing import Self

from django.conf import settings
from django.db import models

from kafkahub import clock, ids
from subscriptions.models.partners import Partner

MAX_EMAIL = 150
"""Characters of an address: it is the user name as well, which Django keeps that short."""
INVITATION_LIFE = timedelta(hours=24)


class Role(models.TextChoices):
    """What a member may do, each what the one before may and more; see ``scopes.of_role``."""

    VIEWER = "viewer"
    DEVELOPER = "developer"
    OWNER = "owner"


class Member(models.Model):
    """One person acting for one partner; a person may be a member of several."""

    id = models.CharField(
        primary_key=True, max_length=40, editable=False, default=functools.partial(ids.new, "mem")
    )
    partner = models.ForeignKey(Partner, on_delete=models.CASCADE, related_name="members")
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="memberships"
    )
    role = models.CharField(max_length=10, choices=Role.choices, default=Role.VIEWER)
    created_at = models.DateTimeField(default=clock.now, editable=False)

    class Meta:
        ordering = ["-id"]
        constraints = [models.UniqueConstraint(fields=["partner", "user"], name="member_once")]

    def __str__(self) -> str:
        return f"{self.user} ({self.role})"


class InvitationQuerySet(models.QuerySet["Invitation"]):
    """Questions about invitations."""

    def open(self) -> Self:
        """Return those that still let somebody in: unused, not withdrawn, in time."""
        return self.filter(used_at__isnull=True, expires_at__gt=clock.now())


class Invitation(models.Model):
    """The right to become a member, once; only the hash of its text is kept."""

    id = models.CharField(
        primary_key=True, max_length=40, editable=False, default=functools.partial(ids.new, "inv")
    )
    secret_hash = models.BinaryField(unique=True, editable=False, help_text="SHA-256 of the text.")
    partner = models.ForeignKey(Partner, on_delete=models.CASCADE, related_name="invitations")
    email = models.EmailField(max_length=MAX_EMAIL)
    role = models.CharField(max_length=10, choices=Role.choices, default=Role.DEVELOPER)
    invited_by = models.CharField(max_length=150, editable=False)
    created_at = models.DateTimeField(default=clock.now, editable=False)
    expires_at = models.DateTimeField(editable=False)
    used_at = models.DateTimeField(null=True, editable=False)

    objects = InvitationQuerySet.as_manager()

    class Meta:
        ordering = ["-id"]

    def __str__(self) -> str:
        return f"{self.email} ({self.role})"
