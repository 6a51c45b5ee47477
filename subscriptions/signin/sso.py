"""Company sign-in by OpenID Connect, over the guarded way out like every request of ours."""

import base64
import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlencode, urlsplit

import msgspec
from allauth.socialaccount.models import SocialLogin
from allauth.socialaccount.providers.oauth2.client import OAuth2Error
from csp.decorators import csp_update
from django.conf import settings
from django.http import HttpRequest
from django.http.response import HttpResponseBase

from kafkahub.egress.curl import Method
from kafkahub.egress.fetch import Request, fetch
from kafkahub.errors import Invalid
from subscriptions import verification
from subscriptions.authentication.issuer_keys import profile

TIMEOUT_MS = 5_000
MAX_BYTES = 256 * 1024
REFUSED = 400


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer, as the sign-in package reads one."""

    status_code: int
    content: bytes
    headers: Mapping[str, str]

    @property
    def text(self) -> str:
        return self.content.decode("utf-8", "replace")

    def json(self) -> Any:
        try:
            return msgspec.json.decode(self.content)
        except msgspec.DecodeError:
            raise OAuth2Error("The company's sign-in answered with something else.") from None

    def raise_for_status(self) -> None:
        if self.status_code >= REFUSED:
            raise OAuth2Error(f"The company's sign-in answered {self.status_code}.")


class GuardedSession:
    """Stands where the package would have a client of its own, which no egress rule binds."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...

    def get(self, url: str, headers: Mapping[str, str] | None = None) -> Answer:
        return self.request("GET", url, headers=headers)

    def request(
        self,
        method: Method,
        url: str,
        *,
        params: Mapping[str, str] | None = None,
        data: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        auth: Any = None,  # the package's own pair of name and secret
    ) -> Answer:
        """Return the answer; raise OAuth2Error when there is none."""
        told = {"accept": "application/json", **(headers or {})}
        if data:
            told["content-type"] = "application/x-www-form-urlencoded"
        if auth is not None:
            pair = base64.b64encode(f"{auth.username}:{auth.password}".encode()).decode()
            told["authorization"] = f"Basic {pair}"
        address = f"{url}?{urlencode(params)}" if params else url
        return _asked(method, address, told, urlencode(data or {}).encode())


def _asked(method: Method, url: str, headers: Mapping[str, str], body: bytes) -> Answer:
    try:
        target = verification.parse_url(url)
    except Invalid as error:
        raise OAuth2Error(f"The address of the company's sign-in is refused: {error}") from None
    request = Request(
        target,
        method=method,
        headers=tuple(f"{name}: {value}" for name, value in headers.items()),
        body=body,
        timeout_ms=TIMEOUT_MS,
        connect_timeout_ms=TIMEOUT_MS,
        body_cap=MAX_BYTES,
    )
    answer = fetch(request, profile(), verification.resolver())
    if answer.outcome is not None or answer.status is None or answer.note is not None:
        raise OAuth2Error("The company's sign-in does not answer.")
    return Answer(answer.status, answer.body, {"content-type": "application/json"})


def may_lead_there(view: Callable[..., HttpResponseBase]) -> Callable[..., HttpResponseBase]:
    """Return the view with a policy that lets its form go on to the company's sign-in.

    Chromium holds ``form-action`` against every redirect that follows a form.
    """

    @functools.wraps(view)
    def shown(request: HttpRequest, *args: object, **kwargs: object) -> HttpResponseBase:
        allowed: dict[str, object] = {"form-action": origins()}
        response: HttpResponseBase = csp_update(allowed)(view)(request, *args, **kwargs)
        return response

    return shown


def origins() -> list[str]:
    """Return the origins of the companies' sign-ins."""
    providers: dict[str, Any] = settings.SOCIALACCOUNT_PROVIDERS  # as the package reads it
    apps = providers["openid_connect"]["APPS"]
    found = [urlsplit(app["settings"]["server_url"]) for app in apps]
    return [f"{url.scheme}://{url.netloc}" for url in found]


def verified_email(login: SocialLogin) -> str:
    """Return the address that the company vouches for, in lower case, or ""."""
    found = [one.email for one in login.email_addresses if one.verified]
    return str(found[0]).lower() if found else ""
