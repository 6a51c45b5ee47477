"""Jobs on the control API's tables; each idempotent, in short slices, one process at a time."""

import functools
from datetime import timedelta

import structlog
from celery import shared_task
from django.contrib.sessions.models import Session
from oauth2_provider.models import AccessToken

from kafkahub import clock, config
from kafkahub.failpoints import failpoint
from kafkahub.jobs import alone
from kafkahub.kafka.admin import Admin
from kafkahub.kafka.options import admin_options
from subscriptions import audit, expiries, idempotency, notices, quotas, receipts, usage, watching
from subscriptions.models import IdempotencyKey, StreamTicket, UsageHour
from subscriptions.pull import mirror, ownership

log = structlog.get_logger()

ROWS_PER_SLICE = 1_000
"""Rows one transaction touches: far below the statement timeout of 5 s."""
TICKETS_KEPT = timedelta(days=1)
SLICES_PER_RUN = 20
"""Slices one run does at most, so that it ends within its 30 s; the next run goes on."""


@shared_task
def judge_quotas() -> None:
    """Stop grants whose hard quota is used up, let them go when it begins anew, and tell."""
    with alone("subscriptions.quotas") as mine:
        if mine:
            quotas.judge()


@shared_task
def expire_idempotency_keys(rows_per_slice: int = ROWS_PER_SLICE) -> None:
    """Delete stored answers older than the 24 h that are promised."""
    for _ in range(SLICES_PER_RUN):
        with alone("subscriptions.idempotency_keys") as mine:
            gone = _expire_answers(rows_per_slice) if mine else 0
        if gone < rows_per_slice:
            return
        failpoint("job.mid_slice")


@shared_task
def expire_stream_tickets(rows_per_slice: int = ROWS_PER_SLICE) -> None:
    """Delete tickets a day after their end: until then a list can say why a page stopped."""
    for _ in range(SLICES_PER_RUN):
        with alone("subscriptions.stream_tickets") as mine:
            gone = _expire_tickets(rows_per_slice) if mine else 0
        if gone < rows_per_slice:
            return
        failpoint("job.mid_slice")


@shared_task
def expire_usage(rows_per_slice: int = ROWS_PER_SLICE) -> None:
    """Delete what partners used more than 90 days ago."""
    for _ in range(SLICES_PER_RUN):
        with alone("subscriptions.usage") as mine:
            gone = _expire_usage(rows_per_slice) if mine else 0
        if gone < rows_per_slice:
            return
        failpoint("job.mid_slice")


@shared_task
def expire_access_tokens(rows_per_slice: int = ROWS_PER_SLICE) -> None:
    """Delete access tokens that are over; an open stream has closed by then."""
    for _ in range(SLICES_PER_RUN):
        with alone("subscriptions.access_tokens") as mine:
            gone = _expire_tokens(rows_per_slice) if mine else 0
        if gone < rows_per_slice:
            return
        failpoint("job.mid_slice")


@shared_task
def expire_receipts(rows_per_slice: int = ROWS_PER_SLICE) -> None:
    """Delete receipts of produce requests past the 24 h that are promised."""
    for _ in range(SLICES_PER_RUN):
        with alone("subscriptions.receipts") as mine:
            gone = receipts.expire(rows_per_slice) if mine else 0
        if gone < rows_per_slice:
            return
        failpoint("job.mid_slice")


@shared_task
def expire_instances(groups_per_run: int = ROWS_PER_SLICE) -> None:
    """Remove consumer instances without a call, so that the others of their group take over."""
    with alone("subscriptions.instances") as mine:
        if mine:
            ownership.expire(groups_per_run)


@shared_task
def mirror_groups() -> None:
    """Copy what consumer groups have committed to Kafka, where tools that show lag look for it."""
    mirror.copy_out(_kafka())


@shared_task
def mail_notices() -> None:
    """Mail notices to partners' contacts; outside a transaction, for a mail server is slow."""
    notices.mail()


@shared_task
def warn_of_expiries() -> None:
    """Tell partners of certificates, secrets and keys that end soon."""
    expiries.warn(clock.now())


@shared_task
def expire_notices(rows_per_slice: int = ROWS_PER_SLICE) -> None:
    """Delete notices older than the 90 days they are kept."""
    for _ in range(SLICES_PER_RUN):
        with alone("subscriptions.notices") as mine:
            gone = notices.expire(rows_per_slice) if mine else 0
        if gone < rows_per_slice:
            return
        failpoint("job.mid_slice")


@shared_task
def expire_sessions() -> None:
    """Delete operators' sessions that are over."""
    with alone("subscriptions.sessions") as mine:
        if mine:
            Session.objects.filter(expire_date__lt=clock.now()).delete()


@shared_task
def write_audit_head() -> None:
    """Write the newest audit row into the log, outside PostgreSQL: a cut tail shows by it."""
    newest = audit.head()
    log.info("audit.head_written", id=newest.id, hash=newest.hash.hex())


@functools.cache
def _kafka() -> Admin:
    """Return the one client of this process, made after the fork."""
    return Admin(admin_options(config.load()))


def _expire_tickets(rows: int) -> int:
    old = StreamTicket.objects.filter(expires_at__lt=clock.now() - TICKETS_KEPT)
    slice_ids = old.order_by("expires_at").values_list("pk", flat=True)[:rows]
    deleted, _ = StreamTicket.objects.filter(pk__in=list(slice_ids)).delete()
    return deleted


def _expire_usage(rows: int) -> int:
    old = UsageHour.objects.filter(hour__lt=clock.now() - usage.KEPT)
    slice_ids = old.order_by("hour").values_list("pk", flat=True)[:rows]
    deleted, _ = UsageHour.objects.filter(pk__in=list(slice_ids)).delete()
    return deleted


def _expire_tokens(rows: int) -> int:
    old = AccessToken.objects.filter(expires__lt=clock.now())
    slice_ids = old.order_by("pk").values_list("pk", flat=True)[:rows]
    deleted, _ = AccessToken.objects.filter(pk__in=list(slice_ids)).delete()
    return int(deleted)


@shared_task
def watch_use() -> None:
    """Judge what credentials do now."""
    watching.watch_use()


@shared_task
def watch_state() -> None:
    """Let operators' issues follow what is the matter now."""
    watching.watch_state(_kafka().cluster_id)


@shared_task
def verify_audit() -> None:
    """Check the chain of the audit log."""
    watching.verify_audit()


@shared_task
def expire_sightings(rows_per_slice: int = ROWS_PER_SLICE) -> None:
    """Delete what was counted of credentials and is looked at no more."""
    for _ in range(SLICES_PER_RUN):
        with alone("subscriptions.sightings") as mine:
            gone = watching.expire(rows_per_slice) if mine else 0
        if gone < rows_per_slice:
            return
        failpoint("job.mid_slice")


def _expire_answers(rows: int) -> int:
    old = IdempotencyKey.objects.filter(created_at__lt=clock.now() - idempotency.KEPT)
    slice_ids = old.order_by("created_at").values_list("pk", flat=True)[:rows]
    deleted, _ = IdempotencyKey.objects.filter(pk__in=list(slice_ids)).delete()
    return deleted
