"""Forms of signing in that differ from the package's."""

from collections.abc import Callable

from allauth.core import context
from allauth.mfa.base import forms as stock
from django import forms
from django.contrib.auth import password_validation
from django.contrib.auth.models import User
from django.core.exceptions import ValidationError

from subscriptions.signin import throttle


def _checked(name: str, check: Callable[[], str]) -> str:
    """Return the code; raise ValidationError, and write down that it was wrong."""
    if held := throttle.wait(context.request, name):
        raise ValidationError(throttle.sentence(held))
    try:
        return check()
    except ValidationError:
        throttle.note_code_failure(context.request, name)
        raise


class SecondFactorForm(stock.AuthenticateForm):  # type: ignore[misc]  # the package has no types
    """The code that follows a password."""

    def clean_code(self) -> str:
        return _checked(self.user.get_username(), super().clean_code)


class ReauthenticateForm(stock.ReauthenticateForm):  # type: ignore[misc]  # the package has no types
    """The code before a change of how one signs in."""

    def clean_code(self) -> str:
        return _checked(self.user.get_username(), super().clean_code)


class NewAccountForm(forms.Form):
    """What an invited person without an account chooses; typed once, and may be pasted."""

    password = forms.CharField(
        label="Password",
        strip=False,
        max_length=1_000,
        help_text="12 characters or more. Paste is fine.",
        widget=forms.PasswordInput(attrs={"autocomplete": "new-password"}),
    )

    def __init__(self, *args: object, email: str, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)  # type: ignore[arg-type]  # handed through as they came
        self._email = email

    def clean_password(self) -> str:
        password: str = self.cleaned_data["password"]
        password_validation.validate_password(password, User(username=self._email))
        return password
