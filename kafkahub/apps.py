"""Django's entry of the composition root."""

from django.apps import AppConfig

from kafkahub import checks


class KafkaHubConfig(AppConfig):
    """Commands, checks, templates and static files."""

    name = "kafkahub"

    def ready(self) -> None:
        checks.install()
