"""Who did what to which object."""

from django.db import models

from kafkahub import clock


class AuditEvent(models.Model):
    """One row a change, chained by hash; a trigger refuses UPDATE, DELETE and TRUNCATE."""

    id = models.BigAutoField(primary_key=True)
    at = models.DateTimeField(default=clock.now)
    actor_kind = models.CharField(max_length=16, help_text="operator, key or system")
    actor = models.CharField(max_length=150)
    partner = models.CharField(max_length=40, blank=True, db_index=True)
    address = models.GenericIPAddressField(null=True)
    request_id = models.CharField(max_length=64, blank=True)
    verb = models.CharField(max_length=60, help_text="noun.past_verb")
    object_type = models.CharField(max_length=40)
    object_id = models.CharField(max_length=300, db_index=True)
    changes = models.JSONField(
        default=dict, help_text="{field: [before, after]}; of a secret only that it changed"
    )
    reason = models.CharField(max_length=200, blank=True)
    prev_hash = models.BinaryField()
    hash = models.BinaryField()

    class Meta:
        ordering = ["-id"]

    def __str__(self) -> str:
        return f"{self.verb} {self.object_id}"
