"""What django-oauth-toolkit asks of us: which scopes a client may have, and who a client is.

Its own answers would give every scope where none is asked for, and check one secret only.
"""

from collections.abc import Collection, Iterator, Mapping
from ipaddress import ip_network
from typing import TYPE_CHECKING, Any

from django.contrib.auth.hashers import check_password
from oauthlib.oauth2.rfc6749.errors import CustomOAuth2Error, InvalidScopeError

from kafkahub import config
from subscriptions import scopes
from subscriptions.authentication import basic
from subscriptions.authentication.basic import Given
from subscriptions.authentication.known import is_within
from subscriptions.inputs import FIXED_SCOPES
from subscriptions.models import Grant, OAuthClient

if TYPE_CHECKING:

    class BaseScopes:
        """django-oauth-toolkit's, which carries no types."""

    class OAuth2Validator:
        """django-oauth-toolkit's, which carries no types."""

        def _check_and_set_request_resource(self, request: object) -> None: ...

else:
    from oauth2_provider.oauth2_validators import OAuth2Validator
    from oauth2_provider.scopes import BaseScopes

MAX_SECRET = 1_024


class HubScopes(BaseScopes):
    """Scopes of a client: what it was registered with, on the topics that its partner sees."""

    def get_all_scopes(self) -> Mapping[str, str]:
        return {scope: scope for scope in (*FIXED_SCOPES, *scopes.ON_TOPICS)}

    def get_available_scopes(
        self, application: OAuthClient | None = None, request: object = None, **_: object
    ) -> list[str]:
        if application is None:
            return list(self.get_all_scopes())
        return sorted(_available(application))

    def get_default_scopes(
        self, application: OAuthClient | None = None, request: object = None, **_: object
    ) -> list[str]:
        if application is None:
            return []
        return sorted(set(application.default_scopes) & set(_available(application)))


class HubValidator(OAuth2Validator):
    """Knows clients by either of two secrets, and gives no token without a scope."""

    def authenticate_client(self, request: Any, *_: object, **__: object) -> bool:
        """Set ``request.client`` where id and secret are right; oauthlib's requests are untyped."""
        given = basic.client_of(
            request.headers.get("HTTP_AUTHORIZATION"), request.client_id, request.client_secret
        )
        address = str(request.headers.get("REMOTE_ADDR") or "")
        request.client = None if given is None else authenticate(given, address)
        return request.client is not None

    def validate_grant_type(
        self, client_id: str, grant_type: str, client: OAuthClient, request: object, **_: object
    ) -> bool:
        return grant_type == "client_credentials"

    def validate_scopes(
        self,
        client_id: str,
        scopes: Collection[str],
        client: OAuthClient,
        request: object,
        **_: object,
    ) -> bool:
        """Return True; raise InvalidScopeError, naming what may be asked for."""
        available = HubScopes().get_available_scopes(client)
        if scopes and set(scopes) <= set(available):
            return True
        offered = " ".join(available) or "none: no topic is granted"
        text = f"Ask for one or more of: {offered}."
        raise InvalidScopeError(description=text, request=request)

    def _check_and_set_request_resource(self, request: Any) -> None:
        """Refuse tokens for anybody else: no one here can say what they would open there."""
        super()._check_and_set_request_resource(request)
        if set(request.resource) - {config.load().base_url}:
            text = f"The resource is {config.load().base_url}."
            raise CustomOAuth2Error("invalid_target", description=text, request=request)


def authenticate(given: Given, address: str) -> OAuthClient | None:
    """Return the client that this id and secret are of, if it may get tokens from this address.

    One query, by unique index.
    """
    if "\x00" in given.client_id or not 0 < len(given.secret) <= MAX_SECRET:
        return None
    rows = OAuthClient.objects.select_related("partner")
    client = rows.filter(client_id=given.client_id).first()
    if client is None or not client.is_usable(None):
        return None
    if not is_within(tuple(ip_network(text) for text in client.allowed_cidrs), address):
        return None
    is_right = any(check_password(given.secret, each) for each in _secrets(client))
    return client if is_right else None


def _secrets(client: OAuthClient) -> Iterator[str]:
    yield client.client_secret
    if client.has_two_secrets:
        yield client.older_secret


def _available(client: OAuthClient) -> Iterator[str]:
    """Yield what a client may ask for; on topics only what is granted now."""
    held = frozenset(client.scopes)
    yield from held & {*FIXED_SCOPES, *scopes.ON_TOPICS}
    grants = Grant.objects.alive().filter(
        partner_id=client.partner_id, topic__is_sandbox=client.mode == "test"
    )
    for topic, action in grants.values_list("topic_id", "action"):
        scope = f"topic:{topic}:{action}"
        if (client.topics is None or topic in client.topics) and scopes.covers(held, scope):
            yield scope
