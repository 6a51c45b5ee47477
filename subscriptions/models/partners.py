"""Partners and the API keys they come with."""

import functools
from typing import Self

from django.contrib.postgres.fields import ArrayField
from django.db import models

from kafkahub import clock, ids
from subscriptions.models.plans import Plan

MAX_NAME = 100
MAX_ORIGIN = 300


class Partner(models.Model):
    """A company outside; the tenant that every owned object belongs to."""

    class Status(models.TextChoices):
        ACTIVE = "active"
        SUSPENDED = "suspended"

    id = models.CharField(
        primary_key=True, max_length=40, editable=False, default=functools.partial(ids.new, "ptn")
    )
    name = models.CharField(max_length=MAX_NAME, unique=True)
    status = models.CharField(max_length=16, choices=Status.choices, default=Status.ACTIVE)
    contact = models.EmailField(blank=True, help_text="Where notices go.")
    allowed_origins = ArrayField(
        models.CharField(max_length=MAX_ORIGIN),
        default=list,
        blank=True,
        help_text="Web origins whose pages may open streams, such as https://shop.example.com.",
    )
    plan = models.ForeignKey(
        Plan,
        null=True,
        blank=True,
        on_delete=models.PROTECT,
        help_text="What the partner may use; empty for the default plan.",
    )
    needs_second_factor = models.BooleanField(
        default=False, help_text="Its members open the portal with a second factor only."
    )
    version = models.PositiveIntegerField(default=1, editable=False)
    created_at = models.DateTimeField(default=clock.now, editable=False)
    updated_at = models.DateTimeField(default=clock.now, editable=False)

    class Meta:
        ordering = ["-id"]

    def __str__(self) -> str:
        return self.name


class ApiKeyQuerySet(models.QuerySet["ApiKey"]):
    """Questions about keys."""

    def live(self) -> Self:
        """Return the keys that are neither revoked nor expired."""
        return self.filter(revoked_at__isnull=True, expires_at__gt=clock.now())


class ApiKey(models.Model):
    """A credential of a partner; the key itself is never stored, only its keyed hash."""

    class Mode(models.TextChoices):
        LIVE = "live"
        TEST = "test"

    class Status(models.TextChoices):
        ACTIVE = "active"
        EXPIRED = "expired"
        REVOKED = "revoked"

    id = models.CharField(
        primary_key=True, max_length=40, editable=False, default=functools.partial(ids.new, "key")
    )
    partner = models.ForeignKey(Partner, on_delete=models.CASCADE, related_name="keys")
    public_id = models.CharField(max_length=12, unique=True, editable=False)
    digest = models.BinaryField(editable=False, help_text="HMAC-SHA256 of the key under a pepper.")
    pepper_id = models.CharField(max_length=32, editable=False)
    name = models.CharField(max_length=MAX_NAME)
    mode = models.CharField(max_length=4, choices=Mode.choices, default=Mode.LIVE)
    scopes = ArrayField(models.CharField(max_length=300), default=list)
    topics = ArrayField(
        models.CharField(max_length=249),
        null=True,
        blank=True,
        help_text="Topics the key is limited to; empty for all that the partner's grants allow.",
    )
    allowed_cidrs = ArrayField(models.CharField(max_length=50), default=list, blank=True)
    certificate_sha256 = models.CharField(
        max_length=64,
        null=True,
        blank=True,
        help_text="Client certificate it is good with only: SHA-256 in hex. Empty: none.",
    )
    plan = models.ForeignKey(
        Plan,
        null=True,
        blank=True,
        on_delete=models.PROTECT,
        help_text="What this key may use; empty for the partner's plan.",
    )
    created_by = models.CharField(max_length=100, editable=False)
    not_before = models.DateTimeField(default=clock.now)
    expires_at = models.DateTimeField()
    revoked_at = models.DateTimeField(null=True, blank=True, editable=False)
    revoke_reason = models.CharField(max_length=200, blank=True, editable=False)
    slowed_until = models.DateTimeField(
        null=True, blank=True, editable=False, help_text="Until then it has a tenth of its rates."
    )
    last_used_at = models.DateTimeField(null=True, editable=False)
    last_used_ip = models.GenericIPAddressField(null=True, editable=False)
    last_used_agent = models.CharField(max_length=200, blank=True, editable=False)
    version = models.PositiveIntegerField(default=1, editable=False)
    created_at = models.DateTimeField(default=clock.now, editable=False)
    updated_at = models.DateTimeField(default=clock.now, editable=False)

    objects = ApiKeyQuerySet.as_manager()

    class Meta:
        ordering = ["-id"]
        indexes = [
            models.Index(fields=["partner", "name"], name="apikey_partner_name"),
            models.Index(
                fields=["slowed_until"],
                condition=models.Q(slowed_until__isnull=False),
                name="apikey_slowed",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.name} (khk_{self.mode}_{self.public_id[:4]}…)"

    @property
    def status(self) -> Status:
        if self.revoked_at is not None:
            return self.Status.REVOKED
        return self.Status.ACTIVE if self.expires_at > clock.now() else self.Status.EXPIRED
