"""Everything that is done to members and invitations. The text of one leaves here once."""

import hashlib
import secrets

from django.contrib.auth.models import User
from django.db import transaction

from kafkahub import clock
from kafkahub.errors import Conflict, NotFound
from subscriptions import audit
from subscriptions.actions.rows import lock
from subscriptions.audit import Actor, ActorKind, Verb
from subscriptions.models import Invitation, Member, Partner, Role
from subscriptions.models.members import INVITATION_LIFE

RANDOM_BYTES = 32
"""256 bits: nobody guesses one, so failures need no throttle."""


def invite(actor: Actor, partner: Partner, email: str, role: Role) -> tuple[Invitation, str]:
    """Ask somebody to be a member; return the row and the text of its link, which is kept nowhere.

    An open invitation of the same person ends. Raises Conflict for one who is a member already.
    """
    address = email.strip().lower()
    text = secrets.token_urlsafe(RANDOM_BYTES)
    with transaction.atomic():
        lock(partner)
        if Member.objects.filter(partner=partner, user__username=address).exists():
            raise Conflict(f"{address} is a member already; change the role instead.")
        now = clock.now()
        Invitation.objects.open().filter(partner=partner, email=address).update(expires_at=now)
        row = Invitation.objects.create(
            secret_hash=digest(text),
            partner=partner,
            email=address,
            role=role,
            invited_by=actor.id,
            expires_at=now + INVITATION_LIFE,
        )
        shown = {"email": (None, address), "role": (None, role.value)}
        audit.append(actor, Verb.MEMBER_INVITED, row, shown)
    return row, text


def digest(text: str) -> bytes:
    """Return the hash an invitation is found by."""
    return hashlib.sha256(text.encode()).digest()


def find_invitation(text: str) -> Invitation | None:
    """Return the open invitation of a link, with its partner, or None. By the unique index."""
    rows = Invitation.objects.open().select_related("partner")
    return rows.filter(secret_hash=digest(text), partner__status=Partner.Status.ACTIVE).first()


def join(actor: Actor, invitation: Invitation, user: User) -> Member:
    """Make the invited person a member and end the invitation.

    user  whose name is the invited address: the caller has seen to that

    Raises NotFound when the invitation was used or ended meanwhile.
    """
    with transaction.atomic():
        used = Invitation.objects.open().filter(pk=invitation.pk).update(used_at=clock.now())
        if not used:
            raise NotFound
        member, _ = Member.objects.update_or_create(
            partner=invitation.partner, user=user, defaults={"role": invitation.role}
        )
        shown = {"email": (None, user.get_username()), "role": (None, member.role)}
        audit.append(actor, Verb.MEMBER_JOINED, member, shown)
    return member


def withdraw(actor: Actor, invitation: Invitation) -> None:
    """End an invitation that was not used; one that is over stays as it is."""
    with transaction.atomic():
        done = Invitation.objects.open().filter(pk=invitation.pk).update(expires_at=clock.now())
        if done:
            shown = {"email": (invitation.email, None)}
            audit.append(actor, Verb.INVITATION_WITHDRAWN, invitation, shown)


def change_role(actor: Actor, member: Member, role: Role) -> None:
    """Give a member another role; raise Conflict for the last owner, whom nobody could replace."""
    with transaction.atomic():
        lock(member.partner)
        row = lock(member)
        if row.role == role:
            return
        _keep_an_owner(actor, row)
        before, row.role = row.role, role
        row.save(update_fields=["role"])
        audit.append(actor, Verb.MEMBER_UPDATED, row, {"role": (before, role.value)})


def remove(actor: Actor, member: Member) -> None:
    """End a membership, at the next request; raise Conflict for the last owner."""
    with transaction.atomic():
        lock(member.partner)
        row = lock(member)
        _keep_an_owner(actor, row)
        gone = audit.Subject("member", row.pk, row.partner_id)
        shown = {"email": (row.user.get_username(), None), "role": (row.role, None)}
        row.delete()
        audit.append(actor, Verb.MEMBER_REMOVED, gone, shown)


def _keep_an_owner(actor: Actor, member: Member) -> None:
    if actor.kind == ActorKind.OPERATOR or member.role != Role.OWNER:
        return
    others = Member.objects.filter(partner=member.partner_id, role=Role.OWNER).exclude(pk=member.pk)
    if not others.exists():
        raise Conflict("This is the only owner; make somebody else an owner first.")
