"""Django's entry of the app."""

from django.apps import AppConfig


class GatewayConfig(AppConfig):
    """The gateway app."""

    name = "gateway"
