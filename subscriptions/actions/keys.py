"""Everything that is done to API keys. The plain key leaves these functions once."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from ipaddress import IPv4Network, IPv6Network, ip_network

from django.db import transaction

from kafkahub import clock, config
from kafkahub.errors import Conflict, Forbidden, LimitReached
from subscriptions import audit
from subscriptions.actions.rows import apply, lock
from subscriptions.audit import Actor, Verb
from subscriptions.authentication import api_key
from subscriptions.models import ApiKey, Partner

Network = IPv4Network | IPv6Network

DEFAULT_DAYS = 90
DEFAULT_OVERLAP_S = 86_400
LIVE_PER_NAME = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Rights:
    """What a key may do: compared as a whole, so that no key makes a wider one.

    topics  None: all that the partner's grants allow
    cidrs   empty: from everywhere
    """

    mode: str
    scopes: frozenset[str]
    topics: frozenset[str] | None
    cidrs: frozenset[str]

    @classmethod
    def of(cls, key: ApiKey) -> "Rights":
        """Return the rights of a row."""
        return cls(
            mode=key.mode,
            scopes=frozenset(key.scopes),
            topics=None if key.topics is None else frozenset(key.topics),
            cidrs=frozenset(key.allowed_cidrs),
        )

    def excess_over(self, other: "Rights") -> str:
        """Return what these allow and ``other`` does not, in words; "" when nothing."""
        if self.mode != other.mode:
            return f"the mode {self.mode}"
        if beyond := self.scopes - other.scopes:
            return f"the scope {min(beyond)}"
        if other.topics is not None and (self.topics is None or self.topics - other.topics):
            return "topics beyond its own"
        if other.cidrs and not _are_within(self.cidrs, other.cidrs):
            return "addresses beyond its own"
        return ""


def create_key(
    actor: Actor,
    partner: str,
    *,
    name: str,
    rights: Rights,
    expires_at: datetime | None = None,
    certificate_sha256: str | None = None,
    maker: ApiKey | None = None,
) -> tuple[ApiKey, str]:
    """Make a key; return its row and the key itself, which is kept nowhere.

    certificate_sha256  the client certificate it is good with only, None for any
    maker               the key that asks, whose rights bound the new one's; None for operators

    Raises Forbidden, LimitReached, and Conflict for a name that is in use.
    """
    _check_bounds(rights, maker)
    with transaction.atomic():
        lock(Partner(pk=partner))
        live = ApiKey.objects.filter(partner_id=partner).live()
        if live.filter(name=name).exists():
            raise Conflict("A live key has this name; rotate it, or take another name.")
        limit = config.load().max_keys
        if live.values("name").distinct().count() >= limit:
            raise LimitReached(f"A partner may have {limit} names of keys.")
        row, plain = _insert(
            actor,
            partner,
            name,
            rights,
            expires_at or _in_days(DEFAULT_DAYS),
            certificate_sha256=certificate_sha256,
        )
        shown = {"name": (None, name), "scopes": (None, row.scopes), "mode": (None, row.mode)}
        audit.append(actor, Verb.KEY_CREATED, row, shown)
    return row, plain


def _insert(
    actor: Actor,
    partner: str,
    name: str,
    rights: Rights,
    expires_at: datetime,
    *,
    plan: str | None = None,
    certificate_sha256: str | None = None,
) -> tuple[ApiKey, str]:
    made = api_key.generate("test" if rights.mode == ApiKey.Mode.TEST else "live")
    pepper_id = api_key.peppers().writer
    row = ApiKey.objects.create(
        partner_id=partner,
        plan_id=plan,
        public_id=made.public_id,
        digest=api_key.digest(made.whole, pepper_id),
        pepper_id=pepper_id,
        name=name,
        mode=rights.mode,
        scopes=sorted(rights.scopes),
        topics=None if rights.topics is None else sorted(rights.topics),
        allowed_cidrs=sorted(rights.cidrs),
        certificate_sha256=certificate_sha256,
        created_by=actor.id[:100],
        expires_at=min(expires_at, _in_days(config.load().key_max_days)),
    )
    return row, made.whole


def update_key(
    actor: Actor, key: ApiKey, values: Mapping[str, object], maker: ApiKey | None = None
) -> ApiKey:
    """Change name, rights or end of a key; raise Forbidden when it would pass its changer."""
    with transaction.atomic():
        row = lock(key)
        _check_is_live(row)
        changes = apply(row, values)
        _check_bounds(Rights.of(row), maker)
        if changes:
            audit.append(actor, Verb.KEY_UPDATED, row, changes)
    return row


def rotate_key(
    actor: Actor,
    key: ApiKey,
    overlap: timedelta = timedelta(seconds=DEFAULT_OVERLAP_S),
    maker: ApiKey | None = None,
) -> tuple[ApiKey, str]:
    """Make a second key with equal rights; the first ends after the overlap.

    Raises Conflict when two keys of the name are live already, Forbidden when the key may do more
    than its rotator, who would get its rights by this.
    """
    with transaction.atomic():
        lock(Partner(pk=key.partner_id))
        row = lock(key)
        _check_is_live(row)
        rights = Rights.of(row)
        _check_bounds(rights, maker)
        named = ApiKey.objects.filter(partner_id=row.partner_id, name=row.name).live()
        if named.count() >= LIVE_PER_NAME:
            raise Conflict(
                "Two keys of this name are live; wait for the first to end, or revoke it."
            )
        expires_at = clock.now() + (row.expires_at - row.not_before)
        fresh, plain = _insert(
            actor,
            row.partner_id,
            row.name,
            rights,
            expires_at,
            plan=row.plan_id,
            certificate_sha256=row.certificate_sha256,
        )
        apply(row, {"expires_at": min(row.expires_at, clock.now() + overlap)})
        audit.append(actor, Verb.KEY_ROTATED, fresh, {"rotated_from": (None, row.id)})
    return fresh, plain


def revoke_key(actor: Actor, key: ApiKey, reason: str = "") -> ApiKey:
    """End a key for good, at every door within 5 s; one that was revoked stays as it is."""
    with transaction.atomic():
        row = lock(key)
        if row.revoked_at is not None:
            return row
        changes = apply(row, {"revoked_at": clock.now(), "revoke_reason": reason[:200]})
        audit.append(actor, Verb.KEY_REVOKED, row, changes, reason)
    return row


def slow_key(actor: Actor, key: ApiKey, until: datetime, reason: str) -> ApiKey:
    """Hold a key to a tenth of its rates until a time, at every door within 5 s."""
    with transaction.atomic():
        row = lock(key)
        _check_is_live(row)
        if changes := apply(row, {"slowed_until": until}):
            audit.append(actor, Verb.KEY_SLOWED, row, changes, reason)
    return row


def end_slowdowns(actor: Actor) -> int:
    """Give keys their rates back whose time is over; return how many.

    The change of the row is what makes every process look at the key anew.
    """
    over = ApiKey.objects.filter(slowed_until__lte=clock.now())  # by apikey_slowed
    for row in over:
        with transaction.atomic():
            audit.append(actor, Verb.KEY_SLOWED, row, apply(lock(row), {"slowed_until": None}))
    return len(over)


def _check_is_live(key: ApiKey) -> None:
    if key.status != ApiKey.Status.ACTIVE:
        raise Conflict(f"The key is {key.status.value}; make a new one.")


def _check_bounds(rights: Rights, maker: ApiKey | None) -> None:
    if maker is not None and (excess := rights.excess_over(Rights.of(maker))):
        raise Forbidden(f"A key cannot give what it lacks: {excess}.")


def _in_days(days: int) -> datetime:
    return clock.now() + timedelta(days=days)


def _are_within(inner: frozenset[str], outer: frozenset[str]) -> bool:
    """Return whether every network of ``inner`` lies in one of ``outer``; none is everywhere."""
    bounds = [ip_network(text) for text in outer]
    return bool(inner) and all(_lies_in(ip_network(text), bounds) for text in inner)


def _lies_in(network: Network, bounds: Sequence[Network]) -> bool:
    if isinstance(network, IPv4Network):
        return any(network.subnet_of(each) for each in bounds if isinstance(each, IPv4Network))
    return any(network.subnet_of(each) for each in bounds if isinstance(each, IPv6Network))
