"""The form of a grant: rules as text, with every fault at its field, line and column."""

import json
from collections.abc import Mapping
from typing import Any, ClassVar

from django import forms
from django.core.exceptions import ValidationError

from kafkahub import strictjson
from kafkahub.errors import Fault, Invalid
from subscriptions import grant_rules, masks, quotas, rows
from subscriptions.admin.base import AnyForm
from subscriptions.grant_rows import projection_of
from subscriptions.models import Grant
from subscriptions.projection import Projection

NOTHING = "-"
"""Line that stands for an empty list, where an empty field means something else."""


class RuleText(forms.CharField):
    """Text that stands for a rule; the value is what the column keeps."""

    widget = forms.Textarea(attrs={"rows": 4, "class": "vLargeTextField mono", "spellcheck": "no"})

    def __init__(self, help_text: str, label: str = "") -> None:
        super().__init__(required=False, strip=True, help_text=help_text, label=label or None)

    def has_changed(self, initial: object, data: object) -> bool:
        """Return True: what really differs is found when it is saved."""
        return True

    def prepare_value(self, value: Any) -> Any:
        return value if isinstance(value, str) else self.written(value)

    def clean(self, value: Any) -> Any:
        return self.read(super().clean(value))

    def written(self, value: Any) -> str:
        """Return a column's value as text."""
        raise NotImplementedError

    def read(self, text: str) -> object:
        """Return the column's value; raise ValidationError."""
        raise NotImplementedError


class JsonText(RuleText):
    """A rule in JSON; ``empty`` is what no text stands for."""

    def __init__(self, help_text: str, empty: object, label: str = "") -> None:
        super().__init__(help_text, label)
        self.empty = empty

    def written(self, value: Any) -> str:
        if value == self.empty:
            return ""
        return json.dumps(value, indent=2, ensure_ascii=False)

    def read(self, text: str) -> object:
        if not text:
            return self.empty
        try:
            return strictjson.loads(text.encode())
        except Invalid as error:
            raise ValidationError([_sentence(fault) for fault in error.faults]) from None


class Lines(RuleText):
    """A list with one member a line; nothing stands for None."""

    def written(self, value: Any) -> str:
        if value is None:
            return ""
        return "\n".join(value) or NOTHING

    def read(self, text: str) -> object:
        if text == NOTHING:
            return []
        return [line.strip() for line in text.splitlines() if line.strip()] or None


class MaskLines(RuleText):
    """A pointer and its mask a line."""

    def written(self, value: Any) -> str:
        return "\n".join(f"{pointer} {mask}" for pointer, mask in (value or {}).items())

    def read(self, text: str) -> object:
        found: dict[str, str] = {}
        for number, line in enumerate(text.splitlines(), start=1):
            pointer, _, mask = line.strip().rpartition(" ")
            if line.strip() and (not pointer or pointer.strip() in found):
                text = "A pointer, a space and a mask are needed, each pointer once."
                raise ValidationError(f"Line {number}: {text}")
            if line.strip():
                found[pointer.strip()] = mask
        return found


TEXTS: Mapping[str, RuleText] = {
    "key_rule": JsonText('{"equals": "c-1"}, {"prefix": "eu-"} or {"in": ["a", "b"]}.', None),
    "row_filter": JsonText(
        'Which records, by the filter language on the whole record, such as {"value": '
        '{"country": "DE"}}. Empty: every record.',
        {},
    ),
    "fields": Lines(
        "Shown members of the value, one JSON pointer a line, * for the items of an array, such "
        "as /items/*/price. Empty: the whole value."
    ),
    "masks": MaskLines(
        f"One a line, a pointer and one of {', '.join(masks.NAMES)}, such as /card last4."
    ),
    "quota": JsonText(
        'What may be used in a day or month (UTC): {"period": "month", "records": 1000000, '
        '"bytes": 1000000000, "hard": true}. Hard: nothing more until it begins anew. Else it is '
        "only told of, at 80 and 100 %.",
        None,
    ),
    "headers": Lines(
        f"Names of the Kafka headers that are shown, one a line; {NOTHING} for none. Empty: all "
        "where the value is whole, none where it is not."
    ),
}


class GrantForm(AnyForm):
    """A grant; the whole form is tried as a grant before it is taken."""

    places: ClassVar[Mapping[str, RuleText]] = TEXTS

    class Meta:
        model = Grant
        fields = (
            "partner",
            "topic",
            "action",
            "valid_until",
            "quota",
            *grant_rules.MEMBERS,
            *grant_rules.WRITE_MEMBERS,
        )

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean() or self.cleaned_data
        if not self.errors:
            try:
                self.tried()
            except Invalid as error:
                self._tell(error)
        return cleaned

    def tried(self) -> tuple[Grant, Projection | None]:
        """Return the grant as the form has it, unsaved, and what it would show.

        Raises Invalid for rules that cannot be taken.
        """
        given = {name: self.cleaned_data[name] for name in grant_rules.MEMBERS}
        writing = {name: self.cleaned_data[name] for name in grant_rules.WRITE_MEMBERS}
        quotas.read(self.cleaned_data["quota"])
        fixed = {
            name: self.cleaned_data.get(name, getattr(self.instance, name, None))
            for name in ("partner", "topic", "action", "valid_until")
        }
        grant = Grant(**fixed, **given, **writing)
        if grant.action == Grant.Action.WRITE:
            _refuse(given, grant_rules.READ_ONLY)
            return grant, None
        _refuse(writing, grant_rules.WRITE_ONLY)
        return grant, projection_of(grant, rows.live_topic(grant.topic))

    def _tell(self, error: Invalid) -> None:
        for fault in error.faults:
            _, name, *_ = fault.pointer.split("/")
            self.add_error(name, self._placed(name, fault))

    def _placed(self, name: str, fault: Fault) -> str:
        """Return a fault as a sentence, with its line and column where the rule is JSON."""
        pointer = fault.pointer.removeprefix(f"/{name}")
        text = str(self.data.get(self.add_prefix(name), ""))
        if not isinstance(TEXTS.get(name), JsonText):
            return fault.message
        place = strictjson.find_places(text.encode(), {pointer}).get(pointer)
        where = "" if place is None else f"Line {place.line}, column {place.column}: "
        return f"{where}{fault.message}"


# Declared like fields that are written out: one of them is named like the form's own dictionary.
for _name, _field in TEXTS.items():
    GrantForm.declared_fields[_name] = GrantForm.base_fields[_name] = _field


def _refuse(given: Mapping[str, object], text: str) -> None:
    """Raise Invalid for members that the grant's action does not have."""
    plain = Grant()
    faults = [
        Fault(f"/{name}", "not_allowed", text)
        for name, value in given.items()
        if value != getattr(plain, name)
    ]
    if faults:
        raise Invalid(faults)


def _sentence(fault: Fault) -> str:
    line, column = fault.more.get("line"), fault.more.get("column")
    return f"Line {line}, column {column}: {fault.message}" if line else fault.message
