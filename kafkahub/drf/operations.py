"""What one method of one route takes and gives: checked against, and written into OpenAPI."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rest_framework.serializers import Serializer

from kafkahub.drf import parameters
from kafkahub.drf.fields import Strict
from kafkahub.drf.parameters import Parameter

WRITES = frozenset({"POST", "PATCH", "DELETE"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One method of one route.

    id, summary    as the document and clients made from it name it
    scope          what the credential needs; "" any credential, None no credential at all
    query          parameters it takes, without paging and ``dry_run``, which come by kind
    body           serializer of the request; None when it takes no body
    is_body_optional  an absent body stands for ``{}``
    answer         serializer of the answer; None when it has no body
    is_list        the answer is a page of those
    has_version    the answer carries an entity tag
    codes          error codes beyond those its kind has anyway
    example        a request body that works
    answered       an answer as it looks
    """

    id: str
    summary: str
    scope: str | None
    query: tuple[Parameter, ...] = ()
    body: type[Strict] | None = None
    is_body_optional: bool = False
    answer: type[Serializer[Any]] | None = None
    status: int = 200
    is_list: bool = False
    has_version: bool = False
    codes: tuple[str, ...] = ()
    example: Mapping[str, object] | None = None
    answered: Mapping[str, object] | None = None

    def parameters(self, method: str) -> tuple[Parameter, ...]:
        """Return all query parameters of this operation under that method."""
        paging = (parameters.LIMIT, parameters.CURSOR) if self.is_list else ()
        dry = (parameters.DRY_RUN,) if method in WRITES else ()
        return (*self.query, *paging, *dry)
