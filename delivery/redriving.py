"""Replays of parked rows: a job makes them due, a slice at a time, and engines send them."""

import math

from django.db import connection, transaction
from django.db.models import F, Max, Min, QuerySet, Sum
from django.db.models.functions import Length

from delivery import actions, parking, replays
from delivery.actions import Place
from delivery.models import ParkedDelivery
from kafkahub import clock, config
from kafkahub.errors import NotFound, RecordGone
from kafkahub.failpoints import failpoint
from kafkahub.kafka.record import Position
from subscriptions.audit import Actor, ActorKind
from subscriptions.models import Replay, ReplayProgress, Subscription

State = ParkedDelivery.State
SLICE = 500
"""Rows due at once of one replay: what a pause must take back, and what one statement moves."""
STEP_S = 2.0
"""Between two runs of the job; a rate is kept by due times within it."""
REREADS = 20
"""Rows of one run whose records must be read from Kafka again."""
SYSTEM = Actor(ActorKind.SYSTEM, "delivery.run_redrives")

# Its reason stays, so that a pause can give it back as it was.
DUE = """
UPDATE parked_delivery p
   SET state = 'scheduled', attempts = 0, expires_at = NULL, replay = %(replay)s,
       next_attempt_at = now() + make_interval(secs => r.place * %(every_s)s)
  FROM unnest(%(ids)s::text[]) WITH ORDINALITY AS r (id, place)
 WHERE p.id = r.id AND p.state IN ('dead', 'scheduled') AND p.body IS NOT NULL
RETURNING p.id
"""  # the primary key

TAKE_BACK = """
UPDATE parked_delivery
   SET state = 'dead', replay = '', next_attempt_at = NULL,
       expires_at = now() + make_interval(days => %(kept_days)s)
 WHERE replay = %(replay)s AND state = 'scheduled' AND attempts = 0
"""  # parked_of_replay (replay, state)


def matching(replay: Replay) -> QuerySet[ParkedDelivery]:
    """Return the rows that a replay asks for and has not taken yet."""
    wanted = replay.source["parked"]
    rows = ParkedDelivery.objects.filter(
        subscription_id=replay.subscription_id,
        state=wanted.get("state", State.DEAD),
        partition__gte=0,
        first_failed_at__lte=replay.created_at,
    ).exclude(replay=replay.pk)
    for name in ("reason", "topic"):
        if name in wanted:
            rows = rows.filter(**{name: wanted[name]})
    if "key" in wanted:
        rows = rows.filter(key=str(wanted["key"]).encode())
    if "since" in wanted:
        rows = rows.filter(first_failed_at__gte=wanted["since"])
    if "until" in wanted:
        rows = rows.filter(first_failed_at__lt=wanted["until"])
    return rows


def count(replay: Replay) -> None:
    """Count the rows of a replay of parked rows, and let it be started."""
    figures = matching(replay).aggregate(
        bytes=Sum(Length("body")), first=Min("record_time"), last=Max("record_time")
    )
    with transaction.atomic():
        if replays.counted(replay):
            ReplayProgress.objects.filter(pk=replay.pk).update(
                count=matching(replay).count(),
                bytes=figures["bytes"] or 0,
                first_at=figures["first"],
                last_at=figures["last"],
            )


def step(limit: int = SLICE) -> int:
    """Do one step of every replay of parked rows; return how many rows were made due.

    Asks Kafka for rows whose body must be made anew, so it must not run inside a transaction.
    """
    parked = Replay.objects.filter(kind=Replay.Source.PARKED)
    for replay in parked.filter(state=Replay.State.COUNTING):
        count(replay)
    taken_back = Replay.objects.filter(
        kind=Replay.Source.PARKED,
        state__in=[Replay.State.PAUSED, Replay.State.CANCELLED],
        pk__in=ParkedDelivery.objects.exclude(replay="")
        .filter(state=State.SCHEDULED, attempts=0)
        .values("replay"),
    )
    for replay in taken_back:
        _take_back(replay)
    running = parked.filter(state=Replay.State.RUNNING).select_related("subscription__endpoint")
    return sum(_go_on(replay, limit) for replay in running)


def _go_on(replay: Replay, limit: int) -> int:
    out = ParkedDelivery.objects.filter(
        replay=replay.pk, state__in=[State.SCHEDULED, State.SENDING], attempts=0
    ).count()
    room = limit - out
    if replay.rate_per_s is not None:
        room = min(room, math.ceil(replay.rate_per_s * STEP_S))
    if room <= 0:
        return 0
    rows = list(matching(replay).order_by("first_failed_at", "pk")[:room])
    if not rows and not out:
        _end(replay)
    made = _make_due(replay, rows)
    failpoint("job.mid_slice")
    return made


def _make_due(replay: Replay, rows: list[ParkedDelivery]) -> int:
    versions: dict[str, int | None] = {}
    ready: list[ParkedDelivery] = []
    stale: list[ParkedDelivery] = []
    for row in rows:
        if row.topic not in versions:
            versions[row.topic] = actions.grant_version(replay.subscription, row.topic)
        (stale if actions.needs_body(row, versions[row.topic]) else ready).append(row)
    for row in stale[:REREADS]:
        if _refilled(replay.subscription, row):
            ready.append(row)
        else:
            _pass_over(replay, row)
    every_s = 0.0 if replay.rate_per_s is None else 1.0 / replay.rate_per_s
    values: dict[str, str | float | list[str]] = {
        "replay": replay.pk,
        "every_s": every_s,
        "ids": [row.pk for row in ready],
    }
    with transaction.atomic(), connection.cursor() as cursor:
        # Its state is looked at under the lock that a pause takes.
        is_running = Replay.objects.select_for_update(no_key=True).filter(
            pk=replay.pk, state=Replay.State.RUNNING
        )
        if not is_running.exists():
            return 0
        cursor.execute(DUE, values)
        made = int(cursor.rowcount)
        cursor.execute(parking.RING)
    return made


def _refilled(subscription: Subscription, row: ParkedDelivery) -> bool:
    """Make the body of a row anew; False when there is nothing to make it of any more."""
    place = Place(Position(row.topic, row.partition, row.offset), row.pk, row.sends)
    try:
        remade = actions.remade_at(subscription, place)
    except (NotFound, RecordGone):
        return False
    return parking.refill(
        row.pk,
        row.reason,
        {State.DEAD, State.SCHEDULED},
        body=remade.content,
        is_sensitive=actions.is_sensitive(row.topic),
        headers=remade.headers,
        grant_version=remade.grant_version,
    )


def _pass_over(replay: Replay, row: ParkedDelivery) -> None:
    """Leave a row as it is: it counts as failed, and is not looked at again by this replay."""
    with transaction.atomic():
        ParkedDelivery.objects.filter(pk=row.pk).update(replay=replay.pk)
        ReplayProgress.objects.filter(pk=replay.pk).update(failed=F("failed") + 1)


def _take_back(replay: Replay) -> None:
    """Let what was made due and not sent yet be as it was."""
    if replay.source["parked"].get("state", State.DEAD) != State.DEAD:
        waiting = ParkedDelivery.objects.filter(replay=replay.pk, state=State.SCHEDULED, attempts=0)
        waiting.update(replay="")
        return
    kept_days = config.load().dead_letters_kept_days
    with connection.cursor() as cursor:
        cursor.execute(TAKE_BACK, {"replay": replay.pk, "kept_days": kept_days})


def _end(replay: Replay) -> None:
    Replay.objects.filter(pk=replay.pk, state=Replay.State.RUNNING).update(
        state=Replay.State.DONE, ended_at=clock.now(), version=F("version") + 1
    )
