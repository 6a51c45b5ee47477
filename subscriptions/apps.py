"""Django's entry of the app."""

from django.apps import AppConfig
from django.contrib.admin.apps import AdminConfig


class SubscriptionsConfig(AppConfig):
    """The subscriptions app."""

    name = "subscriptions"
    verbose_name = "Partners"

    def ready(self) -> None:
        # Metrics are registered once Django is set up.
        from subscriptions import denials  # noqa: PLC0415

        denials.watch()


class HubAdminConfig(AdminConfig):
    """Django's admin with our site as the default one."""

    default_site = "subscriptions.admin_site.HubSite"
