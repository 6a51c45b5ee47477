"""Django's entry of the app."""

from django.apps import AppConfig


class SubscriptionsConfig(AppConfig):
    """The subscriptions app."""

    name = "subscriptions"
