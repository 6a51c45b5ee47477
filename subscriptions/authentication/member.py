"""People in the portal, as principals."""

from datetime import datetime

from subscriptions import plans
from subscriptions.grants import Principal
from subscriptions.models import Member
from subscriptions.plans import Plans
from subscriptions.scopes import OF_ROLE


def principal(member: Member, expires_at: datetime, all_plans: Plans | None = None) -> Principal:
    """Return what a member, read with user and partner, may do.

    expires_at  the end of the session or ticket
    all_plans   None: they are read now
    """
    return Principal(
        partner=member.partner_id,
        kind="member",
        id=member.pk,
        name=member.user.get_username(),
        mode="live",
        scopes=OF_ROLE[member.role],
        topics=None,
        expires_at_ms=int(expires_at.timestamp() * 1000),
        limits=(all_plans or plans.read()).limits_of_partner(member.partner),
    )
