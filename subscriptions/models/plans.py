"""Plans: how much partners and keys may use, where it differs from the standard values."""

import functools

from django.db import models
from django.db.models import Q

from kafkahub import clock, ids


class Plan(models.Model):
    """Rates by scope and policy; what it does not name keeps the standard value."""

    id = models.CharField(
        primary_key=True, max_length=40, editable=False, default=functools.partial(ids.new, "pln")
    )
    name = models.CharField(max_length=100, unique=True)
    description = models.TextField(blank=True)
    is_default = models.BooleanField(
        "default", default=False, help_text="Holds for partners that have no plan of their own."
    )
    rules = models.JSONField(
        default=dict, blank=True, help_text="Scope to policy to rate a second and burst."
    )
    version = models.PositiveIntegerField(default=1, editable=False)
    created_at = models.DateTimeField(default=clock.now, editable=False)
    updated_at = models.DateTimeField(default=clock.now, editable=False)

    class Meta:
        ordering = ["-id"]
        constraints = [
            models.UniqueConstraint(
                fields=["is_default"],
                condition=Q(is_default=True),
                name="plan_one_default",
                violation_error_message="There is a default plan already.",
            )
        ]

    def __str__(self) -> str:
        return self.name
