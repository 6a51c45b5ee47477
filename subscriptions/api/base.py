"""The base of every route that a partner's credential opens."""

import functools
from collections.abc import Callable

from django.db import transaction
from django.http import HttpResponse

from kafkahub import config
from kafkahub.drf import answers
from kafkahub.drf.operations import Operation
from kafkahub.drf.views import HubView
from kafkahub.errors import Forbidden, Unauthenticated
from subscriptions import idempotency, keys
from subscriptions.audit import Actor, ActorKind
from subscriptions.authentication import chain
from subscriptions.grants import Principal

STORED_HEADERS = ("Content-Type", "ETag", "Location")
REPLAYED = {"Idempotency-Replayed": "true", "Idempotent-Replayed": "true"}
"""Both spellings are in use among clients; one means the other."""


class Replayed(Exception):
    """The request was made before; carries the answer it got."""

    def __init__(self, answer: idempotency.Stored) -> None:
        super().__init__()
        self.answer = answer


class PublicView(HubView):
    """A route that anybody may read."""

    def enter(self, operation: Operation) -> None:
        """Let everybody in."""


class PartnerView(HubView):
    """A route of one partner: who it is comes from the credential, never from the path."""

    principal: Principal

    def enter(self, operation: Operation) -> None:
        request = self.django_request
        if any(str(value).startswith(keys.PREFIX) for value in request.GET.values()):
            text = "A credential must not be in a URL; send it in the Authorization header."
            raise Unauthenticated(text)
        header = request.headers.get("Authorization")
        if not header:
            raise Unauthenticated(_first_line())
        agent = request.headers.get("User-Agent", "")
        self.principal = chain.authenticate(header, self._address, agent)
        if operation.scope and not self.principal.has(operation.scope):
            raise Forbidden(f"The credential lacks the scope {operation.scope}.")
        if (repeat := self._repeat) is not None and (stored := idempotency.find(repeat)):
            raise Replayed(stored)

    @property
    def partner(self) -> str:
        """Return the id of the tenant."""
        return self.principal.partner

    @property
    def actor(self) -> Actor:
        """Return who acts, for the audit log."""
        return Actor(
            kind=ActorKind.KEY,
            id=self.principal.id,
            partner=self.principal.partner,
            address=self._address or None,
            request_id=answers.request_id(self.django_request),
        )

    @property
    def _address(self) -> str:
        return str(self.django_request.META.get("REMOTE_ADDR") or "")

    @functools.cached_property
    def _repeat(self) -> idempotency.Request | None:
        """Return how a POST may be repeated, or None when it named no ``Idempotency-Key``."""
        request = self.django_request
        key = request.headers.get("Idempotency-Key")
        if key is None or self.method != "POST":
            return None
        query = request.META.get("QUERY_STRING", "")
        asked = idempotency.fingerprint(self.method, request.path, query, self.raw_body)
        return idempotency.Request(self.partner, idempotency.check_key(key), asked)

    def commit(self, work: Callable[[], HttpResponse]) -> HttpResponse:
        """Return the answer of ``work``, which changes rows, from within one transaction.

        The answer is stored with the change where an ``Idempotency-Key`` asks for it. For
        ``dry_run`` all is rolled back after it went well. No network inside ``work``.
        """
        if self.arguments.flag("dry_run"):
            return self._rehearse(work)
        with transaction.atomic():
            if self._repeat is None:
                return work()
            if stored := idempotency.claim(self._repeat):
                raise Replayed(stored)
            response = work()
            headers = {
                name: response.headers[name] for name in STORED_HEADERS if name in response.headers
            }
            answer = idempotency.Stored(response.status_code, headers, response.content)
            idempotency.store(self._repeat, answer)
            return response

    def _rehearse(self, work: Callable[[], HttpResponse]) -> HttpResponse:
        with transaction.atomic():
            work()
            transaction.set_rollback(True)
        return answers.json({"dry_run": True, "warnings": []})

    def handle_exception(self, exc: Exception) -> HttpResponse:  # type: ignore[override]  # as in HubView
        if isinstance(exc, Replayed):
            stored = exc.answer
            headers = {**stored.headers, **REPLAYED}
            return HttpResponse(stored.body, status=stored.status, headers=headers)
        return super().handle_exception(exc)


def _first_line() -> str:
    return (
        "An API key is needed, for example: "
        f'curl -H "Authorization: Bearer $KEY" {config.load().base_url}/api/v1/topics'
    )
