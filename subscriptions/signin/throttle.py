"""How often one may be wrong: counted in the audit log, so the same in every process.

5 failures of one account from one address in 15 minutes, and each try after them waits twice as
long as the one before, up to an hour. Somebody else's address is not held up: nobody can lock an
owner out.
"""

import itertools
from collections.abc import Sequence
from datetime import datetime, timedelta

from django.http import HttpRequest

from kafkahub import clock
from subscriptions import audit
from subscriptions.audit import Subject, Verb
from subscriptions.models import AuditEvent
from subscriptions.signin.people import actor_for, failed_verb

FREE = 5
WINDOW = timedelta(minutes=15)
LONGEST = timedelta(hours=1)
_FAILURES = (
    Verb.OPERATOR_SIGN_IN_FAILED,
    Verb.MEMBER_SIGN_IN_FAILED,
    Verb.SECOND_FACTOR_FAILED,
)


def wait(request: HttpRequest, name: str) -> timedelta | None:
    """Return how long the account must wait at this address, or None.

    By the index on object_id: rows of one account in two hours are few, because they are throttled.
    """
    now = clock.now()
    rows = AuditEvent.objects.filter(
        object_id=name,
        object_type="user",
        verb__in=_FAILURES,
        address=request.META.get("REMOTE_ADDR"),
        at__gt=now - 2 * LONGEST,
    )
    times = list(rows.order_by("-id").values_list("at", flat=True)[: FREE + 8])
    ends = held_until(times)
    return ends - now if ends is not None and ends > now else None


def held_until(failures: Sequence[datetime]) -> datetime | None:
    """Return until when nothing may be tried after these failures, newest first; None: now.

    A failure belongs to the run of the one before it when it came within the window, or as soon
    as the wait was over; only tries that were let through are failures.
    """
    run = 1
    for later, earlier in itertools.pairwise(failures):
        if later - earlier > WINDOW + LONGEST:
            break
        run += 1
    is_fast = len(failures) >= FREE and failures[0] - failures[FREE - 1] <= WINDOW
    if run < FREE or (run == FREE and not is_fast):
        return None
    return failures[0] + min(timedelta(minutes=2 ** min(run - FREE, 6)), LONGEST)


def note_failure(request: HttpRequest, name: str) -> None:
    """Write down that somebody was wrong with this account's password."""
    audit.record(actor_for(request, name), failed_verb(name), Subject("user", name), {})


def note_code_failure(request: HttpRequest, name: str) -> None:
    """Write down that somebody was wrong with this account's second factor."""
    audit.record(actor_for(request, name), Verb.SECOND_FACTOR_FAILED, Subject("user", name), {})


def sentence(held: timedelta) -> str:
    """Return what somebody who must wait is told."""
    minutes = max(1, -(-int(held.total_seconds()) // 60))
    unit = "minute" if minutes == 1 else "minutes"
    return f"There were too many failures here. Wait {minutes} {unit}, then try again."
