"""``/webhooks/consent/{token}``: a person lets webhooks come, as CloudEvents has it."""

from django.http import Http404, HttpRequest, HttpResponse
from django.urls import path
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_http_methods

from kafkahub import clock
from kafkahub.drf import answers
from kafkahub.errors import NotFound
from subscriptions.actions import verification


@csrf_exempt  # the token is the right; it comes from a program as often as from a browser
@require_http_methods(["GET", "POST"])
def consent(_: HttpRequest, token: str) -> HttpResponse:
    """Verify the endpoint that this token was sent to; it is good once, for an hour.

    Source: CloudEvents HTTP 1.1 Web Hooks, section 4.2.
    """
    try:
        verification.consent(token, clock.now())
    except NotFound:
        raise Http404 from None
    text = "Consent is given; webhooks come from now on.\n"
    return HttpResponse(text, content_type="text/plain; charset=utf-8", headers=answers.HEADERS)


urlpatterns = [path("<str:token>", consent)]
