"""The support view: an operator looks at a partner's portal, and the partner can tell."""

from django.contrib.auth.models import AbstractBaseUser, AnonymousUser, User
from django.db import transaction
from django.db.models import Value
from django.db.models.functions import Least

from kafkahub import clock
from kafkahub.errors import Forbidden
from subscriptions import audit
from subscriptions.actions.rows import lock
from subscriptions.audit import Actor, Verb
from subscriptions.models import Partner, SupportVisit
from subscriptions.models.support import VISIT_LIFE

RIGHT = "subscriptions.support_view"


def open_visit(actor: Actor, user: User, partner: Partner, reason: str) -> SupportVisit:
    """Let an operator look at the partner's portal until ``VISIT_LIFE`` from now.

    An earlier visit of the same person to the same partner ends. Raises Forbidden without the
    right, NotFound for a partner that is gone.
    """
    if not user.has_perm(RIGHT):
        raise Forbidden("Looking at a partner's portal needs the right support_view.")
    with transaction.atomic():
        lock(partner)
        now = clock.now()
        before = SupportVisit.objects.filter(user=user, partner=partner, ended_at__isnull=True)
        before.update(ended_at=Least("expires_at", Value(now)))
        made = SupportVisit.objects.create(
            user=user, partner=partner, reason=reason, opened_at=now, expires_at=now + VISIT_LIFE
        )
        audit.append(actor, Verb.SUPPORT_OPENED, made, {"until": (None, made.expires_at)}, reason)
    return made


def end_visit(actor: Actor, visit: SupportVisit) -> None:
    """End a visit before its time; one that is over already stays as it is."""
    with transaction.atomic():
        row = lock(visit)
        if row.ended_at is not None or row.expires_at <= clock.now():
            return
        row.ended_at = clock.now()
        row.save(update_fields=["ended_at"])
        audit.append(actor, Verb.SUPPORT_ENDED, row, {}, row.reason)


def find_visit(user: AbstractBaseUser | AnonymousUser, partner: str) -> SupportVisit | None:
    """Return the visit that is open now, with user and partner; None without one or the right.

    By the unique index on person and partner.
    """
    rows = SupportVisit.objects.open().select_related("user", "partner")
    found = rows.filter(user_id=user.pk or 0, partner_id=partner).first()
    return found if found is not None and found.user.has_perm(RIGHT) else None


def note_page(actor: Actor, visit: SupportVisit, path: str) -> None:
    """Put the first look at each address into the audit log."""
    if path in visit.pages:
        return
    with transaction.atomic():
        row = lock(visit)
        if path not in row.pages:
            row.pages.append(path)
            row.save(update_fields=["pages"])
            audit.append(actor, Verb.SUPPORT_LOOKED, row, {"page": (None, path)})
