"""Members: who may act for the partner; owners invite, change and remove them."""

from django.contrib import messages
from django.core.exceptions import ValidationError
from django.core.validators import validate_email
from django.http import Http404, HttpRequest, HttpResponse

from kafkahub import config
from kafkahub.errors import HubError, NotFound
from subscriptions import ownership
from subscriptions.actions import members as actions
from subscriptions.audit import Actor, ActorKind
from subscriptions.models import Role
from subscriptions.models.members import MAX_EMAIL
from subscriptions.portal.base import PortalPage

RIGHT = "members:manage"


class Members(PortalPage):
    """People are no objects of the API: only people look after people."""

    section = "members"
    template = "members.html"

    def get(self, _: HttpRequest, fault: str = "", email: str = "") -> HttpResponse:
        partner = self.partner.pk
        return self.show(
            members=ownership.members_of(partner),
            invitations=ownership.invitations_of(partner).open(),
            roles=Role.choices,
            fault=fault,
            email=email,
        )

    def post(self, request: HttpRequest) -> HttpResponse:
        if not self.principal.has(RIGHT):
            return self.get(request, "Your role does not include this; an owner can do it.")
        email = request.POST.get("email", "").strip()
        try:
            validate_email(email[: MAX_EMAIL + 1])
            role = Role(request.POST.get("role", ""))
            _, text = actions.invite(self.actor, self.partner, email[:MAX_EMAIL], role)
        except (ValidationError, ValueError):
            return self.get(request, "A whole e-mail address and a role are needed.", email)
        except HubError as error:
            return self.get(request, error.detail, email)
        link = f"{config.load().base_url}/invite/{text}"
        return self.show("invited.html", link=link, email=email)

    @property
    def actor(self) -> Actor:
        meta = self.request.META
        return Actor(
            ActorKind.MEMBER,
            self.principal.name,
            partner=self.partner.pk,
            address=meta.get("REMOTE_ADDR"),
            request_id=str(meta.get("kafkahub.request_id", "")),
        )


class OneMember(Members):
    """What an owner does to a member or an invitation."""

    http_method_names = ("post",)

    def post(self, request: HttpRequest, who: str = "") -> HttpResponse:
        if not self.principal.has(RIGHT):
            raise Http404
        try:
            self._change(who, request.POST.get("do", ""), request.POST.get("role", ""))
        except NotFound:
            raise Http404 from None
        except HubError as error:
            return self.get(request, error.detail)
        messages.success(request, "Done.")
        return self.go("members")

    def _change(self, who: str, wanted: str, role: str) -> None:
        partner = self.partner.pk
        if wanted == "withdraw":
            actions.withdraw(self.actor, ownership.get_invitation(partner, who))
        elif wanted == "remove":
            actions.remove(self.actor, ownership.get_member(partner, who))
        elif role in Role.values:
            actions.change_role(self.actor, ownership.get_member(partner, who), Role(role))
