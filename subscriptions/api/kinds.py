"""Kinds of subscriptions that are sent: records of topics, or what their partner is told."""

from collections.abc import Mapping

from kafkahub.errors import Fault, Invalid
from subscriptions.models import Subscription
from subscriptions.notice_types import Kind
from subscriptions.starts import Latest

OF_RECORDS: Mapping[str, object] = {
    "topics": [],
    "filter": {},
    "format": Subscription.Format.ENVELOPE.value,
    "include": [],
    "ordering": Subscription.Ordering.NONE.value,
    "batch": None,
    "start": Latest(),
}
"""Members that only a subscription of records has, with what they are when nothing was asked."""
KINDS = [kind.value for kind in Kind]


def check_kind(kind: str, values: Mapping[str, object], *, is_new: bool) -> None:
    """Raise Invalid for members that this kind of subscription does not have, or lacks.

    values  read members; with ``is_new`` all of them, else those of a patch
    """
    if kind == Subscription.Mode.NOTICES:
        _check_notices(values)
    elif is_new and not values.get("topics"):
        raise Invalid([Fault("/topics", "required", "1 to 20 topic names are needed here.")])


def _check_notices(values: Mapping[str, object]) -> None:
    text = "A subscription of notices is narrowed by types only."
    faults = [
        Fault(f"/{name}", "bad_combination", text)
        for name, unset in OF_RECORDS.items()
        if values.get(name, unset) != unset
    ]
    types = values.get("types", [])
    for index, name in enumerate(types if isinstance(types, list) else []):
        if name not in KINDS:
            text = "There is no such notice; GET /notices/types lists them."
            faults.append(Fault(f"/types/{index}", "not_one_of", text, {"allowed": KINDS}))
    if faults:
        raise Invalid(faults)
