"""Jobs on delivery's tables; each idempotent, in short slices, one process at a time.

None of them is needed for a delivery: with Redis or the beat away, rows only stay longer.
"""

import structlog
from celery import shared_task
from django.db import connection
from psycopg.errors import LockNotAvailable

from delivery import (
    announcements,
    attention,
    backlogs,
    counting,
    dead_letters,
    lifecycle,
    notices,
    parking,
    partitions,
    redriving,
    replays,
    reprojection,
    verifying,
)
from delivery.cursors import cluster_tag
from kafkahub import clock, config
from kafkahub.failpoints import failpoint
from kafkahub.jobs import alone
from subscriptions import alerts, audit, starts
from subscriptions.actions import issues
from subscriptions.audit import Actor, ActorKind, Subject, Verb

ROWS_PER_SLICE = 1_000
"""Rows one transaction touches: far below the statement timeout of 5 s."""
SLICES_PER_RUN = 20
"""Slices one run does at most, so that it ends within its 30 s; the next run goes on."""
GAPS_PER_SLICE = 100
"""Each takes the one lock of the audit chain for the rest of its slice."""
COUNTING_S = 15.0
"""Longest run of a count; the next one goes on where it stood."""
DAYS_AHEAD = 3
DEAD_LETTERS_PER_RUN = 20_000
"""Dead letters that one run tells of: one update by index, and a notice a subscription."""

log = structlog.get_logger()


@shared_task
def keep_partitions() -> None:
    """Make the attempt log's days ahead and drop those past retention."""
    kept_days = config.load().attempts_kept_days
    try:
        with alone("delivery.partitions") as mine:
            if mine:
                _keep_partitions(kept_days)
    except LockNotAvailable:
        # Somebody reads the log for long; days are made three ahead, so an hour later will do.
        log.info("partitions.busy")


@shared_task
def expire_dead_letters(rows_per_slice: int = ROWS_PER_SLICE) -> None:
    """Purge dead letters whose time is over; an audit row keeps their number."""
    for _ in range(SLICES_PER_RUN):
        with alone("delivery.dead_letters") as mine:
            expired = parking.expire(rows_per_slice) if mine else []
            for gone in expired:
                _audit_purge(gone)
        if sum(gone.rows for gone in expired) < rows_per_slice:
            return
        failpoint("job.mid_slice")


@shared_task
def watch_state() -> None:
    """Let operators' issues follow how deliveries stand."""
    alerts.tell(issues.reconcile(attention.KINDS, attention.findings(clock.now())))


@shared_task
def send_notices() -> None:
    """Hand new notices to the subscriptions of notices, as rows that are due now."""
    with alone("delivery.notices") as mine:
        if mine:
            notices.hand_out(ROWS_PER_SLICE)


@shared_task
def make_parked_anew(rows: int = 200) -> None:
    """Project parked records again whose grant has changed; nothing of them is sent before."""
    with alone("delivery.reprojection") as mine:
        pass  # it asks Kafka, so the lock is not held; a second process at it does no harm
    if mine:
        reprojection.make_anew(rows)


@shared_task
def announce_dead_letters() -> None:
    """Tell partners of new dead letters; a minute's are joined."""
    with alone("delivery.announce_dead_letters") as mine:
        if mine:
            dead_letters.announce(DEAD_LETTERS_PER_RUN)


@shared_task
def warn_of_purge() -> None:
    """Tell partners of dead letters that are purged within three days."""
    dead_letters.warn_of_purge(clock.now())


@shared_task
def watch_endpoints() -> None:
    """Tell partners of endpoints that fail or recover, and disable those that are hopeless."""
    with alone("delivery.watch_endpoints") as mine:
        if mine:
            lifecycle.watch(clock.now())


@shared_task
def probe_endpoints() -> None:
    """Probe endpoints that failing has disabled. Each is claimed, so none is probed twice."""
    lifecycle.probe_due(clock.now())


@shared_task
def watch_subscriptions() -> None:
    """Tell partners of subscriptions that are suspended, or go on."""
    with alone("delivery.watch_subscriptions") as mine:
        if mine:
            backlogs.watch_suspensions(clock.now())


@shared_task
def watch_lags() -> None:
    """Tell partners of subscriptions that are behind, or have caught up."""
    with alone("delivery.watch_lags") as mine:
        pass  # it asks Kafka, so the lock is not held; each notice is written once anyhow
    if mine:
        backlogs.watch_lags(starts.process_admin(), clock.now())


@shared_task
def verify_endpoints() -> None:
    """Make the handshakes that are due. Each is claimed, so two processes make none twice."""
    verifying.run_due(clock.now())


@shared_task
def give_up_unverified() -> None:
    """Disable endpoints that were not verified in 7 days, and forget those that are gone."""
    verifying.give_up(clock.now())
    lifecycle.forget_gone()


@shared_task
def sweep_parked() -> None:
    """Make rows due whose engine died, and delete marks that nothing needs any more."""
    with alone("delivery.sweep") as mine:
        if mine:
            parking.sweep_leases(ROWS_PER_SLICE)
            parking.sweep_marks(ROWS_PER_SLICE)


@shared_task
def announce_gaps(rows_per_slice: int = GAPS_PER_SLICE) -> None:
    """Tell partners and the audit log of gaps that engines have found."""
    for _ in range(SLICES_PER_RUN):
        if announcements.announce(rows_per_slice, cluster_tag()) < rows_per_slice:
            return
        failpoint("job.mid_slice")


@shared_task
def keep_replays() -> None:
    """Count replays, make parked rows due for them, and end what is over."""
    redriving.step()
    counting.count(COUNTING_S)
    with alone("delivery.replays") as mine:
        if mine:
            replays.end_empty()
            replays.cancel_unstarted()
            replays.tell_ended()
            replays.expire(ROWS_PER_SLICE)


def _keep_partitions(kept_days: int) -> None:
    connection.ensure_connection()
    conn = connection.connection
    today = partitions.current_day(conn)
    made = partitions.ensure(conn, today, days_ahead=DAYS_AHEAD)
    dropped = partitions.drop_older_than(conn, today, kept_days=kept_days)
    purged = partitions.purge_default(conn, today, kept_days=kept_days)
    if made or dropped or purged:
        log.info(
            "partitions.kept",
            made=[str(day) for day in made],
            dropped=[str(day) for day in dropped],
            purged_rows=purged,
        )


def _audit_purge(gone: parking.Expired) -> None:
    audit.append(
        Actor(ActorKind.SYSTEM, "delivery.expire_dead_letters"),
        Verb.PARKED_PURGED,
        Subject("subscription", gone.subscription, gone.partner),
        {"dead_letters": (gone.rows, 0), "reason": (gone.reason, None)},
    )
