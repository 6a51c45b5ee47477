"""Rotation of the ring: every value gets the new key, whatever happens meanwhile."""

import base64
import io
import itertools
import os
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from django.core.management import call_command
from django.db import connection

from kafkahub import crypto, sealed
from kafkahub.crypto import KeyRing
from kafkahub.fields import encryption_ring
from kafkahub.management.commands import rotate_encryption_keys
from subscriptions.audit import Verb
from subscriptions.models import AuditEvent, Endpoint, Partner

pytestmark = pytest.mark.django_db

ROOT = Path(__file__).resolve().parents[4]
NEW_ONLY = KeyRing("k2", {"k2": bytes(range(100, 132))})


def both() -> KeyRing:
    """Return the ring of a rotation: the new key writes, this process's own still reads."""
    return KeyRing("k2", {**NEW_ONLY.keys, **encryption_ring().keys})


def endpoints(count: int) -> list[Endpoint]:
    partner = Partner.objects.create(name="Acme")
    return [
        Endpoint.objects.create(
            partner=partner, name=str(number), url="https://a.example/", headers=f'{{"n":{number}}}'
        )
        for number in range(count)
    ]


def run(ring: KeyRing, *, dry_run: bool = False) -> tuple[list[str], list[str]]:
    """Return the values that do not open, and the lines that were printed."""
    lines: list[str] = []
    return rotate_encryption_keys.run(ring, lines.append, dry_run=dry_run).broken, lines


def opened(ring: KeyRing) -> set[bytes]:
    return {
        crypto.unseal(ring, row.headers.sealed, f"subscriptions_endpoint.headers:{row.pk}")
        for row in Endpoint.objects.all()
    }


def headers_column() -> sealed.Column:
    return next(one for one in sealed.columns() if one.name == "subscriptions_endpoint.headers")


def test_after_a_rotation_the_old_key_may_leave_the_ring() -> None:
    endpoints(3)

    broken, lines = run(both())

    assert opened(NEW_ONLY) == {b'{"n":0}', b'{"n":1}', b'{"n":2}'}
    assert broken == []
    assert "subscriptions_endpoint.headers: 3 rotated" in lines
    assert lines[-1] == "0 rows under old keys"


def test_a_dry_run_counts_and_changes_nothing() -> None:
    endpoints(2)

    _, lines = run(both(), dry_run=True)

    assert lines[-1] == "2 rows under old keys"
    assert len(opened(encryption_ring())) == 2


def test_a_rotation_that_was_stopped_goes_on_where_it_was() -> None:
    endpoints(5)

    (first,) = itertools.islice(sealed.rotate(headers_column(), both(), batch_rows=2), 1)
    stopped_after = first.rotated
    run(both())

    assert stopped_after == 2
    assert headers_column().kids() == {"k2": 5}


def test_all_batches_of_a_column_are_rotated() -> None:
    endpoints(5)

    rotated = [step.rotated for step in sealed.rotate(headers_column(), both(), batch_rows=2)]

    assert rotated == [2, 4, 5]


def test_a_value_that_does_not_open_is_named_and_kept() -> None:
    good, moved = endpoints(2)
    stolen = Endpoint.objects.get(pk=good.pk).headers
    Endpoint.objects.filter(pk=moved.pk).update(headers=stolen)

    broken, lines = run(both())

    assert len(broken) == 1
    assert moved.pk in broken[0]
    assert lines[-1] == "1 rows under old keys"
    assert Endpoint.objects.get(pk=moved.pk).headers.sealed == stolen.sealed
    assert Endpoint.objects.get(pk=good.pk).headers.sealed.startswith("v1:k2:")


def test_every_sealed_column_is_found_from_the_models() -> None:
    names = {column.name for column in sealed.columns()}

    assert {"subscriptions_endpoint.headers", "subscriptions_signingsecret.secret"} <= names


def test_the_command_finds_nothing_to_do_where_the_ring_has_one_key() -> None:
    endpoints(1)
    out = io.StringIO()

    call_command("rotate_encryption_keys", stdout=out)

    assert out.getvalue().endswith("0 rows under old keys\n")


@pytest.mark.django_db(transaction=True)
def test_a_rotation_with_a_new_ring_is_in_the_audit_log() -> None:
    endpoints(2)
    own = os.environ["KAFKAHUB_ENCRYPTION_KEYS"]
    url = urlsplit(os.environ["KAFKAHUB_DATABASE_URL"])
    environment = os.environ | {
        "KAFKAHUB_ENCRYPTION_KEYS": f"k2:{base64.b64encode(NEW_ONLY.keys['k2']).decode()},{own}",
        "KAFKAHUB_DATABASE_URL": url._replace(path=connection.settings_dict["NAME"]).geturl(),
    }

    subprocess.run(
        [sys.executable, "manage.py", "rotate_encryption_keys"],
        cwd=ROOT,
        env=environment,
        check=True,
        capture_output=True,
    )

    (row,) = AuditEvent.objects.filter(verb=Verb.ENCRYPTION_ROTATED)
    assert (row.object_id, row.changes) == ("k2", {"values": [None, 2]})
    assert opened(NEW_ONLY) == {b'{"n":0}', b'{"n":1}'}
