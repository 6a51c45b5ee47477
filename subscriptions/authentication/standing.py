"""Whether credentials that were good when a stream opened still are."""

from collections.abc import Collection, Iterable
from datetime import UTC, datetime

from django.db import DatabaseError
from oauth2_provider.models import AccessToken

from kafkahub import clock
from kafkahub.errors import Unavailable
from subscriptions import plans
from subscriptions.authentication import api_key, jwt, oauth
from subscriptions.authentication.apart import closing_lost
from subscriptions.authentication.known import Known
from subscriptions.grants import Principal
from subscriptions.models import ApiKey, TokenSubject

NEVER = datetime(9999, 1, 1, tzinfo=UTC)
"""End of a subject: each of its tokens has an end of its own, which a stream knows."""


def alive(credentials: Collection[str]) -> dict[str, Principal]:
    """Return those of these credentials that are still good, as they are now; a few queries.

    credentials  ``Principal.credential`` of each

    For open streams, whenever something about rights has changed. Raises Unavailable.
    """
    try:
        return closing_lost(lambda: _alive(credentials))
    except DatabaseError as error:
        raise Unavailable("Credentials cannot be checked right now.") from error


def _alive(credentials: Collection[str]) -> dict[str, Principal]:
    all_plans = plans.read()
    now = clock.now()
    known = [*_keys(credentials, all_plans), *_tokens(credentials, all_plans)]
    found = {one.principal.credential: one.principal for one in known if one.holds(now)}
    return found | _subjects(credentials, all_plans)


def _keys(credentials: Collection[str], all_plans: plans.Plans) -> Iterable[Known]:
    ids = [each for each in credentials if each.startswith("key_")]
    rows = ApiKey.objects.select_related("partner").filter(pk__in=ids) if ids else []
    return (api_key.known(row, all_plans) for row in rows)


def _tokens(credentials: Collection[str], all_plans: plans.Plans) -> Iterable[Known]:
    ids = [int(each.removeprefix("tok_")) for each in credentials if each.startswith("tok_")]
    rows = AccessToken.objects.select_related("application__partner").filter(pk__in=ids)
    return (oauth.known(row, all_plans) for row in (rows if ids else ()))


def _subjects(credentials: Collection[str], all_plans: plans.Plans) -> dict[str, Principal]:
    ids = [each for each in credentials if each.startswith("sub_")]
    rows = TokenSubject.objects.select_related("partner", "issuer").filter(pk__in=ids)
    return {
        row.pk: jwt.principal_of(row, all_plans, NEVER)
        for row in (rows if ids else ())
        if not jwt.refusal(row)
    }
