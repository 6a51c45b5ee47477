"""What follows from how endpoints fare: notices, disabling, probes. Time is a parameter."""

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta

from django.db import transaction
from django.db.models import Exists, OuterRef, Q, QuerySet

from delivery import handshake
from delivery.models import EndpointStanding, ParkedDelivery
from delivery.outcome import name_of
from kafkahub.egress.curl import Answer
from subscriptions import episodes
from subscriptions.actions import lifecycle as actions
from subscriptions.models import Endpoint, Episode, LanePosition
from subscriptions.notice_types import Kind

FAILING_AFTER = timedelta(minutes=15)
"""How long nothing may get through before the partner is told."""
WARNED_AT = (0.5, 0.7, 0.9)
"""Parts of the time to disabling at which it is told; and ``LAST_WARNING`` before."""
LAST_WARNING = timedelta(hours=24)
LEAST_FAILURES = 20
LEAST_SPREAD = timedelta(hours=24)
"""An endpoint is not disabled for fewer failures, or for failures that lie closer together."""
PROBED_EVERY = timedelta(minutes=15)
PROBED_FOR = timedelta(days=14)
GOOD_FOR = timedelta(minutes=1)
"""Two good probes, so far apart at least, enable an endpoint again."""
PROBES_AT_ONCE = 8
CLAIM = timedelta(seconds=60)

Status, Reason = Endpoint.Status, Endpoint.StatusReason
OWED = (ParkedDelivery.State.SCHEDULED, ParkedDelivery.State.SENDING)


def watch(now: datetime) -> None:
    """Tell of endpoints that fail, warn, disable, and tell of those that recovered."""
    _begin_anew()
    for standing in EndpointStanding.objects.filter(
        failing_since__lte=now - FAILING_AFTER
    ):  # by standing_failing
        endpoint = _owing().filter(pk=standing.endpoint, status=Status.ACTIVE).first()
        if endpoint is not None:
            _judge(endpoint, standing, now)
    _recovered()


def _begin_anew() -> None:
    """Let no failure from before a person enabled an endpoint count against it."""
    active = Endpoint.objects.filter(pk=OuterRef("endpoint"), status=Status.ACTIVE)
    failing = EndpointStanding.objects.filter(failing_since__isnull=False)  # by standing_failing
    failing.filter(~Exists(active)).update(failing_since=None, failures=0)
    enabled = EndpointStanding.objects.filter(Exists(active), disabled_at__isnull=False)
    enabled.update(
        failing_since=None, failures=0, disabled_at=None, probe_due_at=None, probe_good_at=None
    )


def forget_gone() -> None:
    """Delete what was known of endpoints that are no more."""
    known = Endpoint.objects.filter(pk=OuterRef("endpoint"))
    EndpointStanding.objects.filter(~Exists(known)).delete()


def _owing() -> QuerySet[Endpoint]:
    """Return the endpoints that something is owed to."""
    parked = ParkedDelivery.objects.filter(
        subscription__endpoint=OuterRef("pk"), state__in=OWED
    )  # by parked_due
    lanes = LanePosition.objects.filter(subscription__endpoint=OuterRef("pk")).exclude(
        state=LanePosition.State.LIVE
    )
    return Endpoint.objects.filter(Q(Exists(parked)) | Q(Exists(lanes)))


def _judge(endpoint: Endpoint, standing: EndpointStanding, now: datetime) -> None:
    since = standing.failing_since or now
    members = _members(endpoint, standing)
    with transaction.atomic():
        episodes.begin(
            Kind.ENDPOINT_FAILING,
            endpoint.pk,
            endpoint.partner_id,
            members,
            since=since,
            endpoint=endpoint.pk,
        )
    if not endpoint.is_auto_disabled:
        return
    disable_at = since + timedelta(hours=endpoint.disable_after_h)
    if now >= disable_at and _is_hopeless(standing):
        _disable(endpoint, now)
    elif (number := warnings_due(since, disable_at, now)) and now < disable_at:
        episode = Episode.objects.get(subject=endpoint.pk, type=Kind.ENDPOINT_FAILING)
        with transaction.atomic():
            episodes.step(episode, number, Kind.ENDPOINT_WARNING, members, endpoint=endpoint.pk)


def warnings_due(since: datetime, disable_at: datetime, now: datetime) -> int:
    """Return how many of the warnings before disabling are due by now."""
    span = disable_at - since
    times = sorted([*(since + span * part for part in WARNED_AT), disable_at - LAST_WARNING])
    return sum(since < at <= now for at in times)


