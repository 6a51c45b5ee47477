"""The operators' pages of this app; Django finds them here."""

from delivery.admin import attempts, overview, parked, positions

__all__ = ["attempts", "overview", "parked", "positions"]
