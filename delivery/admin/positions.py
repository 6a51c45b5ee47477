"""Floors of partitions; engines own them."""

from django.contrib import admin

from delivery.models import PartitionPosition
from subscriptions.admin.base import ReadOnlyAdmin


@admin.register(PartitionPosition)
class PartitionPositionAdmin(ReadOnlyAdmin[PartitionPosition]):
    """Where each partition stands, and which engine may move it."""

    list_display = (
        "topic",
        "partition",
        "next_offset",
        "owner",
        "epoch",
        "checkpoint",
        "updated_at",
    )
    list_display_links = ("topic", "partition")
    ordering = ("topic", "partition")
    search_fields = ("=topic",)
    search_help_text = "Exactly: a topic."
