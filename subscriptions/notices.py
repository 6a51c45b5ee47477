"""Telling partners: a row in the transaction of its cause, which jobs send on."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

import structlog
from django.core.mail import EmailMessage
from django.db import connection, transaction
from django.db.models import QuerySet

from kafkahub import clock, config
from subscriptions.audit import NoTransaction
from subscriptions.models import Notice, Subscription
from subscriptions.notice_types import Kind, check, place, plain, sentence

KEPT = timedelta(days=90)
MAIL_AGE = timedelta(days=1)
"""A notice that could not be mailed for so long is not: it would be read as news."""
MAILED_AT_ONCE = 200
"""Notices one mail tells of at most."""

log = structlog.get_logger()


def write(
    kind: Kind,
    partner: str,
    members: Mapping[str, object],
    *,
    endpoint: str = "",
    episode: str = "",
    notice_id: str = "",
) -> Notice | None:
    """Tell a partner, inside the caller's transaction.

    members   those of ``notice_types.FORMS``, times as datetimes; text and link are made of them
    endpoint  the one it speaks of: it is told another way where there is one
    episode   what a second notice of this kind must not tell of again; "" where each is news
    notice_id the id that was told before the row could be written; "" for a new one

    Returns the row, or None when the episode was told of already. Raises NoTransaction, and
    ValueError for members that the kind does not have.
    """
    if not connection.in_atomic_block:
        raise NoTransaction(f"{kind}: a notice belongs into the transaction of its cause")
    check(kind, members)
    path = place(kind, members)
    base = f"{config.load().base_url}/api/v1"
    notice = Notice(
        **({"id": notice_id} if notice_id else {}),
        partner_id=partner,
        type=kind.value,
        text=sentence(kind, members)[:1_000],
        link=f"{base}/{path}" if path else "",
        data={name: plain(value) for name, value in members.items()},
        endpoint=endpoint,
        episode=episode,
    )
    # By notice_once_an_episode: two jobs at once, or a job that runs again, tell once.
    made = Notice.objects.bulk_create([notice], ignore_conflicts=bool(episode))
    if episode and not Notice.objects.filter(pk=notice.pk).exists():
        return None
    return made[0]


def data(notice: Notice) -> dict[str, object]:
    """Return the ``data`` of its envelope."""
    common = {
        "notice": notice.pk,
        "partner": notice.partner_id,
        "text": notice.text,
        "link": notice.link,
    }
    return {**common, **notice.data}


def envelope(notice: Notice) -> dict[str, object]:
    """Return the body that subscriptions of notices get, the same on every attempt."""
    at = clock.rfc3339(notice.created_at)
    return {"type": notice.type, "timestamp": at, "data": data(notice)}


def receivers(notice: Notice) -> list[Subscription]:
    """Return the subscriptions that get it: not through the endpoint it speaks of, if another is.

    One that is paused or whose endpoint is not active gets it later, so it does not count as
    another way.
    """
    rows = Subscription.objects.filter(
        partner_id=notice.partner_id, mode=Subscription.Mode.NOTICES
    ).select_related("endpoint")
    wanted = [row for row in rows if not row.types or notice.type in row.types]
    others = [row for row in wanted if row.endpoint_id != notice.endpoint]
    has_other_way = any(
        row.status == Subscription.Status.ACTIVE
        and row.endpoint is not None
        and row.endpoint.status == row.endpoint.Status.ACTIVE
        for row in others
    )
    return others if has_other_way else wanted


def unsent(limit: int) -> QuerySet[Notice]:
    """Return notices that no subscription was given yet, locked, oldest first."""
    waiting = Notice.objects.filter(sent_at=None).order_by("id")  # by notice_unsent
    return waiting.select_for_update(skip_locked=True)[:limit]


@dataclass(frozen=True, slots=True)
class Mail:
    """What one partner is told by one mail."""

    to: str
    notices: list[Notice]


def mail(limit: int = MAILED_AT_ONCE) -> int:
    """Mail what was not mailed yet, one mail a partner; return how many mails went.

    One that fails is tried again with the next run. A crash after a mail and before its row
    sends it twice, never not at all.
    """
    sent = 0
    for one in _mails(limit):
        message = EmailMessage(_subject(one), _text(one), config.load().mail_from, [one.to])
        try:
            message.send()
        except OSError as error:  # of smtplib all derive from it: the mail server is away
            log.warning("notices.not_mailed", reason=str(error))
            return sent
        _mark([notice.pk for notice in one.notices])
        sent += 1
    return sent


def _mails(limit: int) -> list[Mail]:
    waiting = Notice.objects.filter(mailed_at=None).order_by("id")  # by notice_unmailed
    by_partner: dict[str, Mail] = {}
    silent: list[str] = []
    oldest = clock.now() - MAIL_AGE
    for notice in waiting.select_related("partner")[:limit]:
        to = notice.partner.contact
        if config.load().mail_url is None or not to or notice.created_at < oldest:
            silent.append(notice.pk)
        else:
            by_partner.setdefault(notice.partner_id, Mail(to, [])).notices.append(notice)
    _mark(silent)
    return list(by_partner.values())


def _mark(notices: list[str]) -> None:
    if notices:
        with transaction.atomic():
            Notice.objects.filter(pk__in=notices).update(mailed_at=clock.now())


def _subject(one: Mail) -> str:
    first = one.notices[0].text
    more = len(one.notices) - 1
    return f"KafkaHub: {first}" if not more else f"KafkaHub: {first} (and {more} more)"


def _text(one: Mail) -> str:
    lines = [
        f"{clock.rfc3339(notice.created_at)}  {notice.text}\n  {notice.type}  {notice.link}"
        for notice in one.notices
    ]
    return "\n\n".join(lines) + "\n"


def expire(limit: int) -> int:
    """Delete up to ``limit`` notices that are over; return how many went."""
    old = Notice.objects.filter(created_at__lt=clock.now() - KEPT)  # by notice_age
    slice_ids = list(old.order_by("created_at").values_list("pk", flat=True)[:limit])
    deleted, _ = Notice.objects.filter(pk__in=slice_ids).delete()
    return deleted
