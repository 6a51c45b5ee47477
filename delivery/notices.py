"""Notices become parked rows of the subscriptions of notices: sent, tried again, kept like any."""

import hashlib

import msgspec

from delivery import parking
from delivery.models import ParkedDelivery
from kafkahub import clock
from subscriptions import notices
from subscriptions.identity import base62
from subscriptions.live import NOTICES
from subscriptions.models import Notice, Subscription

PARTITION = -1
"""No partition of Kafka: a notice must not be taken for a record."""


def hand_out(limit: int) -> int:
    """Give up to ``limit`` new notices to their subscriptions; return how many notices.

    Inside the caller's transaction: a notice is marked with the rows that were made of it.
    """
    waiting = list(notices.unsent(limit))
    for notice in waiting:
        for subscription in notices.receivers(notice):
            park(notice, subscription)
    ids = [notice.pk for notice in waiting]
    Notice.objects.filter(pk__in=ids).update(sent_at=clock.now())
    return len(waiting)


def park(notice: Notice, subscription: Subscription) -> bool:
    """Make a row, due now, that tells one subscription; False when it has that row already."""
    digest = hashlib.sha256(f"{notice.pk}|{subscription.pk}".encode()).digest()
    values = {
        "id": f"msg_{base62(digest[:16])}",
        "subscription": subscription.pk,
        "topic": NOTICES,
        "partition": PARTITION,
        "offset": int.from_bytes(digest[:8], "big") >> 2,  # unique, which is all that is asked
        "generation": 0,
        "key": None,
        "record_time": notice.created_at,
        "body": msgspec.json.encode(notices.envelope(notice)),
        "grant_version": 0,
        "reason": ParkedDelivery.Reason.NOTICE,
        "sends": 0,
    }
    headers = {"content-type": "application/json"}
    return parking.insert(values, headers, is_sensitive=False)
