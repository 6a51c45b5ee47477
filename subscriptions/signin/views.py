"""Pages of an invitation, and of one's own account."""

from allauth.account.adapter import get_adapter
from allauth.account.internal.flows.login import record_authentication
from django.contrib.auth.models import User
from django.db import IntegrityError, transaction
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.utils.decorators import method_decorator
from django.views import View
from django.views.decorators.cache import never_cache

from kafkahub import config
from kafkahub.errors import NotFound
from subscriptions import ownership
from subscriptions.actions import members
from subscriptions.models import Invitation, Member
from subscriptions.signin.adapters import INVITED
from subscriptions.signin.forms import NewAccountForm
from subscriptions.signin.people import actor_for

GONE = 410


@method_decorator(never_cache, name="dispatch")
class Invited(View):
    """The link of an invitation: reading it uses nothing up, for mail scanners open links."""

    def get(self, request: HttpRequest, text: str) -> HttpResponse:
        invitation = members.find_invitation(text)
        if invitation is None:
            return _over(request)
        request.session[INVITED] = text
        return _page(request, invitation, NewAccountForm(email=invitation.email))

    def post(self, request: HttpRequest, text: str) -> HttpResponse:
        invitation = members.find_invitation(text)
        if invitation is None:
            return _over(request)
        if request.user.is_authenticated:
            return _joined(request, invitation)
        form = NewAccountForm(request.POST, email=invitation.email)
        if _has_account(invitation) or not form.is_valid():
            return _page(request, invitation, form)
        return _made(request, invitation, form)


def _joined(request: HttpRequest, invitation: Invitation) -> HttpResponse:
    """Make who is signed in a member, if that is who was invited."""
    user = request.user
    if not isinstance(user, User) or user.username != invitation.email:
        return _page(request, invitation, NewAccountForm(email=invitation.email))
    try:
        member = members.join(actor_for(request, user.username), invitation, user)
    except NotFound:
        return _over(request)
    request.session.pop(INVITED, None)
    return HttpResponseRedirect(f"/portal/{member.partner_id}/")


def _made(request: HttpRequest, invitation: Invitation, form: NewAccountForm) -> HttpResponse:
    """Make the account and the member in one step, and sign in."""
    try:
        with transaction.atomic():
            user = User.objects.create_user(
                invitation.email, invitation.email, form.cleaned_data["password"]
            )
            member = members.join(actor_for(request, user.username), invitation, user)
    except (NotFound, IntegrityError):
        return _over(request)
    request.session.pop(INVITED, None)
    get_adapter().login(request, user)
    record_authentication(request, user, method="password", username=user.username)
    return HttpResponseRedirect(f"/portal/{member.partner_id}/")


def _has_account(invitation: Invitation) -> bool:
    return User.objects.filter(username=invitation.email).exists()


def _page(request: HttpRequest, invitation: Invitation, form: NewAccountForm) -> HttpResponse:
    topics = sorted(ownership.readable_names(invitation.partner_id))
    context = {
        "invitation": invitation,
        "form": form,
        "topics": topics,
        "has_account": _has_account(invitation),
        "is_wrong_person": request.user.is_authenticated
        and request.user.get_username() != invitation.email,
        "sso_name": config.load().sso_name if config.load().sso_issuer else "",
    }
    return render(request, "signin/invitation.html", context)


def _over(request: HttpRequest) -> HttpResponse:
    return render(request, "signin/invitation_over.html", status=GONE)


class Account(View):
    """Who one is here: partners, second factor, passkeys, password."""

    def get(self, request: HttpRequest) -> HttpResponse:
        if not request.user.is_authenticated:
            return HttpResponseRedirect("/account/login/")
        memberships = Member.objects.filter(user_id=request.user.pk).select_related("partner")
        context = {"memberships": memberships.order_by("partner__name")}
        return render(request, "signin/account.html", context)
