"""What the operators' overview says of this app."""

from collections.abc import Sequence
from datetime import timedelta

from django.db.models import Count

from delivery.models import DeliveryAttempt, ParkedDelivery
from delivery.outcome import OutcomeClass
from kafkahub import clock
from subscriptions.admin.base import MAX_COUNT
from subscriptions.admin.display import LOOKS, WAITING, list_url
from subscriptions.admin_site import Figure, panel

State = ParkedDelivery.State


@panel("Attempts in the last hour")
def attempts() -> Sequence[Figure]:
    """Return the attempts of the last hour by class; by primary key (at, id)."""
    newest = DeliveryAttempt.objects.filter(at__gte=clock.now() - timedelta(hours=1))
    counts = dict(newest.order_by().values_list("outcome_class").annotate(rows=Count("pk")))
    words = [each.value for each in OutcomeClass if counts.get(each.value)]
    return [
        Figure(
            word.capitalize(),
            f"{counts.get(word, 0):,}",
            LOOKS.get(word, WAITING).tone if counts.get(word) else "",
            list_url(DeliveryAttempt, {"outcome_class": word}),
        )
        for word in words or [OutcomeClass.DELIVERED.value]
    ]


@panel("Parked")
def parked() -> Sequence[Figure]:
    """Return how many deliveries are parked in each state, counted up to a bound."""
    return [
        _parked(State.SCHEDULED, "warn"),
        _parked(State.SENDING, "info"),
        _parked(State.DEAD, "bad"),
    ]


def _parked(state: ParkedDelivery.State, tone: str) -> Figure:
    count = ParkedDelivery.objects.filter(state=state).order_by()[: MAX_COUNT + 1].count()
    text = f"{MAX_COUNT:,}+" if count > MAX_COUNT else f"{count:,}"
    url = list_url(ParkedDelivery, {"state__exact": state.value})
    return Figure(state.label, text, tone if count else "", url)
