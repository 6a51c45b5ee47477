"""The operators' pages of this app; Django finds them here."""

from subscriptions.admin import operators, partners, records, topics

__all__ = ["operators", "partners", "records", "topics"]
