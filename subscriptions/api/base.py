"""The base of every route that a partner's credential opens."""

import functools
from collections.abc import Callable, MutableMapping

from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from rest_framework.request import Request

from kafkahub import config
from kafkahub.dispatch import WHO
from kafkahub.drf import answers
from kafkahub.drf.operations import WRITES, Operation
from kafkahub.drf.views import HubView
from kafkahub.errors import Forbidden, RateLimited, ReadOnlyView, Unauthenticated
from kafkahub.limits import policies
from kafkahub.limits.headers import Refusal
from subscriptions import idempotency, limiting, usage
from subscriptions.audit import Actor, ActorKind
from subscriptions.authentication import chain, verifiers
from subscriptions.grants import Principal

ACTORS = {"key": ActorKind.KEY, "member": ActorKind.MEMBER, "support": ActorKind.OPERATOR}
MEMBER = "kafkahub.member"
"""Key of a request's META under which the portal puts the member it asks for.

No client can set it: names of headers begin with ``HTTP_`` there.
"""
STORED_HEADERS = ("Content-Type", "ETag", "Location")
REPLAYED = {"Idempotency-Replayed": "true", "Idempotent-Replayed": "true"}
"""Both spellings are in use among clients; one means the other."""


DOOR = "control"
READ = policies.ONE_REQUEST
WRITE = policies.Cost((*READ.charges, (policies.CONTROL, 1)))
"""What the headers of an answer tell of; a write is charged for both."""


class Replayed(Exception):
    """The request was made before; carries the answer it got."""

    def __init__(self, answer: idempotency.Stored) -> None:
        super().__init__()
        self.answer = answer


class ApiView(HubView):
    """A route of the control API."""

    @property
    def _address(self) -> str:
        return str(self.django_request.META.get("REMOTE_ADDR") or "")

    def _charge_address(self) -> None:
        """Charge a request that no credential answers for; raise RateLimited."""
        limiter = limiting.process_limiter()
        _raise(limiter.admit(None, self._address, policies.ONE_REQUEST))


class PublicView(ApiView):
    """A route that anybody may read."""

    def enter(self, operation: Operation) -> None:  # noqa: ARG002 - as in HubView
        """Let everybody in, each address at its pace; a page of ours asks for its member."""
        if MEMBER not in self.django_request.META:
            self._charge_address()


class PartnerView(ApiView):
    """A route of one partner: who it is comes from the credential, never from the path."""

    principal: Principal
    charged: Principal | None = None
    """Who pays for this request; None until it is known."""
    is_over_limit = False

    def enter(self, operation: Operation) -> None:
        self.principal = self.charged = self._authenticated()
        _scope(self.django_request)[WHO] = self.principal
        self._charge()
        if self.principal.kind == "support" and self.method in WRITES:
            raise ReadOnlyView
        if operation.scope and not self.principal.has(operation.scope):
            raise Forbidden(f"The credential lacks the scope {operation.scope}.")
        if (repeat := self._repeat) is not None and (stored := idempotency.find(repeat)):
            raise Replayed(stored)

    def _authenticated(self) -> Principal:
        """Return who this is; each address may be wrong at its pace only."""
        try:
            return self._identified()
        except Unauthenticated as error:
            refused = error
        self._charge_address()
        raise refused

    def _identified(self) -> Principal:
        request = self.django_request
        member = request.META.get(MEMBER)
        if isinstance(member, Principal):
            return member
        if any(str(value).startswith(verifiers.FRONTS) for value in request.GET.values()):
            text = "A credential must not be in a URL; send it in the Authorization header."
            raise Unauthenticated(text)
        header = request.headers.get("Authorization")
        if not header:
            raise Unauthenticated(_first_line())
        agent = request.headers.get("User-Agent", "")
        certificate = request.headers.get("Client-Cert", "")
        return chain.authenticate(header, self._address, agent, certificate)

    def _charge(self) -> None:
        """Charge one request, and one write where it is one; raise RateLimited."""
        limiter = limiting.process_limiter()
        _raise(limiter.admit(self.principal, self._address, READ))
        if self.method in WRITES:
            _raise(limiter.take(self.principal, policies.CONTROL))

    @property
    def partner(self) -> str:
        """Return the id of the tenant."""
        return self.principal.partner

    @property
    def actor(self) -> Actor:
        """Return who acts, for the audit log."""
        is_member = self.principal.kind == "member"
        return Actor(
            kind=ACTORS.get(self.principal.kind, ActorKind.CLIENT),
            id=self.principal.name if is_member else self.principal.id,
            partner=self.principal.partner,
            address=self._address or None,
            request_id=answers.request_id(self.django_request),
        )

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
        self.is_over_limit = isinstance(exc, RateLimited)
        return super().handle_exception(exc)

    def finalize_response(  # type: ignore[override]  # as in HubView
        self, request: Request, response: HttpResponseBase, *args: object, **kwargs: object
    ) -> HttpResponse:
        """Tell a known key where it stands, whatever the answer, and count what it used."""
        answer = super().finalize_response(request, response, *args, **kwargs)
        if self.charged is not None:
            cost = WRITE if self.method in WRITES else READ
            for name, value in limiting.process_limiter().headers(self.charged, cost):
                answer.headers[name] = value
            usage.process_usage().note(self.charged.partner, DOOR, self._used(answer))
        return answer

    def _used(self, answer: HttpResponse) -> usage.Used:
        length = str(self.django_request.META.get("CONTENT_LENGTH") or 0)
        return usage.Used(
            requests=1,
            refused=int(self.is_over_limit),
            bytes_in=int(length) if length.isdecimal() else 0,
            bytes_out=len(answer.content),
        )


def _scope(request: HttpRequest) -> MutableMapping[str, object]:
    """Return the ASGI scope of a request; tests without a server have none."""
    scope: MutableMapping[str, object] = getattr(request, "scope", {})
    return scope


def _raise(refusal: Refusal | None) -> None:
    if refusal is not None:
        raise refusal.error()


def _first_line() -> str:
    return (
        "An API key is needed, for example: "
        f'curl -H "Authorization: Bearer $KEY" {config.load().base_url}/api/v1/topics'
    )
