"""What the sign-in package asks of us: nobody signs up uninvited, and everything is audited."""

import time
from typing import Any

from allauth.account.adapter import DefaultAccountAdapter
from allauth.account.internal.flows.login import get_authentication_records
from allauth.core import context
from allauth.mfa.adapter import DefaultMFAAdapter
from allauth.socialaccount.adapter import DefaultSocialAccountAdapter
from allauth.socialaccount.models import SocialLogin
from django.conf import settings
from django.contrib.auth import authenticate
from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.http import HttpRequest

from kafkahub import crypto
from kafkahub.fields import encryption_ring
from subscriptions import audit
from subscriptions.actions.members import find_invitation
from subscriptions.audit import Subject
from subscriptions.models import Member
from subscriptions.signin import sso, throttle
from subscriptions.signin.people import Person, actor_for, signed_in_verb, signed_out_verb

INVITED = "invitation"
"""Key of the session under which the link stands that somebody came by."""
SEED_PLACE = "mfa_authenticator.data"


class AccountAdapter(DefaultAccountAdapter):  # type: ignore[misc]  # the package has no types
    """Names and passwords."""

    def is_open_for_signup(self, request: HttpRequest) -> bool:
        return False  # an account comes with an invitation

    def authenticate(self, request: HttpRequest, **credentials: Any) -> User | None:
        """Return who this is, or None; raise ValidationError for one who must wait."""
        name = str(credentials.get("username", "")).strip()
        if held := throttle.wait(request, name):
            raise ValidationError(throttle.sentence(held))
        user = authenticate(request, **{**credentials, "username": name})
        if user is None:
            throttle.note_failure(request, name)
        return user if isinstance(user, User) else None

    def login(self, request: HttpRequest, user: Person) -> None:
        super().login(request, user)
        _record(request, signed_in_verb(user), user.get_username())

    def logout(self, request: HttpRequest) -> None:
        user = request.user
        verb, name = signed_out_verb(user), user.get_username()
        super().logout(request)
        if name:
            _record(request, verb, name)

    def get_login_redirect_url(self, request: HttpRequest) -> str:
        """Return where to go: back to the invitation, to the admin, or to the first partner."""
        if text := request.session.get(INVITED):
            return f"/invite/{text}"
        user = request.user
        if not isinstance(user, User):
            return "/account/"
        if user.is_staff:
            return "/admin/"
        member = Member.objects.filter(user=user).order_by("id").first()
        return f"/portal/{member.partner_id}/" if member else "/account/"

    def get_signup_redirect_url(self, request: HttpRequest) -> str:
        return self.get_login_redirect_url(request)

    def is_reauthentication_required(self, *, app: str, **kwargs: object) -> bool:
        """Return whether somebody must prove anew who it is; a fresh sign-in is a proof too."""
        records = get_authentication_records(context.request, context.request.user)
        latest_s = max((float(each["at"]) for each in records), default=0.0)
        return time.time() - latest_s > settings.ACCOUNT_REAUTHENTICATION_TIMEOUT

    def send_mail(self, template_prefix: str, email: str, context: dict[str, Any]) -> None:
        """Send none of the package's mails: what happens to an account is in the audit log."""


class SsoAdapter(DefaultSocialAccountAdapter):  # type: ignore[misc]  # the package has no types
    """Accounts of a company's own sign-in; its word for an address is taken."""

    def is_open_for_signup(self, request: HttpRequest, sociallogin: SocialLogin) -> bool:
        """Let in who was invited under the address that the company vouches for."""
        invitation = find_invitation(request.session.get(INVITED, ""))
        return invitation is not None and invitation.email == sso.verified_email(sociallogin)

    def pre_social_login(self, request: HttpRequest, sociallogin: SocialLogin) -> None:
        """Connect a known person's account at first use, by the address."""
        if sociallogin.is_existing:
            return
        user = User.objects.filter(username=sso.verified_email(sociallogin) or None).first()
        if user is not None and not user.is_staff:
            sociallogin.connect(request, user)

    def save_user(self, request: HttpRequest, sociallogin: SocialLogin, form: Any = None) -> User:
        address = sso.verified_email(sociallogin)
        sociallogin.user.username = sociallogin.user.email = address
        sociallogin.user.set_unusable_password()
        sociallogin.save(request)
        user: User = sociallogin.user
        return user

    def get_requests_session(self) -> sso.GuardedSession:
        return sso.GuardedSession()


class SecondFactorAdapter(DefaultMFAAdapter):  # type: ignore[misc]  # the package has no types
    """Seeds and codes are sealed like every other secret."""

    def encrypt(self, text: str) -> str:
        return crypto.seal(encryption_ring(), text.encode(), SEED_PLACE)

    def decrypt(self, encrypted_text: str) -> str:
        return crypto.unseal(encryption_ring(), encrypted_text, SEED_PLACE).decode()

    def build_totp_svg(self, url: str) -> str:
        """Return the picture as it may stand in a page: our policy loads none from ``data:``."""
        return str(super().build_totp_svg(url)).partition("?>")[2]

    def get_totp_issuer(self) -> str:
        return "KafkaHub"


def _record(request: HttpRequest, verb: str, name: str) -> None:
    audit.record(actor_for(request, name), verb, Subject("user", name), {})
