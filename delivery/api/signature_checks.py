"""``/signature-checks``: what is wrong with a delivery that somebody's code refuses."""

import base64
import binascii
from collections.abc import Mapping
from typing import Any, ClassVar

from django.http import HttpResponse
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.serializers import CharField

from delivery import doctor
from kafkahub.drf import answers
from kafkahub.drf.fields import Json, Strict, Text, Values
from kafkahub.drf.operations import Operation
from kafkahub.errors import Fault, Invalid
from subscriptions import ownership
from subscriptions.api.base import PartnerView
from subscriptions.serializers import MAX_ID

MAX_BODY = 1_048_576
MAX_HEADERS, MAX_VALUE = 100, 8_192


def _headers(value: object) -> dict[str, str]:
    """Return headers as they were received; more than a request has, or no texts, are refused."""
    if not isinstance(value, dict) or len(value) > MAX_HEADERS:
        raise Invalid([Fault("", "wrong_type", "An object of header names and values is needed.")])
    if not all(isinstance(one, str) and len(one) <= MAX_VALUE for one in value.values()):
        raise Invalid([Fault("", "wrong_type", "Each header is a text of 8 kB at most.")])
    return value


class SignatureIn(Strict):
    """What an endpoint received: the body as text, or as base64 where it is none."""

    endpoint = Text(max_length=MAX_ID)
    headers = Json(
        read=_headers,
        schema={"type": "object", "additionalProperties": {"type": "string"}},
    )
    body = Text(max_length=MAX_BODY, allow_blank=True, required=False)
    body_base64 = Text(max_length=2 * MAX_BODY, allow_blank=True, required=False)

    def checked(self, values: Values) -> Values:
        if ("body" in values) == ("body_base64" in values):
            text = "Either body or body_base64 is needed."
            raise Invalid([Fault("/body", "bad_combination", text)])
        return values


class VerdictOut(serializers.Serializer[Any]):
    """The first finding that fits, and what to change."""

    code = CharField()
    text = CharField()
    cure = CharField(allow_blank=True)


class CheckSignature(PartnerView):
    tag = "endpoints"
    operations: ClassVar[Mapping[str, Operation]] = {
        "POST": Operation(
            id="checkSignature",
            summary="Find out why a receiver refuses a signature; nothing of it is kept",
            scope="webhooks:write",
            body=SignatureIn,
            answer=VerdictOut,
            codes=("not_found", "bad_combination"),
            example={
                "endpoint": "ep_01jd0q2v7kz3v1m8x9c4b5n6a7",
                "headers": {"webhook-id": "msg_…", "webhook-timestamp": "1795407540"},
                "body": "{}",
            },
            answered={
                "code": "header_missing",
                "text": "The header webhook-signature is not there.",
                "cure": "Let your proxy hand on headers that begin webhook-.",
            },
        )
    }

    def post(self, _: Request) -> HttpResponse:
        values = self.values()
        endpoint = ownership.get_endpoint(self.partner, values["endpoint"])
        if self.arguments.flag("dry_run"):
            return answers.json({"dry_run": True, "warnings": []})
        body = _body(values)
        found = doctor.examine(self.principal, endpoint, values["headers"], body)
        return answers.json(VerdictOut(found).data)


def _body(values: Values) -> bytes:
    if "body" in values:
        return str(values["body"]).encode()
    try:
        return base64.b64decode(values["body_base64"], validate=True)
    except (binascii.Error, ValueError):
        raise Invalid([Fault("/body_base64", "wrong_type", "It is not base64.")]) from None
