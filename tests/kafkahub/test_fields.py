"""Sealed columns: what stands in the table, and what a page or log line may show."""

import pytest
from django.db import connection

from kafkahub.crypto import SealBroken
from kafkahub.fields import Sealed
from subscriptions.models import Endpoint, Partner

pytestmark = pytest.mark.django_db


def endpoint(headers: str | None) -> Endpoint:
    partner = Partner.objects.create(name=f"Partner of {headers}")
    return Endpoint.objects.create(
        partner=partner, name="in", url="https://a.example/", headers=headers
    )


def stored(row: Endpoint) -> str | None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT headers FROM subscriptions_endpoint WHERE id = %s", [row.pk])
        value: str | None = cursor.fetchone()[0]
    return value


def test_the_table_holds_no_plain_text() -> None:
    text = stored(endpoint('{"x-token": "sesame"}'))

    assert text is not None
    assert text.startswith("v1:")
    assert "sesame" not in text


def test_a_row_read_again_reveals_its_value_only_when_asked() -> None:
    row = Endpoint.objects.get(pk=endpoint("sesame").pk)

    assert isinstance(row.headers, Sealed)
    assert "sesame" not in f"{row.headers} {row.headers!r} {row.__dict__}"
    assert row.headers.reveal() == "sesame"


def test_a_row_just_saved_reveals_its_value_too() -> None:
    assert endpoint("sesame").headers.reveal() == "sesame"


def test_saving_a_row_that_was_read_keeps_the_value_as_it_stands() -> None:
    row = Endpoint.objects.get(pk=endpoint("sesame").pk)
    before = stored(row)

    row.save()

    assert stored(row) == before


def test_no_value_stays_no_value() -> None:
    row = endpoint(None)

    assert stored(row) is None
    assert Endpoint.objects.get(pk=row.pk).headers is None


def test_a_value_copied_to_another_row_does_not_open() -> None:
    mine, other = endpoint("sesame"), endpoint("other")
    with connection.cursor() as cursor:
        change = "UPDATE subscriptions_endpoint SET headers = %s WHERE id = %s"
        cursor.execute(change, [stored(mine), other.pk])

    with pytest.raises(SealBroken):
        Endpoint.objects.get(pk=other.pk).headers.reveal()


def test_plain_text_cannot_get_into_the_table_past_the_seal() -> None:
    row = endpoint("sesame")

    with pytest.raises(TypeError, match="saving its row"):
        Endpoint.objects.filter(pk=row.pk).update(headers="plain")
