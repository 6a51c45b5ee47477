"""Whom a request is charged to: the buckets of a principal, kept while it is in use."""

from collections.abc import Callable
from typing import Generic, TypeVar

from kafkahub.limits import policies
from kafkahub.limits.buckets import Bucket
from kafkahub.limits.policies import Limited, Limits

Value = TypeVar("Value")
Fill = Callable[["Tally", str], tuple[Bucket, ...]]
"""Finds the buckets of a policy when it is used for the first time."""


class Recent(Generic[Value]):
    """Keeps the values used last, at most ``size`` and at least half of that.

    Two generations: a look-up costs one ``dict.get``, where an exact order would cost five.
    """

    def __init__(self, size: int) -> None:
        self._half = size // 2
        self._young: dict[object, Value] = {}
        self._old: dict[object, Value] = {}

    def get(self, key: object) -> Value | None:
        found = self._young.get(key)
        if found is not None:
            return found
        found = self._old.pop(key, None)
        if found is not None:
            self.put(key, found)
        return found

    def put(self, key: object, value: Value) -> None:
        if len(self._young) >= self._half:
            self._old, self._young = self._young, {}
        self._young[key] = value

    def __len__(self) -> int:
        return len(self._young) + len(self._old)


class Tally(dict[str, tuple[Bucket, ...]]):
    """By policy, the buckets that are charged together for one principal, topic or address.

    Filled as policies are used: most names use one or two of them.
    """

    __slots__ = ("_fill", "limits", "name", "payer", "told")

    def __init__(
        self,
        limits: Limits,
        payer: Limited | None,
        name: str,
        fill: Fill,
    ) -> None:
        """``payer``: None for an address; ``name``: the topic or "", or the address."""
        super().__init__()
        self.limits = limits
        self.payer = payer
        self.name = name
        self.told: dict[tuple[str, ...], str] | None = None
        """``RateLimit-Policy`` by the policies it names; made once."""
        self._fill = fill

    def __missing__(self, policy: str) -> tuple[Bucket, ...]:
        found = self[policy] = self._fill(self, policy)
        return found

    def name_of(self, scope: str) -> str:
        """Return the name of whom a scope charges, as Redis knows it."""
        payer = self.payer
        if payer is None:
            return f"{scope}:{self.name}"
        if scope == policies.DEPLOYMENT:
            return scope
        if scope == policies.PARTNER:
            return f"{scope}:{payer.partner}"
        return (
            f"{scope}:{payer.id}:{self.name}" if scope == policies.TOPIC else f"{scope}:{payer.id}"
        )
