"""Django's entry of the composition root."""

from django.apps import AppConfig


class KafkaHubConfig(AppConfig):
    """Commands, checks, templates and static files."""

    name = "kafkahub"
