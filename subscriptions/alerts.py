"""Telling operators of issues: by mail, and by whatever apprise speaks to.

A channel that fails is logged and does not keep the others from being told; the issue itself is
in its table, and on the overview.
"""

from collections.abc import Sequence
from smtplib import SMTPException

import apprise
import structlog
from django.core.mail import EmailMessage
from django.urls import reverse

from kafkahub import config
from subscriptions.issues import Severity
from subscriptions.models import Issue

log = structlog.get_logger()


def tell(issues: Sequence[Issue]) -> None:
    """Tell of issues that are news, all of them at once."""
    if not issues:
        return
    settings = config.load()
    subject, text = _subject(issues), _text(issues, settings.base_url)
    if settings.operators_mail and settings.mail_url is not None:
        _mail(subject, text, settings.mail_from, settings.operators_mail)
    if settings.operators_apprise:
        _apprise(subject, text, [each.get_secret_value() for each in settings.operators_apprise])


def _mail(subject: str, text: str, sender: str, to: Sequence[str]) -> None:
    try:
        EmailMessage(subject, text, sender, to).send()
    except (OSError, SMTPException) as error:
        log.warning("alerts.not_sent", channel="mail", error=type(error).__name__)


def _apprise(subject: str, text: str, urls: Sequence[str]) -> None:
    channels = apprise.Apprise()
    channels.add(list(urls))
    if not channels.notify(body=text, title=subject):
        log.warning("alerts.not_sent", channel="apprise", error="one or more channels failed")


def _subject(issues: Sequence[Issue]) -> str:
    worst = max(issues, key=lambda issue: Severity(issue.severity).rank)
    more = f" (and {len(issues) - 1} more)" if len(issues) > 1 else ""
    return f"KafkaHub {worst.severity}: {worst.text[:120]}{more}"


def _text(issues: Sequence[Issue], base_url: str) -> str:
    return "\n\n".join(
        f"{issue.severity}: {issue.kind}\n{issue.text}\n"
        f"{base_url}{reverse('admin:subscriptions_issue_change', args=[issue.pk])}"
        for issue in issues
    )
