"""Bookkeeping of the control API."""

from django.db import models

from kafkahub import clock
from subscriptions.models.partners import Partner


class IdempotencyKey(models.Model):
    """A POST that was made with an ``Idempotency-Key``, and its answer; kept 24 h."""

    partner = models.ForeignKey(Partner, on_delete=models.CASCADE)
    key = models.CharField(max_length=255)
    fingerprint = models.BinaryField(help_text="SHA-256 of method, path and body.")
    status = models.PositiveSmallIntegerField(
        null=True, help_text="HTTP status of the answer; null while it runs."
    )
    headers = models.JSONField(default=dict)
    body = models.BinaryField(default=b"")
    created_at = models.DateTimeField(default=clock.now, db_index=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["partner", "key"], name="idempotency_key_once")
        ]

    def __str__(self) -> str:
        return self.key
