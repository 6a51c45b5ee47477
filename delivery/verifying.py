"""Handshakes that are due: a few at once, each judged by what the endpoint showed."""

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta

from delivery import handshake
from delivery.handshake import Shown
from subscriptions.actions import verification as actions
from subscriptions.models import Endpoint, Handshake

AT_ONCE = 8
"""Handshakes one run makes, side by side: none of them may hold the others up."""
ASKED_AGAIN_AFTER = timedelta(hours=24)
"""How long a consent by CloudEvents holds before it is asked for again."""
GIVEN_UP_AT_ONCE = 100

Method = Endpoint.Method


def run_due(now: datetime) -> int:
    """Make the tries that are due; return how many. Asks endpoints, so outside a transaction."""
    _ask_again(now)
    due = actions.claim_due(now, AT_ONCE)
    for endpoint, shown in _shown(due, now):
        settle(endpoint, shown, now)
    return len(due)


def try_now(endpoint: Endpoint, now: datetime) -> Shown:
    """Make one try, whoever asks; return what the endpoint showed."""
    shown = _asking(endpoint, now)()
    settle(endpoint, shown, now)
    return shown


def give_up(now: datetime) -> None:
    """Disable what was not verified in 7 days, and forget what limits need no more."""
    while actions.give_up(now, GIVEN_UP_AT_ONCE) == GIVEN_UP_AT_ONCE:
        pass
    actions.forget_runs(now)


def settle(endpoint: Endpoint, shown: Shown, now: datetime) -> None:
    """Write what follows from a try."""
    if shown.is_verified:
        actions.succeed(endpoint, shown.allowed_rate, now)
    elif endpoint.is_verified and shown.is_refusal:
        actions.withdraw(endpoint, shown.detail, now)
    elif not endpoint.is_verified:
        actions.fail(endpoint, shown.detail, now)


def _ask_again(now: datetime) -> None:
    """Let consents be asked for that are a day old; one that cannot be reached keeps its own."""
    old = Handshake.objects.filter(
        state=Handshake.State.VERIFIED,
        due_at=None,
        last_at__lte=now - ASKED_AGAIN_AFTER,
        endpoint__verification_method=Method.CLOUDEVENTS,
        endpoint__status=Endpoint.Status.ACTIVE,
    )
    old.update(due_at=now, last_at=now)


def _shown(due: Iterable[Endpoint], now: datetime) -> list[tuple[Endpoint, Shown]]:
    asked = [(endpoint, _asking(endpoint, now)) for endpoint in due]
    if not asked:
        return []
    with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="handshakes") as pool:
        waiting = [(endpoint, pool.submit(ask)) for endpoint, ask in asked]
        return [(endpoint, future.result()) for endpoint, future in waiting]


def _asking(endpoint: Endpoint, now: datetime) -> Callable[[], Shown]:
    """Return the try as a function that needs no database, for a thread to call."""
    live = handshake.live(endpoint)
    if endpoint.verification_method == Method.CLOUDEVENTS:
        callback = actions.new_callback(endpoint, now)
        return lambda: handshake.ask_consent(live, callback, endpoint.rate_per_s)
    return lambda: handshake.challenge(live)
