"""The door to a partner's attempts and parked rows: theirs, or NotFound.

A credential that is limited to some topics, or to the sandbox, sees no more here than anywhere.
"""

import re
from datetime import UTC, datetime, timedelta

from django.db.models import OuterRef, Q, QuerySet, Subquery

from delivery.models import DeliveryAttempt, ParkedDelivery
from kafkahub import ids
from kafkahub.errors import NotFound
from subscriptions.grants import Principal
from subscriptions.models import Topic

_WEBHOOK_ID = re.compile(r"(msg|tst)_[0-9A-Za-z]{22}", re.ASCII)
_CHARACTERS = len(ids.ALPHABET)


def reach(principal: Principal) -> Q:
    """Return the condition of topics that a credential sees, whatever the grants say now.

    The log of what was sent stays with the partner after a grant has ended.
    """
    seen = Q() if principal.topics is None else Q(topic__in=sorted(principal.topics))
    if not principal.is_partners:
        return seen
    sandbox = Q(topic__in=Topic.objects.filter(is_sandbox=True).values("name"))
    return seen & (sandbox if principal.mode == "test" else ~sandbox)


def parked_of(principal: Principal) -> QuerySet[ParkedDelivery]:
    """Return the partner's parked rows; what is discarded, or a test, is none."""
    return _rows_of(principal).exclude(reason=ParkedDelivery.Reason.TEST)


def get_parked(principal: Principal, webhook_id: str, *, lock: bool = False) -> ParkedDelivery:
    """Return one parked row; ``lock`` holds it to the end of the transaction."""
    row = find_parked(principal, webhook_id, lock=lock)
    if row is None or row.reason == ParkedDelivery.Reason.TEST:
        raise NotFound
    return row


def find_parked(
    principal: Principal, webhook_id: str, *, lock: bool = False
) -> ParkedDelivery | None:
    """Return one row, a test's too, or None. By primary key."""
    if not _WEBHOOK_ID.fullmatch(webhook_id):
        return None
    rows = _rows_of(principal)
    if lock:
        rows = rows.select_for_update(of=("self",), no_key=True)
    return rows.filter(pk=webhook_id).first()


def attempts_of(principal: Principal) -> QuerySet[DeliveryAttempt]:
    """Return the partner's attempts."""
    return DeliveryAttempt.objects.filter(reach(principal), partner=principal.partner)


def find_last_attempt(principal: Principal, webhook_id: str) -> DeliveryAttempt | None:
    """Return the newest attempt of a delivery, or None. By attempt_of_delivery."""
    if not _WEBHOOK_ID.fullmatch(webhook_id):
        return None
    return attempts_of(principal).filter(delivery=webhook_id).order_by("-at", "-id").first()


def get_attempt(principal: Principal, public_id: str) -> DeliveryAttempt:
    """Return one attempt by its ``att_…``. By primary key (at, id), in one day."""
    if not ids.is_id(public_id, DeliveryAttempt.PREFIX):
        raise NotFound
    unix_ms, number = _parts(public_id)
    try:
        moment = datetime.fromtimestamp(unix_ms / 1000, UTC)
        # The id holds whole milliseconds, found by a division that may round either way.
        around = (moment - timedelta(milliseconds=1), moment + timedelta(milliseconds=2))
    except (OverflowError, ValueError, OSError):
        raise NotFound from None
    row = attempts_of(principal).filter(at__range=around, pk=number).first()
    if row is None:
        raise NotFound
    return row


def _rows_of(principal: Principal) -> QuerySet[ParkedDelivery]:
    # By parked_order; null where a row keeps no order.
    heads = ParkedDelivery.objects.filter(
        topic=OuterRef("topic"),
        partition=OuterRef("partition"),
        subscription=OuterRef("subscription"),
        order_key=OuterRef("order_key"),
        state__in=["scheduled", "sending", "blocked", "held"],
    ).order_by("generation", "offset")
    return (
        ParkedDelivery.objects.filter(reach(principal), subscription__partner_id=principal.partner)
        .exclude(state=ParkedDelivery.State.DISCARDED)
        .select_related("subscription__endpoint")
        .annotate(head_id=Subquery(heads.values("id")[:1]))
    )


def _parts(public_id: str) -> tuple[int, int]:
    value = 0
    for character in public_id.partition("_")[2]:
        value = value * _CHARACTERS + ids.ALPHABET.index(character)
    number = value & ((1 << ids.RANDOM_BITS) - 1)
    return value >> ids.RANDOM_BITS, min(number, (1 << 63) - 1)
