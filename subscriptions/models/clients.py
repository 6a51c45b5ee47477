"""OAuth clients of partners, and the issuers of tokens that are not ours."""

import functools
from typing import TYPE_CHECKING

from django.contrib.postgres.fields import ArrayField
from django.db import models

from kafkahub import clock, ids
from subscriptions.models.partners import MAX_NAME, Partner

if TYPE_CHECKING:

    class AbstractApplication(models.Model):
        """The members of django-oauth-toolkit's, which carries no types, that we use."""

        CLIENT_CONFIDENTIAL = "confidential"
        GRANT_CLIENT_CREDENTIALS = "client-credentials"
        client_id = models.CharField(max_length=255, unique=True)
        client_secret = models.CharField(max_length=255)
        client_type = models.CharField(max_length=32)
        authorization_grant_type = models.CharField(max_length=44)
        name = models.CharField(max_length=255)

        class Meta:
            abstract = True

else:
    from oauth2_provider.models import AbstractApplication

MAX_SCOPE = 300
MAX_TOPIC = 249
MAX_CIDR = 50
MAX_CLAIM = 300
MAX_AGE_S = 86_400
"""Longest life of a foreign token, in seconds; an issuer may be held to less."""


class Mode(models.TextChoices):
    """Which topics exist for a token: sandbox ones for test, the others for live."""

    LIVE = "live"
    TEST = "test"


class OAuthClient(AbstractApplication):
    """A program of a partner that fetches its own tokens; of its secrets only hashes are kept.

    ``client_secret`` is the hash of the newest secret, ``older_secret`` that of the one before,
    which is good until ``older_secret_until``.
    """

    class Status(models.TextChoices):
        ACTIVE = "active"
        REVOKED = "revoked"

    id = models.CharField(
        primary_key=True, max_length=40, editable=False, default=functools.partial(ids.new, "cli")
    )
    partner = models.ForeignKey(Partner, on_delete=models.CASCADE, related_name="clients")
    mode = models.CharField(max_length=4, choices=Mode.choices, default=Mode.LIVE)
    scopes = ArrayField(models.CharField(max_length=MAX_SCOPE), default=list)
    default_scopes = ArrayField(
        models.CharField(max_length=MAX_SCOPE),
        default=list,
        blank=True,
        help_text="What a token gets when none is asked for; empty: then there is no token.",
    )
    topics = ArrayField(
        models.CharField(max_length=MAX_TOPIC),
        null=True,
        blank=True,
        help_text="Topics the client is limited to; empty for all that the grants allow.",
    )
    allowed_cidrs = ArrayField(models.CharField(max_length=MAX_CIDR), default=list, blank=True)
    certificate_sha256 = models.CharField(
        max_length=64,
        null=True,
        blank=True,
        help_text="Client certificate it is good with only: SHA-256 in hex. Empty: none.",
    )
    may_introspect = models.BooleanField(
        default=False, help_text="May ask about tokens of its partner's clients."
    )
    older_secret = models.CharField(max_length=255, blank=True, default="", editable=False)
    older_secret_until = models.DateTimeField(null=True, editable=False)
    created_by = models.CharField(max_length=100, editable=False)
    revoked_at = models.DateTimeField(null=True, blank=True, editable=False)
    revoke_reason = models.CharField(max_length=200, blank=True, editable=False)
    version = models.PositiveIntegerField(default=1, editable=False)
    created_at = models.DateTimeField(default=clock.now, editable=False)
    updated_at = models.DateTimeField(default=clock.now, editable=False)

    class Meta:
        ordering = ["-id"]
        verbose_name = "OAuth client"
        constraints = [
            models.UniqueConstraint(
                fields=["partner", "name"],
                condition=models.Q(revoked_at__isnull=True),
                name="client_one_live_name",
                violation_error_message="A live client of this partner has this name.",
            )
        ]

    def __str__(self) -> str:
        return f"{self.name} ({self.client_id})"

    @property
    def status(self) -> Status:
        return self.Status.ACTIVE if self.revoked_at is None else self.Status.REVOKED

    @property
    def has_two_secrets(self) -> bool:
        """Whether the secret before the newest is still good."""
        return self.older_secret_until is not None and self.older_secret_until > clock.now()

    def is_usable(self, request: object) -> bool:  # noqa: ARG002 - django-oauth-toolkit asks it so
        """Return whether the client may get tokens at all."""
        return self.revoked_at is None and self.partner.status == Partner.Status.ACTIVE


