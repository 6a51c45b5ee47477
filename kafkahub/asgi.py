"""The ASGI application of the web process: ``kafkahub.asgi:application``."""

import os
from urllib.parse import urlsplit

from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "kafkahub.settings")
django = get_asgi_application()

# ruff: noqa: E402 - what follows imports models, so Django is set up first
from gateway import app
from kafkahub import config, hosts
from kafkahub.dispatch import WHO, Application, Scope, header
from kafkahub.kafka.admin import Admin
from kafkahub.kafka.options import admin_options
from kafkahub.observability import health, logs
from kafkahub.settings import ALLOWED_HOSTS
from subscriptions import limiting, sightings, usage

STREAMS = "/streams/"


def build() -> Application:
    """Return the application of this process from its settings."""
    settings = config.load()
    logs.configure("web", settings.log_level)
    admin = Admin(admin_options(settings))
    watch = health.Watch(health.neighbours(settings, lambda: _ask(admin)))
    limiter = limiting.process_limiter()
    return Application(
        django,
        watch,
        trusted=settings.trusted_proxies,
        public_host=urlsplit(settings.base_url).hostname or "",
        is_ours=hosts.ours(ALLOWED_HOSTS),
        companions=(limiter, usage.process_usage(), sightings.process_sightings()),
        doors=app.build(settings, limiter, watch.drain),
        on_answered=_note,
    )


def _note(scope: Scope, status: int, lasted_s: float) -> None:
    """Count what a known credential asked, so that unusual use is told from it."""
    who = scope.get(WHO)
    if who is None:
        return
    address = scope["client"][0] if scope.get("client") else ""
    answered = sightings.Answered(
        status=status,
        path=scope["path"],
        address=address,
        agent=header(scope, b"user-agent") or "",
        lasted_s=lasted_s,
        is_stream=scope["path"].startswith(STREAMS),
    )
    sightings.process_sightings().answered(who, answered)


def _ask(admin: Admin) -> None:
    admin.cluster_id()


application = build()
