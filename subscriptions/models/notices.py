"""What partners are told, and what is the matter with their things right now."""

import functools

from django.db import models
from django.db.models import Q

from kafkahub import clock, ids
from subscriptions.models.partners import Partner

MAX_EPISODE = 200


class Notice(models.Model):
    """One thing a partner is told; kept 90 days.

    Written in the transaction of its cause, and sent on from here: to subscriptions of notices,
    and by mail.
    """

    id = models.CharField(
        primary_key=True, max_length=40, editable=False, default=functools.partial(ids.new, "ntc")
    )
    partner = models.ForeignKey(Partner, on_delete=models.CASCADE, related_name="notices")
    type = models.CharField(max_length=60)
    text = models.CharField(max_length=1_000)
    link = models.CharField(max_length=500, blank=True)
    data = models.JSONField(help_text="Its own members, beside those that all notices have.")
    endpoint = models.CharField(
        max_length=40, blank=True, help_text="The endpoint it speaks of, which is no way to tell."
    )
    episode = models.CharField(
        max_length=MAX_EPISODE,
        blank=True,
        help_text="What it is told of once only; empty where each is news.",
    )
    created_at = models.DateTimeField(default=clock.now)
    sent_at = models.DateTimeField(
        null=True, help_text="When it was handed to the subscriptions of notices."
    )
    mailed_at = models.DateTimeField(null=True, help_text="When it was mailed, or was not to be.")

    class Meta:
        ordering = ["-id"]
        constraints = [
            models.UniqueConstraint(
                fields=["partner", "type", "episode"],
                condition=~Q(episode=""),
                name="notice_once_an_episode",
            )
        ]
        indexes = [
            models.Index(fields=["partner", "-id"], name="notice_listed"),
            models.Index(fields=["id"], condition=Q(sent_at=None), name="notice_unsent"),
            models.Index(fields=["id"], condition=Q(mailed_at=None), name="notice_unmailed"),
            models.Index(fields=["created_at"], name="notice_age"),
        ]

    def __str__(self) -> str:
        return f"{self.type} {self.id}"


class Episode(models.Model):
    """Something that is the matter now; the row goes when it is over."""

    subject = models.CharField(max_length=40, help_text="Id of the endpoint or subscription.")
    type = models.CharField(max_length=60, help_text="The kind of notice that told of it.")
    partner = models.ForeignKey(Partner, on_delete=models.CASCADE)
    since = models.DateTimeField()
    detail = models.CharField(max_length=40, blank=True, help_text="The reason it was told with.")
    step = models.PositiveSmallIntegerField(default=0, help_text="Warnings given since.")

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["subject", "type"], name="episode_once_a_subject")
        ]
        indexes = [models.Index(fields=["type"], name="episode_of_type")]

    def __str__(self) -> str:
        return f"{self.type} {self.subject}"
