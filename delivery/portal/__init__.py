"""The partners' pages of deliveries: search, one delivery, replays, usage, signature doctor."""
