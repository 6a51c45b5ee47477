"""What the operators' overview says of this app."""

from collections.abc import Sequence

from django.db.models import Count

from kafkahub import clock
from subscriptions.admin.display import LOOKS, WAITING, list_url
from subscriptions.admin_site import Figure, panel
from subscriptions.models import Endpoint, LanePosition, Partner, Subscription

OWED = (LanePosition.State.BEHIND, LanePosition.State.PAUSED)


@panel("Who is served")
def partners() -> Sequence[Figure]:
    """Return how many partners, subscriptions and endpoints are in which state."""
    return [
        *_by_status(Subscription, "Subscriptions"),
        *_by_status(Endpoint, "Endpoints"),
        *_by_status(Partner, "Partners"),
    ]


@panel("Lanes")
def lanes() -> Sequence[Figure]:
    """Return how many lanes owe records, and since when the oldest does."""
    owed = LanePosition.objects.filter(state__in=OWED)
    url = list_url(LanePosition, {"state__exact": LanePosition.State.BEHIND})
    oldest = owed.order_by("since").first()
    count = Figure("Lanes behind or paused", str(owed.count()), "warn" if oldest else "ok", url)
    if oldest is None:
        return [count, Figure("Oldest owed", "none", "ok")]
    minutes = int((clock.now() - oldest.since).total_seconds() // 60)
    return [
        count,
        Figure("Oldest owed", f"{minutes} min", "warn", url),
        Figure("Where", str(oldest.topic), "", url),
    ]


def _by_status(model: type[Subscription | Endpoint | Partner], name: str) -> Sequence[Figure]:
    counts = dict(
        model._default_manager.order_by().values_list("status").annotate(rows=Count("pk"))
    )
    # An active state is always shown: a nought is news there.
    words = ["active", *(word for word in model.Status.values if word != "active")]
    return [
        Figure(
            f"{name} {word}",
            str(counts.get(word, 0)),
            LOOKS.get(word, WAITING).tone if counts.get(word) else "",
            list_url(model, {"status__exact": word}),
        )
        for word in words
        if word == "active" or counts.get(word)
    ]
