"""Whether credentials that were good when a stream opened still are."""

from collections.abc import Collection

from django.db import DatabaseError

from kafkahub import clock
from kafkahub.errors import Unavailable
from subscriptions import plans
from subscriptions.authentication import api_key
from subscriptions.authentication.apart import closing_lost
from subscriptions.grants import Principal
from subscriptions.models import ApiKey


def alive(keys: Collection[str]) -> dict[str, Principal]:
    """Return those of these keys that are still good, as they are now; two queries.

    For open streams, whenever something about rights has changed. Raises Unavailable.
    """
    try:
        return closing_lost(lambda: _alive(keys))
    except DatabaseError as error:
        raise Unavailable("Credentials cannot be checked right now.") from error


def _alive(keys: Collection[str]) -> dict[str, Principal]:
    all_plans = plans.read()
    rows = ApiKey.objects.select_related("partner").filter(pk__in=list(keys))
    now = clock.now()
    known = [api_key.known(row, all_plans) for row in rows]
    good = [one for one in known if not one.refusal and one.not_before <= now < one.expires_at]
    return {one.principal.id: one.principal for one in good}
