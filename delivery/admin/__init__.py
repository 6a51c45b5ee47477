"""The operators' pages of this app; Django finds them here."""

from delivery.admin import attempts, gaps, overview, parked, positions, replays

__all__ = ["attempts", "gaps", "overview", "parked", "positions", "replays"]
