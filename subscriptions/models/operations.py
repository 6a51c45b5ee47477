"""Bookkeeping of the control API and of what partners use."""

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


class UsageHour(models.Model):
    """What a partner used in one hour through one door, of one topic; kept 90 days."""

    partner = models.ForeignKey(Partner, on_delete=models.CASCADE, related_name="usage")
    hour = models.DateTimeField(help_text="Its beginning, in UTC.")
    door = models.CharField(max_length=20)
    topic = models.CharField(max_length=249, blank=True, help_text="Empty: of no topic.")
    requests = models.PositiveBigIntegerField(default=0)
    refused = models.PositiveBigIntegerField(default=0, help_text="Requests over a limit.")
    records_in = models.PositiveBigIntegerField(default=0)
    bytes_in = models.PositiveBigIntegerField(default=0)
    records_failed = models.PositiveBigIntegerField(
        default=0, help_text="Records that came in and are certainly not in Kafka."
    )
    records_unknown = models.PositiveBigIntegerField(
        default=0, help_text="Records of which nobody can tell whether they are in Kafka."
    )
    records_lost = models.PositiveBigIntegerField(
        default=0, help_text="Records that were answered before Kafka failed to take them."
    )
    records_out = models.PositiveBigIntegerField(default=0)
    bytes_out = models.PositiveBigIntegerField(default=0)

    class Meta:
        ordering = ["-hour", "partner", "door", "topic"]
        indexes = [models.Index(fields=["hour"], name="usage_hour")]
        constraints = [
            models.UniqueConstraint(
                fields=["partner", "hour", "door", "topic"], name="usage_once_an_hour"
            )
        ]

    def __str__(self) -> str:
        return f"{self.partner_id} {self.hour:%Y-%m-%d %H:00} {self.door} {self.topic}"
