"""The tenants of a run: who they are, what they are owed, and where."""

from collections.abc import Sequence
from dataclasses import dataclass

from tests.torture.history import Lane

SCHEDULE_S = (1, 1, 2, 3)
"""Short, so that dead letters come within a run."""
TIMEOUT_MS = 5_000
PARTITIONS = 3


@dataclass(frozen=True, slots=True)
class Wanted:
    """One subscription to make; ``name`` is the path of its URL as well."""

    name: str
    ordering: str
    half: int | None = None


WANTED: Sequence[Wanted] = (
    Wanted("plain", "none"),
    Wanted("filtered", "none", half=1),
    Wanted("keyed", "key"),
    Wanted("serial", "partition"),
)


@dataclass(frozen=True, slots=True)
class Tenant:
    """One partner: ``name`` is in its topic and endpoints, ``canary`` in every record."""

    name: str
    topic: str
    canary: str

    @classmethod
    def numbered(cls, number: int, mark: str) -> "Tenant":
        """Return tenant 0, 1, …; ``mark`` keeps two trials on one broker apart."""
        name = f"tenant{number}"
        return cls(name, f"{name}-{mark}", f"canary-{mark}-{number}-of-{name}")


@dataclass(frozen=True, slots=True)
class Made:
    """What was made for a tenant: ids of subscriptions and secrets by name, and an API key."""

    tenant: Tenant
    subscriptions: dict[str, str]
    secrets: dict[str, str]
    api_key: str

    def lanes(self) -> list[Lane]:
        """Return its subscriptions as the checker knows them: by the path of their URL."""
        return [
            Lane(one.name, self.tenant.name, self.tenant.topic, one.ordering, one.half)
            for one in WANTED
            if one.name in self.subscriptions
        ]