class Issuer(models.Model):
    """Somebody else's authorization server whose tokens open doors here."""

    class Algorithm(models.TextChoices):
        RS256 = "RS256", "RS256"
        RS384 = "RS384", "RS384"
        RS512 = "RS512", "RS512"
        PS256 = "PS256", "PS256"
        PS384 = "PS384", "PS384"
        PS512 = "PS512", "PS512"
        ES256 = "ES256", "ES256"
        ES384 = "ES384", "ES384"
        EDDSA = "EdDSA", "EdDSA"

    id = models.CharField(
        primary_key=True, max_length=40, editable=False, default=functools.partial(ids.new, "iss")
    )
    name = models.CharField(max_length=MAX_NAME, unique=True)
    issuer = models.CharField(
        max_length=500, unique=True, help_text="Exactly what its tokens have as iss."
    )
    jwks_url = models.CharField(
        max_length=2_048, verbose_name="JWKS URL", help_text="Where it publishes its keys."
    )
    algorithms = ArrayField(models.CharField(max_length=5, choices=Algorithm.choices))
    audience = models.CharField(
        max_length=500, help_text="What its tokens for us have as aud: one string."
    )
    claim = models.CharField(
        max_length=100, default="sub", help_text="Claim that says who holds the token."
    )
    max_age_s = models.PositiveIntegerField(
        default=MAX_AGE_S, help_text="Longest time in seconds from iat to exp."
    )
    is_enabled = models.BooleanField(default=True, verbose_name="enabled")
    version = models.PositiveIntegerField(default=1, editable=False)
    created_at = models.DateTimeField(default=clock.now, editable=False)
    updated_at = models.DateTimeField(default=clock.now, editable=False)

    class Meta:
        ordering = ["-id"]
        constraints = [
            models.CheckConstraint(
                condition=models.Q(max_age_s__gte=1, max_age_s__lte=MAX_AGE_S),
                name="issuer_max_age",
                violation_error_message=f"From 1 to {MAX_AGE_S} seconds.",
            )
        ]

    def __str__(self) -> str:
        return self.name


class TokenSubject(models.Model):
    """Whom an issuer means by one value of its claim: a partner, and what it may do at most."""

    id = models.CharField(
        primary_key=True, max_length=40, editable=False, default=functools.partial(ids.new, "sub")
    )
    issuer = models.ForeignKey(Issuer, on_delete=models.CASCADE, related_name="subjects")
    value = models.CharField(max_length=MAX_CLAIM, help_text="Exactly what the claim holds.")
    partner = models.ForeignKey(Partner, on_delete=models.CASCADE, related_name="subjects")
    name = models.CharField(max_length=MAX_NAME)
    mode = models.CharField(max_length=4, choices=Mode.choices, default=Mode.LIVE)
    scopes = ArrayField(models.CharField(max_length=MAX_SCOPE), default=list)
    topics = ArrayField(
        models.CharField(max_length=MAX_TOPIC),
        null=True,
        blank=True,
        help_text="Topics the subject is limited to; empty for all that the grants allow.",
    )
    allowed_cidrs = ArrayField(models.CharField(max_length=MAX_CIDR), default=list, blank=True)
    version = models.PositiveIntegerField(default=1, editable=False)
    created_at = models.DateTimeField(default=clock.now, editable=False)
    updated_at = models.DateTimeField(default=clock.now, editable=False)

    class Meta:
        ordering = ["-id"]
        constraints = [
            models.UniqueConstraint(
                fields=["issuer", "value"],
                name="subject_once_an_issuer",
                violation_error_message="This value of the claim stands for somebody already.",
            )
        ]

    def __str__(self) -> str:
        return self.name
