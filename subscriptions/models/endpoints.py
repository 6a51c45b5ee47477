"""Partners' endpoints and the secrets that sign what is sent to them."""

import functools
from typing import Self
from urllib.parse import urlsplit

from django.db import models
from django.db.models import Q

from kafkahub import clock, ids
from kafkahub.fields import EncryptedField
from subscriptions.models.partners import MAX_NAME, Partner

MAX_URL = 2_048


class Endpoint(models.Model):
    """A URL of a partner, with the limits it asked for."""

    class Status(models.TextChoices):
        UNVERIFIED = "unverified"
        ACTIVE = "active"
        DISABLED = "disabled"

    class StatusReason(models.TextChoices):
        NONE = ""
        MANUAL = "manual"
        OPERATOR = "operator"
        GONE = "gone"
        FAILING = "failing"
        UNVERIFIED = "unverified"

    class Method(models.TextChoices):
        CHALLENGE = "challenge"
        CLOUDEVENTS = "cloudevents"
        TRUSTED = "trusted"

    id = models.CharField(
        primary_key=True, max_length=40, editable=False, default=functools.partial(ids.new, "ep")
    )
    partner = models.ForeignKey(Partner, on_delete=models.CASCADE, related_name="endpoints")
    name = models.CharField(max_length=MAX_NAME)
    description = models.TextField(blank=True, max_length=2_000)
    url = models.CharField(max_length=MAX_URL, help_text="In canonical form, as it is dialled.")
    status = models.CharField(max_length=16, choices=Status.choices, default=Status.ACTIVE)
    status_reason = models.CharField(
        max_length=16, choices=StatusReason.choices, default=StatusReason.NONE, blank=True
    )
    is_verified = models.BooleanField(
        default=True,
        db_default=True,
        help_text="Whether it has shown that it wants what it is sent.",
    )
    verification_method = models.CharField(
        max_length=12,
        choices=Method.choices,
        default=Method.TRUSTED,
        db_default=Method.TRUSTED,
        help_text="How it shows that, or `trusted`: it need not.",
    )
    allowed_rate_per_min = models.PositiveIntegerField(
        null=True, blank=True, help_text="Requests a minute that it consented to; null: any."
    )
    rate_per_s = models.FloatField(
        null=True, blank=True, help_text="Requests a second at most; null: as many as it bears."
    )
    is_auto_disabled = models.BooleanField(
        default=True,
        db_default=True,
        help_text="Whether it is disabled when nothing gets through for long.",
    )
    disable_after_h = models.PositiveIntegerField(default=120, db_default=120)
    is_auto_recovered = models.BooleanField(
        default=True,
        db_default=True,
        help_text="Whether it is probed, and enabled again, after that.",
    )
    timeout_ms = models.PositiveIntegerField(default=15_000)
    connect_timeout_ms = models.PositiveIntegerField(default=5_000)
    max_in_flight = models.PositiveIntegerField(default=32)
    max_body_bytes = models.PositiveIntegerField(default=1024 * 1024)
    headers = EncryptedField(
        null=True,
        blank=True,
        editable=False,
        help_text="JSON object of custom header names and values.",
    )
    auth = EncryptedField(
        null=True,
        blank=True,
        editable=False,
        help_text="JSON object of what we log in with; null: nothing.",
    )
    tls = EncryptedField(
        null=True,
        blank=True,
        editable=False,
        help_text="JSON object of PEM texts: client certificate, its key, authorities.",
    )
    tls_expires_at = models.DateTimeField(
        null=True,
        blank=True,
        editable=False,
        help_text="When the first certificate of its TLS material ends.",
    )
    signatures = models.JSONField(
        null=True,
        blank=True,
        editable=False,
        help_text="What is signed beside the standard headers; null: nothing.",
    )
    version = models.PositiveIntegerField(default=1, editable=False)
    created_at = models.DateTimeField(default=clock.now, editable=False)
    updated_at = models.DateTimeField(default=clock.now, editable=False)

    class Meta:
        ordering = ["-id"]

    @property
    def host(self) -> str:
        """The host that its URL names, in lower case."""
        return urlsplit(self.url).hostname or ""

    def __str__(self) -> str:
        return f"{self.name} ({self.url})"


