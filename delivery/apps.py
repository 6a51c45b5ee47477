"""Django's entry of the app."""

from django.apps import AppConfig


class DeliveryConfig(AppConfig):
    """The delivery app."""

    name = "delivery"
    verbose_name = "Deliveries"
