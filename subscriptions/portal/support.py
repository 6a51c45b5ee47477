"""What an operator's visit makes of the portal: whose eyes, what is hidden, how it ends."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.utils.decorators import method_decorator
from django.views import View
from django.views.decorators.cache import never_cache

from kafkahub.observability import logs
from subscriptions.actions import support
from subscriptions.audit import Actor, ActorKind
from subscriptions.authentication import member as members
from subscriptions.grants import Principal
from subscriptions.models import Member, Role, SupportVisit

MASKED = "masked"
VALUES = frozenset({"key", "response_excerpt", "response_note"})
"""Members of the API's answers that come from records or from what receivers said."""
SEEN = frozenset({"keys:manage"})
"""What a visit may list beyond a viewer: keys without their texts, and the audit rows."""


def as_member(visit: SupportVisit) -> Member:
    """Return a viewer of the partner that is in no table, so that pages know whom they greet."""
    return Member(id=visit.pk, partner=visit.partner, user=visit.user, role=Role.VIEWER)


def principal(visit: SupportVisit, member: Member) -> Principal:
    """Return what the visit may read; of kind ``support``, which may write nothing."""
    seen = members.principal(member, visit.expires_at)
    return replace(seen, kind="support", scopes=seen.scopes | SEEN)


def actor(request: HttpRequest) -> Actor:
    """Return the operator behind a request, for the audit log."""
    return Actor(
        ActorKind.OPERATOR,
        request.user.get_username(),
        address=request.META.get("REMOTE_ADDR"),
        request_id=logs.request_id(),
    )


def mask(data: Any) -> Any:
    """Return an answer's JSON without values of records; what has none of them is unchanged."""
    if isinstance(data, Mapping):
        return {
            name: MASKED if name in VALUES and value is not None else mask(value)
            for name, value in data.items()
        }
    return [mask(value) for value in data] if isinstance(data, list) else data


@method_decorator(never_cache, name="dispatch")
class EndVisit(View):
    """The *End* of the banner: the only thing besides looking that a visit can do."""

    http_method_names = ("get", "post")

    def get(self, request: HttpRequest, partner: str) -> HttpResponse:
        if not request.user.is_authenticated:
            return HttpResponseRedirect(f"/account/login/?next={request.path}")
        self._visit(request, partner)
        return HttpResponseRedirect(f"/portal/{partner}/start")

    def post(self, request: HttpRequest, partner: str) -> HttpResponse:
        support.end_visit(actor(request), self._visit(request, partner))
        return HttpResponseRedirect("/admin/")

    def _visit(self, request: HttpRequest, partner: str) -> SupportVisit:
        found = support.find_visit(request.user, partner)
        if found is None:
            raise Http404
        return found