class Handshake(models.Model):
    """How an endpoint's proof stands; no row where none was ever asked for.

    A table of its own: engines read endpoints again whenever one changes, and a try changes none.
    """

    class State(models.TextChoices):
        PENDING = "pending"
        VERIFIED = "verified"
        FAILED = "failed"

    endpoint = models.OneToOneField(
        Endpoint, primary_key=True, on_delete=models.CASCADE, related_name="handshake"
    )
    state = models.CharField(max_length=8, choices=State.choices, default=State.PENDING)
    detail = models.CharField(max_length=500, blank=True, help_text="What went wrong last, or why.")
    tries = models.PositiveSmallIntegerField(default=0)
    due_at = models.DateTimeField(null=True, help_text="Next try; null: none by itself.")
    last_at = models.DateTimeField(null=True)
    since = models.DateTimeField(help_text="Since when the proof is missing, or holds.")
    callback_hash = models.BinaryField(null=True, help_text="SHA-256 of a token to consent with.")
    callback_until = models.DateTimeField(null=True)

    class Meta:
        indexes = [
            models.Index(
                fields=["due_at"], condition=Q(due_at__isnull=False), name="handshake_due"
            ),
            models.Index(
                fields=["since"], condition=~Q(state="verified"), name="handshake_missing"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.endpoint_id} {self.state}"


class HandshakeRun(models.Model):
    """That handshakes were begun with a host: so nobody makes us flood it. Kept a day."""

    endpoint = models.CharField(max_length=40)
    host = models.CharField(max_length=253)
    at = models.DateTimeField()

    class Meta:
        indexes = [
            models.Index(fields=["host", "at"], name="handshakes_of_host"),
            models.Index(fields=["endpoint", "at"], name="handshakes_of_endpoint"),
        ]

    def __str__(self) -> str:
        return f"{self.host} {self.at:%H:%M:%S}"


class SigningSecretQuerySet(models.QuerySet["SigningSecret"]):
    """Questions about signing secrets."""

    def signing(self) -> Self:
        """Return the secrets that sign now: active ones and those still in their overlap."""
        return self.filter(Q(expires_at__isnull=True) | Q(expires_at__gt=clock.now()))


class SigningSecret(models.Model):
    """A secret of one endpoint; several sign at once while a rotation lasts."""

    class Kind(models.TextChoices):
        HMAC = "hmac"
        ED25519 = "ed25519"

    class Status(models.TextChoices):
        ACTIVE = "active"
        RETIRING = "retiring"
        RETIRED = "retired"

    id = models.CharField(
        primary_key=True, max_length=40, editable=False, default=functools.partial(ids.new, "sec")
    )
    endpoint = models.ForeignKey(Endpoint, on_delete=models.CASCADE, related_name="secrets")
    kind = models.CharField(max_length=8, choices=Kind.choices, default=Kind.HMAC)
    secret = EncryptedField(editable=False, help_text="whsec_… or whsk_…")
    public_key = models.CharField(
        max_length=60, blank=True, editable=False, help_text="whpk_… of an ed25519 pair."
    )
    created_at = models.DateTimeField(default=clock.now, editable=False)
    expires_at = models.DateTimeField(
        null=True, blank=True, help_text="When it stops signing; empty while it is the active one."
    )

    objects = SigningSecretQuerySet.as_manager()

    class Meta:
        ordering = ["-id"]
        constraints = [
            models.UniqueConstraint(
                fields=["endpoint", "kind"],
                condition=Q(expires_at__isnull=True),
                name="one_active_secret_a_kind",
            )
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.id}"

    @property
    def status(self) -> Status:
        if self.expires_at is None:
            return self.Status.ACTIVE
        return self.Status.RETIRING if self.expires_at > clock.now() else self.Status.RETIRED
