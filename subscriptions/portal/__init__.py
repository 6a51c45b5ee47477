"""The partners' pages: Start, Keys, Endpoints, Subscriptions, Members, Alerts."""
