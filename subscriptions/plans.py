"""From plans to the limits that principals carry: the key's over its partner's over the default."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from kafkahub import clock
from kafkahub.limits import policies
from kafkahub.limits.policies import Limits, Rule
from subscriptions.models import ApiKey, Partner, Plan

SLOWED_TO = 0.1
"""Part of its rates that a key keeps while it is slowed."""
OF_A_KEY = frozenset({policies.KEY, policies.TOPIC})
"""Scopes that the plan of a key may set: the others are shared with keys of other plans."""


@dataclass(frozen=True, slots=True)
class Plans:
    """All plans at one moment.

    rules    by id of the plan
    default  id of the one for partners without, or None
    """

    rules: Mapping[str, tuple[Rule, ...]]
    default: str | None

    def limits_of(self, key: ApiKey) -> Limits:
        """Return what a key is held to; the same object as of any other with equal rules.

        Rates of the deployment are everybody's, so they come from the default plan alone.
        """
        own = (rule for rule in self._of(key.plan_id) if rule.scope in OF_A_KEY)
        held = policies.limits((*self._shared(key.partner), *own))
        is_slowed = key.slowed_until is not None and clock.now() < key.slowed_until
        return policies.slowed(held, SLOWED_TO) if is_slowed else held

    def limits_of_partner(self, partner: Partner) -> Limits:
        """Return what a partner's credential without a plan of its own is held to."""
        return policies.limits(tuple(self._shared(partner)))

    def _shared(self, partner: Partner) -> Iterator[Rule]:
        yield from (r for r in self._of(self.default) if r.scope == policies.DEPLOYMENT)
        plan = self._of(partner.plan_id or self.default)
        yield from (r for r in plan if r.scope != policies.DEPLOYMENT)

    def _of(self, plan: str | None) -> tuple[Rule, ...]:
        return self.rules.get(plan, ()) if plan else ()


NONE = Plans(rules={}, default=None)


def read() -> Plans:
    """Return all plans; there are few. One query."""
    rows = list(Plan.objects.only("id", "is_default", "rules"))
    return Plans(
        rules={row.pk: tuple(rules(row.rules)) for row in rows},
        default=next((row.pk for row in rows if row.is_default), None),
    )


def rules(written: Mapping[str, Mapping[str, Mapping[str, float]]]) -> Iterator[Rule]:
    """Yield the rules of a plan's row, in a fixed order."""
    for scope in sorted(written):
        for policy, values in sorted(written[scope].items()):
            yield Rule(scope, policy, float(values.get("per_s", 0)), int(values["burst"]))