def disable_at(endpoint: Endpoint, standing: EndpointStanding) -> datetime | None:
    """Return when an endpoint is disabled if nothing gets through; None where it never is."""
    if standing.failing_since is None or not endpoint.is_auto_disabled:
        return None
    return standing.failing_since + timedelta(hours=endpoint.disable_after_h)


def _is_hopeless(standing: EndpointStanding) -> bool:
    since, last = standing.failing_since, standing.last_failure_at
    is_spread = since is not None and last is not None and last - since >= LEAST_SPREAD
    return standing.failures >= LEAST_FAILURES and is_spread


def _disable(endpoint: Endpoint, now: datetime) -> None:
    with transaction.atomic():
        # Before the action, whose audit row is to be the last thing.
        EndpointStanding.objects.filter(pk=endpoint.pk).update(
            disabled_at=now, probe_due_at=now + PROBED_EVERY, probe_good_at=None
        )
        actions.disable_failing(endpoint)


def _recovered() -> None:
    """End episodes whose endpoint took something since, or is gone."""
    for episode in Episode.objects.filter(type=Kind.ENDPOINT_FAILING):  # by episode_of_type
        endpoint = Endpoint.objects.filter(pk=episode.subject).first()
        standing = EndpointStanding.objects.filter(pk=episode.subject).first()
        if endpoint is None or standing is None:
            with transaction.atomic():
                episodes.end(episode, None, {})
        elif standing.last_success_at is not None and standing.last_success_at > episode.since:
            members = _members(endpoint, standing) | {"since": episode.since, "disable_at": None}
            with transaction.atomic():
                episodes.end(episode, Kind.ENDPOINT_RECOVERED, members, endpoint=endpoint.pk)


def _members(endpoint: Endpoint, standing: EndpointStanding) -> dict[str, object]:
    parked = ParkedDelivery.objects.filter(subscription__endpoint=endpoint, state__in=OWED)
    return {
        "endpoint": endpoint.pk,
        "url_host": endpoint.host,
        "outcome": standing.last_outcome or None,
        "http_status": standing.last_status,
        "since": standing.failing_since,
        "disable_at": disable_at(endpoint, standing),
        # How many records lanes owe only Kafka knows; a job that tells must not wait for it.
        "owed": None,
        "parked": parked.count(),
    }


# Probes of endpoints that were disabled for failing.


def probe_due(now: datetime) -> int:
    """Probe endpoints whose probe is due; return how many. Asks them: outside a transaction."""
    due = _claim_due(now)
    for endpoint, is_good in _probed(due):
        settle(endpoint, now, is_good=is_good)
    return len(due)


def settle(endpoint: Endpoint, now: datetime, *, is_good: bool) -> bool:
    """Note a probe; return whether it enabled the endpoint."""
    rows = EndpointStanding.objects.filter(pk=endpoint.pk)
    if not is_good:
        rows.update(probe_good_at=None, probe_due_at=now + PROBED_EVERY)
        return False
    first = rows.values_list("probe_good_at", flat=True).first()
    if first is None:
        rows.update(probe_good_at=now, probe_due_at=now + GOOD_FOR)
        return False
    if now - first < GOOD_FOR:
        return False
    with transaction.atomic():
        # Its failures are over, or the next look would disable it again.
        rows.update(
            last_success_at=now, failing_since=None, failures=0, disabled_at=None, probe_due_at=None
        )
        return actions.recover(endpoint)


def _claim_due(now: datetime) -> list[Endpoint]:
    with transaction.atomic():
        due = EndpointStanding.objects.filter(
            probe_due_at__lte=now, disabled_at__gt=now - PROBED_FOR
        )  # those that failing has disabled are few
        ids = list(
            due.select_for_update(skip_locked=True).values_list("pk", flat=True)[:PROBES_AT_ONCE]
        )
        EndpointStanding.objects.filter(pk__in=ids).update(probe_due_at=now + CLAIM)
    return list(
        Endpoint.objects.filter(
            pk__in=ids, status_reason=Reason.FAILING, is_auto_recovered=True
        ).order_by("pk")
    )


def _probed(due: Sequence[Endpoint]) -> Iterable[tuple[Endpoint, bool]]:
    asked = [(endpoint, handshake.live(endpoint)) for endpoint in due]
    if not asked:
        return []
    with ThreadPoolExecutor(PROBES_AT_ONCE, thread_name_prefix="probes") as pool:
        waiting = [(endpoint, pool.submit(handshake.probe, live)) for endpoint, live in asked]
        return [(endpoint, is_good(future.result())) for endpoint, future in waiting]


def is_good(answer: Answer) -> bool:
    """Return whether an answer is a 2xx."""
    return answer.outcome is None and name_of(answer.status) == "delivered"
