"""What every page of the portal has: who looks, at which partner, through which door."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, ClassVar

from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.http.response import HttpResponseBase
from django.shortcuts import redirect, render
from django.utils.decorators import method_decorator
from django.views import View
from django.views.decorators.cache import never_cache

from kafkahub import clock
from kafkahub.errors import ReadOnlyView
from subscriptions.actions.support import find_visit, note_page
from subscriptions.authentication import member as members
from subscriptions.grants import Principal
from subscriptions.models import Member, Partner, SupportVisit
from subscriptions.portal import support
from subscriptions.portal.door import FORBIDDEN, NOT_FOUND, UNAVAILABLE, Door, Refused

SECTIONS = (
    ("start", "Start", "s"),
    ("console", "Live console", "c"),
    ("keys", "Keys", "k"),
    ("endpoints", "Endpoints", "e"),
    ("subscriptions", "Subscriptions", "u"),
    ("deliveries", "Deliveries", "d"),
    ("replays", "Replays", "r"),
    ("usage", "Usage", "t"),
    ("alerts", "Alerts", "a"),
    ("doctor", "Signature doctor", "o"),
    ("api", "API", "p"),
    ("members", "Members", "m"),
)
"""Address, name and key after ``g`` of each part, in the order of the side bar."""
READS = frozenset({"GET", "HEAD", "OPTIONS"})
SESSION_LEFT = timedelta(hours=12)


@dataclass(slots=True)
class Form:
    """What was typed, and what the API found wrong with it.

    values   by the name of a field
    faults   each with its pointer and message, as in the problem document
    detail   what is wrong with it as a whole
    """

    values: Mapping[str, Any]
    refused: Refused | None = None

    @property
    def summary(self) -> list[str]:
        """Return everything that is wrong, for the top of the form."""
        if self.refused is None:
            return []
        return [fault["message"] for fault in self.refused.faults] or [str(self.refused)]

    def error(self, name: str) -> str:
        """Return what is wrong with a field, or ""."""
        faults = self.refused.faults if self.refused is not None else []
        found = [fault["message"] for fault in faults if _is_of(fault.get("pointer", ""), name)]
        return " ".join(found)


def _is_of(pointer: str, name: str) -> bool:
    return pointer == f"/{name}" or pointer.startswith(f"/{name}/")


@method_decorator(never_cache, name="dispatch")
class PortalPage(View):
    """One page of one partner; a stranger gets the 404 of a partner that does not exist.

    section   name in ``SECTIONS`` that is marked in the side bar
    template  below ``portal/``
    """

    section: ClassVar[str] = ""
    template: ClassVar[str] = ""
    member: Member
    visit: SupportVisit | None
    principal: Principal
    door: Door

    def dispatch(
        self, request: HttpRequest, *args: object, partner: str, **kwargs: object
    ) -> HttpResponseBase:
        if not request.user.is_authenticated:
            return HttpResponseRedirect(f"/account/login/?next={request.path}")
        self._enter(request, partner)
        try:
            if self.visit is not None:
                _only_look(request, self.visit)
            return super().dispatch(request, *args, **kwargs)
        except Refused as refused:
            return self._refused(refused)

    def _enter(self, request: HttpRequest, partner: str) -> None:
        """Let a visit in before a membership: who looks as support changes nothing meanwhile."""
        self.visit = find_visit(request.user, partner)
        if self.visit is not None:
            self.member = support.as_member(self.visit)
            self.principal = support.principal(self.visit, self.member)
        else:
            self.member = _member(request, partner)
            self.principal = members.principal(self.member, clock.now() + SESSION_LEFT)
        self.door = Door(request, self.principal)

    @property
    def partner(self) -> Partner:
        return self.member.partner

    def show(self, template: str = "", status: int = 200, **context: object) -> HttpResponse:
        """Return the page, or a fragment of it, with what all of them have."""
        root = f"/portal/{self.partner.pk}/"
        shared = {
            "partner": self.partner,
            "member": self.member,
            "may": self.principal.scopes if self.visit is None else frozenset(),
            "visit": self.visit,
            "root": root,
            "section": self.section,
            "sections": [(f"{root}{place}", place, name, key) for place, name, key in SECTIONS],
        }
        name = f"portal/{template or self.template}"
        return render(self.request, name, {**shared, **context}, status=status)

    def go(self, place: str) -> HttpResponse:
        """Return the way to another page of this partner."""
        return redirect(f"/portal/{self.partner.pk}/{place}")

    def _refused(self, refused: Refused) -> HttpResponse:
        if refused.status == NOT_FOUND:
            raise Http404
        is_role = refused.status == FORBIDDEN and self.visit is None
        text = _role_sentence(self.member) if is_role else str(refused)
        is_away = refused.status == UNAVAILABLE
        return self.show(
            "refused.html", refused.status, text=text, code=refused.code, is_away=is_away
        )


def _member(request: HttpRequest, partner: str) -> Member:
    """Return the membership; raise Http404 alike for unknown, foreign and suspended partners."""
    rows = Member.objects.select_related("partner", "user")
    found = rows.filter(
        user_id=request.user.pk or 0, partner_id=partner, partner__status=Partner.Status.ACTIVE
    ).first()
    if found is None:
        raise Http404
    return found


def _only_look(request: HttpRequest, visit: SupportVisit) -> None:
    """Note what a visit looks at; raise Refused for all else, whatever the page would do."""
    if request.method not in READS:
        error = ReadOnlyView()
        raise Refused(error.status, {"code": error.code, "detail": error.detail})
    note_page(support.actor(request), visit, request.path)


def _role_sentence(member: Member) -> str:
    return f"Your role is {member.role}; this needs a wider one. An owner can change it."
