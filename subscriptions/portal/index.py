"""The address of the portal without a partner: the way to one's own."""

from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.utils.decorators import method_decorator
from django.views import View
from django.views.decorators.cache import never_cache

from subscriptions.models import Member, Partner


@method_decorator(never_cache, name="dispatch")
class Portals(View):
    """Leads to the only portal one has, to the list of several or none, or to signing in."""

    def get(self, request: HttpRequest) -> HttpResponse:
        if not request.user.is_authenticated:
            return HttpResponseRedirect("/account/login/?next=/portal/")
        own = Member.objects.filter(
            user_id=request.user.pk, partner__status=Partner.Status.ACTIVE
        ).values_list("partner_id", flat=True)[:2]
        only = own[0] if len(own) == 1 else None
        return HttpResponseRedirect(f"/portal/{only}/" if only else "/account/")
