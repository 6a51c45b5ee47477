"""Django's entry of the composition root."""

from django.apps import AppConfig

from kafkahub import celery, checks


class KafkaHubConfig(AppConfig):
    """Commands, checks, templates and static files."""

    name = "kafkahub"

    def ready(self) -> None:
        checks.install()
        celery.app.set_default()  # shared tasks are published through it
