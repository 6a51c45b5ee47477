"""Form fields that hold several words in one line, as operators write them."""

from typing import Any

from django import forms

from kafkahub.errors import Invalid
from subscriptions import inputs


class Words(forms.CharField):
    """Words by comma or space, each checked; what is taken is the list of them, sorted."""

    def prepare_value(self, value: Any) -> Any:
        return ", ".join(value) if isinstance(value, list | tuple) else value

    def clean(self, value: Any) -> Any:
        text = super().clean(value)
        try:
            return sorted({self.take(word) for word in text.replace(",", " ").split()})
        except Invalid as error:
            raise forms.ValidationError([fault.message for fault in error.faults]) from None

    def has_changed(self, initial: Any, data: Any) -> bool:
        return bool(super().has_changed(self.prepare_value(initial), data))

    def take(self, word: str) -> str:
        """Return the canonical form of one word; raise Invalid."""
        raise NotImplementedError


class ScopesField(Words):
    """Scopes such as ``webhooks:read`` and ``topic:orders:read``."""

    def take(self, word: str) -> str:
        return inputs.as_scope(word)


class NetworksField(Words):
    """Networks such as 192.0.2.0/24."""

    def take(self, word: str) -> str:
        return inputs.as_cidr(word)


class ThumbprintField(forms.CharField):
    """The SHA-256 of a certificate in hex, as openssl prints it; None where it is empty."""

    def clean(self, value: Any) -> str | None:
        text = super().clean(value)
        try:
            return inputs.as_thumbprint(text) if text else None
        except Invalid as error:
            raise forms.ValidationError([fault.message for fault in error.faults]) from None
