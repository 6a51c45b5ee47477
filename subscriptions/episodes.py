"""What is the matter now: told when it begins and when it is over, once each."""

from collections.abc import Mapping
from datetime import datetime

from subscriptions import notices
from subscriptions.models import Episode
from subscriptions.notice_types import Kind

Members = Mapping[str, object]


def begin(
    kind: Kind,
    subject: str,
    partner: str,
    members: Members,
    *,
    since: datetime,
    endpoint: str = "",
    detail: str = "",
) -> bool:
    """Tell that something is the matter, inside the caller's transaction; False if it was told.

    subject   id of the endpoint or subscription; it has one episode of a kind at a time
    endpoint  the one that is spoken of, see ``notices.write``
    detail    what ``end`` is to know of the beginning
    """
    _, is_new = Episode.objects.get_or_create(
        subject=subject,
        type=kind.value,
        defaults={"partner_id": partner, "since": since, "detail": detail},
    )  # by episode_once_a_subject
    if is_new:
        notices.write(kind, partner, members, endpoint=endpoint)
    return is_new


def end(episode: Episode, kind: Kind | None, members: Members, *, endpoint: str = "") -> bool:
    """Tell that it is over, inside the caller's transaction; None: nobody is to be told.

    Returns False where another process has ended it.
    """
    deleted, _ = Episode.objects.filter(pk=episode.pk).delete()
    if deleted and kind is not None:
        notices.write(kind, episode.partner_id, members, endpoint=endpoint)
    return bool(deleted)


def step(episode: Episode, number: int, kind: Kind, members: Members, *, endpoint: str) -> bool:
    """Tell of a further step, once; later steps include earlier ones."""
    raised = Episode.objects.filter(pk=episode.pk, step__lt=number).update(step=number)
    if raised:
        notices.write(kind, episode.partner_id, members, endpoint=endpoint)
    return bool(raised)
