"""A job or a command dies in the middle: what was committed stays, the next run does the rest."""

import base64
import os
import signal
import subprocess
import sys
from datetime import timedelta

import pytest

from kafkahub import clock
from subscriptions.models import ApiKey, AuditEvent, Endpoint, StreamTicket
from subscriptions.tasks import expire_stream_tickets
from tests import factories
from tests.flows.conftest import ROOT, own_environment

pytestmark = pytest.mark.django_db(transaction=True)

ROWS = 5
NEW_KEY = f"k2:{base64.b64encode(bytes(range(100, 132))).decode()}"


def die(failpoint: str, *command: str, **settings: str) -> None:
    """Run a command of ``manage.py`` that dies at the first time it passes a failpoint."""
    wanted = {"failpoints": f"{failpoint}=kill", "test_hooks": "true", **settings}
    named = {f"KAFKAHUB_{name.upper()}": text for name, text in wanted.items()}
    done = subprocess.run(
        [sys.executable, "manage.py", *command],
        cwd=ROOT,
        env={**own_environment(), **named},
        capture_output=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()[-2_000:]


def test_a_job_that_dies_between_slices_leaves_the_rest_to_the_next_run() -> None:
    issuer = factories.caller(factories.partner())
    factories.grant(issuer.partner, factories.topic("orders").name)
    for _ in range(ROWS):
        factories.ticket(issuer)
    StreamTicket.objects.update(expires_at=clock.now() - timedelta(days=2))
    run = "from subscriptions.tasks import expire_stream_tickets as job; job(rows_per_slice=2)"

    die("job.mid_slice", "shell", "-c", run)

    assert StreamTicket.objects.count() == ROWS - 2
    expire_stream_tickets(rows_per_slice=2)
    assert not StreamTicket.objects.exists()


def test_a_change_whose_audit_row_was_never_written_did_not_happen() -> None:
    owner = factories.partner()
    run = f"""
from subscriptions.actions.keys import Rights, create_key
from subscriptions.audit import Actor, ActorKind
rights = Rights(mode="live", scopes=frozenset(), topics=None, cidrs=frozenset())
create_key(Actor(ActorKind.SYSTEM, "test"), "{owner.pk}", name="key", rights=rights)
"""
    before = AuditEvent.objects.count()

    die("audit.before_insert", "shell", "-c", run)

    assert not ApiKey.objects.exists()
    assert AuditEvent.objects.count() == before


def test_a_rotation_of_keys_that_died_goes_on_where_it_was() -> None:
    owner = factories.partner()
    for number in range(ROWS):
        url = "https://a.example/"
        Endpoint.objects.create(partner=owner, name=str(number), url=url, headers="{}")
    ring = f"{NEW_KEY},{os.environ['KAFKAHUB_ENCRYPTION_KEYS']}"

    die("rotate.mid_batch", "rotate_encryption_keys", encryption_keys=ring)

    assert sealed_under("k2") == 1
    command = [sys.executable, "manage.py", "rotate_encryption_keys"]
    env = {**own_environment(), "KAFKAHUB_ENCRYPTION_KEYS": ring}
    subprocess.run(command, cwd=ROOT, env=env, check=True, capture_output=True)
    assert sealed_under("k2") == ROWS


def sealed_under(key: str) -> int:
    return sum(one.headers.sealed.startswith(f"v1:{key}:") for one in Endpoint.objects.all())
