"""What operators should look at, and the traffic by which unusual use is told."""

import functools

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import Case, IntegerField, Q, Value, When

from kafkahub import clock, ids

MAX_SUBJECT = 160


class IssueQuerySet(models.QuerySet["Issue"]):
    """Selects issues."""

    def live(self) -> "IssueQuerySet":
        """Return the issues that last, acknowledged ones too; by issue_live."""
        return self.exclude(state=Issue.State.RESOLVED)

    def worst_first(self) -> "IssueQuerySet":
        """Order by severity, then those of everybody before one partner's, then by age."""
        ranks = [When(severity=each, then=Value(rank)) for rank, each in enumerate(Issue.Severity)]
        worst = Case(*ranks, output_field=IntegerField())
        of_one = Case(When(partner="", then=Value(0)), default=Value(1))
        return self.order_by(worst, of_one, "opened_at", "id")


class Issue(models.Model):
    """Something that is the matter and needs a person; it resolves when its cause is gone.

    ``kind`` and ``subject`` are its fingerprint: the same trouble is one row while it lasts, and
    the same row again when it comes back within two weeks.
    """

    class State(models.TextChoices):
        OPEN = "open"
        ACKNOWLEDGED = "acknowledged"
        REGRESSED = "regressed"
        RESOLVED = "resolved"

    class Severity(models.TextChoices):
        CRITICAL = "critical"
        WARNING = "warning"
        INFO = "info"

    id = models.CharField(
        primary_key=True, max_length=40, editable=False, default=functools.partial(ids.new, "iss")
    )
    kind = models.CharField(max_length=40)
    subject = models.CharField(max_length=MAX_SUBJECT, help_text="What it is about: an id.")
    partner = models.CharField(max_length=40, blank=True, help_text="Empty: of the installation.")
    severity = models.CharField(max_length=10, choices=Severity.choices)
    state = models.CharField(max_length=12, choices=State.choices, default=State.OPEN)
    text = models.CharField(max_length=1_000)
    evidence = models.JSONField(default=dict)
    times = models.PositiveIntegerField(default=1, help_text="How often it came.")
    opened_at = models.DateTimeField(default=clock.now)
    seen_at = models.DateTimeField(default=clock.now, help_text="When its cause was last there.")
    acknowledged_until = models.DateTimeField(null=True, blank=True)
    resolved_at = models.DateTimeField(null=True, blank=True)
    muted_until = models.DateTimeField(
        null=True, blank=True, help_text="Until then it is expected, and opens nothing."
    )
    by = models.CharField(max_length=150, blank=True, help_text="Who acted last; empty: nobody.")
    note = models.CharField(max_length=500, blank=True)

    objects = IssueQuerySet.as_manager()

    class Meta:
        ordering = ["-id"]
        constraints = [
            models.UniqueConstraint(
                fields=["kind", "subject"],
                condition=~Q(state="resolved"),
                name="issue_once_while_it_lasts",
            )
        ]
        indexes = [
            models.Index(fields=["kind", "subject", "-id"], name="issue_fingerprint"),
            models.Index(fields=["severity"], condition=~Q(state="resolved"), name="issue_live"),
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.subject}"


class Sighting(models.Model):
    """What one credential, or one network that failed to show one, did in a minute; kept 2 h."""

    subject = models.CharField(max_length=MAX_SUBJECT)
    partner = models.CharField(max_length=40, blank=True)
    minute = models.DateTimeField()
    requests = models.PositiveIntegerField(default=0)
    errors = models.PositiveIntegerField(default=0, help_text="Answers 400 to 499.")
    failures = models.PositiveIntegerField(default=0, help_text="Credentials that were refused.")
    streams = models.PositiveIntegerField(default=0, help_text="Streams that ended.")
    short_streams = models.PositiveIntegerField(
        default=0, help_text="Those that lasted under 10 s."
    )
    missing = ArrayField(models.CharField(max_length=16), default=list)
    networks = ArrayField(models.CharField(max_length=50), default=list)
    agents = ArrayField(models.CharField(max_length=100), default=list)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["subject", "minute"], name="sighting_once_a_minute")
        ]
        indexes = [models.Index(fields=["minute"], name="sighting_minute")]

    def __str__(self) -> str:
        return f"{self.subject} {self.minute:%Y-%m-%d %H:%M}"


class SightingHour(models.Model):
    """In which hours, and from where, a credential was used; kept 28 days."""

    subject = models.CharField(max_length=MAX_SUBJECT)
    hour = models.DateTimeField()
    requests = models.PositiveIntegerField(default=0)
    networks = ArrayField(models.CharField(max_length=50), default=list)
    agents = ArrayField(models.CharField(max_length=100), default=list)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["subject", "hour"], name="sighting_once_an_hour")
        ]
        indexes = [models.Index(fields=["hour"], name="sighting_hour")]

    def __str__(self) -> str:
        return f"{self.subject} {self.hour:%Y-%m-%d %H:00}"
