"""What holds for every page that somebody signed in opens: how long, on which host, how sure."""

import time
from collections.abc import Callable

from django.contrib.auth import logout
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse

from kafkahub import config
from subscriptions.signin.people import is_operator, needs_second_factor

OPERATOR_IDLE_S = 30 * 60
MEMBER_IDLE_S = 8 * 3_600
LONGEST_S = 12 * 3_600
TOUCH_S = 60
"""Least time between two notes of a use, so that not every request writes the session."""
POLL = "X-Poll"
"""Header of requests that a page makes by itself: they keep nobody signed in."""
BEGUN, SEEN = "hub_begun", "hub_seen"
OPEN = ("/account/", "/static/", "/invite/")
"""Paths that open without the second factor that is asked for: there one is had."""

PAGES = ("/admin/", "/portal/", "/account/", "/invite/")
"""Where people are; the doors of credentials never look at a session."""

Handler = Callable[[HttpRequest], HttpResponse]


class SignInRules:
    """Ends sessions that are old or idle, and opens nothing without the factor that is due."""

    def __init__(self, get_response: Handler) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if not request.path.startswith(PAGES):
            return self._get_response(request)
        if request.path.startswith("/admin/"):
            _check_host(request)
        if not request.user.is_authenticated:
            return self._get_response(request)
        if _is_over(request, time.time()):
            logout(request)
            return self._get_response(request)
        if not request.path.startswith(OPEN) and needs_second_factor(request.user):
            return HttpResponseRedirect(reverse("mfa_index"))
        return self._get_response(request)


def _check_host(request: HttpRequest) -> None:
    hosts = config.load().admin_hosts
    if hosts and request.get_host().partition(":")[0] not in hosts:
        raise Http404


def _is_over(request: HttpRequest, now_s: float) -> bool:
    """Return whether the session is at its end; note the use otherwise."""
    session = request.session
    begun_s, seen_s = session.get(BEGUN, now_s), session.get(SEEN, now_s)
    idle_s = OPERATOR_IDLE_S if is_operator(request.user) else MEMBER_IDLE_S
    if now_s - begun_s > LONGEST_S or now_s - seen_s > idle_s:
        return True
    is_first = BEGUN not in session
    if is_first or (now_s - seen_s > TOUCH_S and POLL not in request.headers):
        session[BEGUN], session[SEEN] = begun_s, now_s
    return False
