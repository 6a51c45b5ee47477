"""What ends soon is told at its steps, each once; the clock is a parameter."""

from datetime import timedelta

import pytest

from kafkahub import clock
from subscriptions import expiries, tasks
from subscriptions.models import ApiKey, Endpoint, Notice, SigningSecret
from subscriptions.notice_types import Kind
from tests import factories

pytestmark = pytest.mark.django_db
NOW = clock.now()
END = NOW + timedelta(days=60)


def warned(days_before: float) -> list[str]:
    """Return what a run so many days before the end tells of."""
    before = set(Notice.objects.values_list("pk", flat=True))
    expiries.warn(END - timedelta(days=days_before))
    fresh = Notice.objects.exclude(pk__in=before)
    return sorted(fresh.values_list("type", flat=True))


def test_a_certificate_is_told_of_30_7_and_1_days_before() -> None:
    endpoint = factories.endpoint(factories.partner())
    Endpoint.objects.filter(pk=endpoint.pk).update(tls_expires_at=END)

    told = {days: len(warned(days)) for days in (30.1, 30, 29, 7.1, 7, 6, 1, 0.5, 0)}

    assert told == {30.1: 0, 30: 1, 29: 0, 7.1: 0, 7: 1, 6: 0, 1: 1, 0.5: 0, 0: 0}
    one = Notice.objects.order_by("id")[0]
    assert (one.type, one.data["object"]) == (Kind.CERTIFICATE_EXPIRING, endpoint.pk)


def test_a_new_certificate_begins_anew() -> None:
    endpoint = factories.endpoint(factories.partner())
    Endpoint.objects.filter(pk=endpoint.pk).update(tls_expires_at=END)
    assert warned(20) == [Kind.CERTIFICATE_EXPIRING]

    Endpoint.objects.filter(pk=endpoint.pk).update(tls_expires_at=END + timedelta(days=1))

    assert warned(20) == [Kind.CERTIFICATE_EXPIRING]


def test_a_key_is_told_of_14_3_and_1_days_before_unless_revoked() -> None:
    owner = factories.partner()
    for name, revoked_at in (("live", None), ("revoked", NOW)):
        row, _ = factories.api_key(owner, name)
        ApiKey.objects.filter(pk=row.pk).update(expires_at=END, revoked_at=revoked_at)

    assert [len(warned(days)) for days in (15, 14, 3, 1)] == [0, 1, 1, 1]


def test_a_retiring_secret_is_told_of_and_an_active_one_never() -> None:
    endpoint = factories.endpoint(factories.partner())
    for expires_at in (END, None):
        SigningSecret.objects.create(
            endpoint=endpoint,
            secret="whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxw=",
            expires_at=expires_at,
        )

    assert warned(7) == [Kind.SECRET_EXPIRING]


def test_the_job_runs() -> None:
    tasks.warn_of_expiries()

    assert not Notice.objects.exists()
