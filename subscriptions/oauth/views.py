"""The OAuth endpoints, and the two documents that tell clients of them."""

import hashlib
from collections.abc import Callable, Mapping

from django.db import DatabaseError
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.views.decorators.csrf import csrf_exempt
from oauth2_provider.models import AccessToken
from oauth2_provider.oauth2_backends import get_oauthlib_core

from kafkahub import config
from subscriptions.authentication import basic, oauth_rules
from subscriptions.authentication.basic import Given
from subscriptions.inputs import FIXED_SCOPES
from subscriptions.models import OAuthClient
from subscriptions.oauth import forms, throttle
from subscriptions.oauth.forms import Refused
from subscriptions.scopes import ON_TOPICS

GRANT_TYPES = ("client_credentials",)
AUTH_METHODS = ("client_secret_basic", "client_secret_post")
MAX_CLIENT_ID = 255

Fields = Mapping[str, str]
Endpoint = Callable[[HttpRequest, Fields, Given], HttpResponse]
View = Callable[[HttpRequest], HttpResponse]


def endpoint(answer: Endpoint) -> View:
    """Return the view of an endpoint: its form read, its client named, its pace kept."""

    @csrf_exempt
    def view(request: HttpRequest) -> HttpResponse:
        try:
            fields = forms.read(request)
            given = _given(request, fields)
            _pace(given.client_id, str(request.META.get("REMOTE_ADDR") or ""))
            return forms.sealed(answer(request, fields, given))
        except Refused as refused:
            return refused.answer()
        except DatabaseError:
            text = "Nothing can be looked up right now."
            return Refused("temporarily_unavailable", text, 503, {"Retry-After": "5"}).answer()

    return view


@endpoint
def token(request: HttpRequest, fields: Fields, _: Given) -> HttpResponse:
    """Give a token to a client that may have one."""
    grant_type = fields.get("grant_type")
    if not grant_type:
        raise Refused("invalid_request", "grant_type is missing.")
    if grant_type not in GRANT_TYPES:
        raise Refused("unsupported_grant_type", f"grant_type is {', '.join(GRANT_TYPES)}.")
    _url, headers, body, status = get_oauthlib_core().create_token_response(request)
    return _answer(headers, body, status)


@endpoint
def revoke(request: HttpRequest, fields: Fields, given: Given) -> HttpResponse:
    """End a token of this client's; one of another's, or none, is answered alike and stays."""
    client = _authenticated(request, given)
    own = AccessToken.objects.filter(application=client)
    own.filter(token_checksum=_checksum(fields)).delete()
    return HttpResponse(status=200, content_type="application/json")


@endpoint
def introspect(request: HttpRequest, fields: Fields, given: Given) -> HttpResponse:
    """Say what a token of a client of the same partner holds; any other one is not active."""
    client = _authenticated(request, given)
    if not client.may_introspect:
        raise Refused("access_denied", "This client may not ask about tokens.", 403)
    rows = AccessToken.objects.select_related("application__partner")
    found = rows.filter(
        token_checksum=_checksum(fields), application__partner_id=client.partner_id
    ).first()
    return JsonResponse({"active": False} if found is None else _described(found))


def server_metadata(request: HttpRequest) -> HttpResponse:
    """Tell clients where tokens are had (RFC 8414)."""
    base_url = config.load().base_url
    return _document(
        request,
        {
            "issuer": base_url,
            "token_endpoint": f"{base_url}/oauth/token/",
            "revocation_endpoint": f"{base_url}/oauth/revoke_token/",
            "introspection_endpoint": f"{base_url}/oauth/introspect/",
            "grant_types_supported": list(GRANT_TYPES),
            "response_types_supported": [],
            "scopes_supported": _offered(),
            **{
                f"{name}_endpoint_auth_methods_supported": list(AUTH_METHODS)
                for name in ("token", "revocation", "introspection")
            },
        },
    )


def resource_metadata(request: HttpRequest) -> HttpResponse:
    """Tell clients who gives tokens for this resource (RFC 9728)."""
    base_url = config.load().base_url
    return _document(
        request,
        {
            "resource": base_url,
            "authorization_servers": [base_url],
            "scopes_supported": _offered(),
            "bearer_methods_supported": ["header"],
            "resource_name": "KafkaHub",
        },
    )


def _offered() -> list[str]:
    return [scope for scope in (*FIXED_SCOPES, *ON_TOPICS) if scope != "keys:manage"]


def _document(request: HttpRequest, members: Mapping[str, object]) -> HttpResponse:
    if request.method not in {"GET", "HEAD"}:
        return Refused("invalid_request", "Use GET.", 405, {"Allow": "GET, HEAD"}).answer()
    response = forms.sealed(JsonResponse(members))
    response.headers["Cache-Control"] = "public, max-age=3600"
    del response.headers["Pragma"]
    # Public and without credentials: any page may read it.
    response.headers["Access-Control-Allow-Origin"] = "*"
    return response


def _given(request: HttpRequest, fields: Fields) -> Given:
    """Return what the client says of itself; raise Refused where it says nothing or two things."""
    header = request.headers.get("Authorization")
    if header is not None and fields.get("client_secret") is not None:
        raise Refused("invalid_request", "The client stands in the header and in the body.")
    given = basic.client_of(header, fields.get("client_id"), fields.get("client_secret"))
    if header is not None and given is None and "client_id" in fields:
        raise Refused("invalid_request", "The client stands in the header and in the body.")
    if given is None or len(given.client_id) > MAX_CLIENT_ID:
        raise forms.not_authenticated()
    return given


def _pace(client_id: str, address: str) -> None:
    wait_s = throttle.process_throttle.take(client_id, address)
    if wait_s:
        headers = {"Retry-After": str(int(wait_s) + 1)}
        raise Refused("slow_down", "Too many requests; a token may be used again.", 429, headers)


def _authenticated(request: HttpRequest, given: Given) -> OAuthClient:
    client = oauth_rules.authenticate(given, str(request.META.get("REMOTE_ADDR") or ""))
    if client is None:
        raise forms.not_authenticated()
    return client


def _checksum(fields: Fields) -> str:
    text = fields.get("token")
    if not text:
        raise Refused("invalid_request", "token is missing.")
    return hashlib.sha256(text.encode()).hexdigest()


def _described(row: AccessToken) -> dict[str, object]:
    if row.is_expired() or not row.application.is_usable(None):
        return {"active": False}
    return {
        "active": True,
        "scope": row.scope,
        "client_id": row.application.client_id,
        "token_type": "Bearer",
        "exp": int(row.expires.timestamp()),
        "iat": int(row.created.timestamp()),
        "iss": config.load().base_url,
        "aud": config.load().base_url,
    }


def _answer(headers: Mapping[str, str], body: str | None, status: int) -> HttpResponse:
    response = HttpResponse(body or "", status=status, content_type="application/json")
    for name, value in headers.items():
        response.headers[name] = value
    return response
