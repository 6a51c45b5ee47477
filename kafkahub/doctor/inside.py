"""Our own settings and keys, as the doctor sees them."""

from collections.abc import Iterator

from django.core.checks import ERROR, run_checks
from django.db import DatabaseError

from kafkahub import crypto, sealed
from kafkahub.config import Config
from kafkahub.crypto import KeyRing
from kafkahub.doctor.finding import Finding, Level
from subscriptions.models import ApiKey


def settings(config: Config) -> Iterator[Finding]:
    """Look at the settings; what must not stand in production is looked for there only."""
    found = run_checks(include_deployment_checks=config.environment == "production")
    for message in found:
        level: Level = "fail" if message.level >= ERROR else "warn"
        yield Finding(level, "settings", f"{message.msg} ({message.id})", message.hint or "")
    if not found:
        yield Finding("ok", "settings", f"No fault for the environment {config.environment}")


def keys(config: Config) -> Iterator[Finding]:
    """Look whether every sealed value and live API key still has its key in the ring."""
    try:
        ring = crypto.parse_ring(config.encryption_keys.get_secret_value())
        peppers = crypto.parse_ring(config.key_peppers.get_secret_value())
    except crypto.KeyRingError:
        return  # the look at the settings has said so
    try:
        for column in sealed.columns():
            yield from sealed_column(column, ring)
        yield api_keys(peppers)
    except DatabaseError:
        cure = "See the findings of the database first."
        yield Finding("fail", "keys", "The tables with sealed values cannot be read", cure)


def sealed_column(column: sealed.Column, ring: KeyRing) -> Iterator[Finding]:
    """Look at one column: keys that left the ring, keys on their way out, values that open."""
    kids = column.kids()
    for kid in sorted(set(kids) - set(ring.keys)):
        cure = f"Put the key {kid} back into KAFKAHUB_ENCRYPTION_KEYS, at the end."
        text = f"{column.name}: {kids[kid]} values are sealed under {kid}, which left the ring"
        yield Finding("fail", "keys", text, cure)
    old = sum(count for kid, count in kids.items() if kid in ring.keys and kid != ring.writer)
    if old:
        cure = "Run: python manage.py rotate_encryption_keys"
        yield Finding("warn", "keys", f"{column.name}: {old} values under an old key", cure)
    broken = [kid for kid in kids if kid in ring.keys and not column.opens(ring, kid)]
    for kid in broken:
        cure = "Compare the key with the one it was sealed with: the kid is the same, the key not."
        yield Finding("fail", "keys", f"{column.name}: a value under {kid} does not open", cure)
    if kids.keys() <= ring.keys.keys() and not broken:
        yield Finding("ok", "keys", f"{column.name}: {sum(kids.values())} values can be opened")


def api_keys(peppers: KeyRing) -> Finding:
    """Look whether every live API key can be verified."""
    live = ApiKey.objects.live()
    lost = live.exclude(pepper_id__in=list(peppers.keys)).count()
    if lost:
        cure = "Put the missing key back into KAFKAHUB_KEY_PEPPERS, at the end."
        return Finding("fail", "keys", f"{lost} live API keys have lost their pepper", cure)
    return Finding("ok", "keys", f"{live.count()} live API keys can be verified")
