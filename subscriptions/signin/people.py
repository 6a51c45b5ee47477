"""Who signs in: an operator or a member, for the audit log and for what is asked of them."""

from allauth.mfa.models import Authenticator
from django.contrib.auth.models import AbstractBaseUser, AnonymousUser, User
from django.http import HttpRequest

from kafkahub import config
from kafkahub.observability import logs
from subscriptions.audit import Actor, ActorKind, Verb
from subscriptions.models import Member

Person = AbstractBaseUser | AnonymousUser


def actor_for(request: HttpRequest, name: str) -> Actor:
    """Return who acts under this name, whether or not there is such an account."""
    return Actor(
        ActorKind.OPERATOR if _is_operator(name) else ActorKind.MEMBER,
        name,
        address=request.META.get("REMOTE_ADDR"),
        request_id=logs.request_id(),
    )


def failed_verb(name: str) -> Verb:
    return Verb.OPERATOR_SIGN_IN_FAILED if _is_operator(name) else Verb.MEMBER_SIGN_IN_FAILED


def signed_in_verb(user: Person) -> Verb:
    return Verb.OPERATOR_SIGNED_IN if is_operator(user) else Verb.MEMBER_SIGNED_IN


def signed_out_verb(user: Person) -> Verb:
    return Verb.OPERATOR_SIGNED_OUT if is_operator(user) else Verb.MEMBER_SIGNED_OUT


def is_operator(user: Person) -> bool:
    """Return whether this person may open the admin."""
    return bool(getattr(user, "is_staff", False))


def needs_second_factor(user: Person) -> bool:
    """Return whether this person must have a second factor, and has none."""
    if not isinstance(user, User) or not _is_asked(user):
        return False
    kinds = (Authenticator.Type.TOTP, Authenticator.Type.WEBAUTHN)
    return not Authenticator.objects.filter(user_id=user.pk, type__in=kinds).exists()


def _is_asked(user: User) -> bool:
    if is_operator(user):
        return config.load().operators_need_second_factor
    return Member.objects.filter(user=user, partner__needs_second_factor=True).exists()


def _is_operator(name: str) -> bool:
    """Return whether there is an operator of this name; a name that is nobody's is a member's."""
    return User.objects.filter(username=name, is_staff=True).exists()
