"""``/endpoints/check`` and ``/endpoints/{ep}/check-receiver``: tried before it matters."""

from collections.abc import Mapping
from typing import Any, ClassVar

from django.http import HttpResponse
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.serializers import BooleanField, CharField, FloatField, IntegerField

from delivery import checking, receiver
from kafkahub.drf import answers
from kafkahub.drf.fields import Strict, Text
from kafkahub.drf.operations import Operation
from subscriptions import ownership
from subscriptions.api.base import PartnerView
from subscriptions.models.endpoints import MAX_URL


class CheckIn(Strict):
    """An address that may become an endpoint."""

    url = Text(max_length=MAX_URL)


class StepOut(serializers.Serializer[Any]):
    """One step of the way to an address; ``ok`` is null where it was not reached."""

    name = CharField()
    ok = BooleanField(allow_null=True)
    text = CharField(allow_blank=True)
    took_ms = FloatField(allow_null=True)
    use = CharField(allow_blank=True)


class CheckOut(serializers.Serializer[Any]):
    """The steps in order: URL, DNS, TCP, TLS, HTTP, ownership."""

    checks = StepOut(many=True)


class SentOut(serializers.Serializer[Any]):
    """One request of a receiver check."""

    name = CharField()
    expected = CharField()
    http_status = IntegerField(allow_null=True)
    outcome = CharField(allow_null=True)
    passed = BooleanField()
    duration_ms = FloatField()


class ReceiverOut(serializers.Serializer[Any]):
    """How many of four requests the receiver judged rightly."""

    passed = IntegerField()
    checks = SentOut(many=True)


class CheckUrl(PartnerView):
    tag = "endpoints"
    operations: ClassVar[Mapping[str, Operation]] = {
        "POST": Operation(
            id="checkUrl",
            summary="Try an address step by step, before it is saved as an endpoint",
            scope="webhooks:write",
            body=CheckIn,
            answer=CheckOut,
            example={"url": "https://hooks.example.com/in"},
            answered={
                "checks": [{"name": "URL", "ok": True, "text": "", "took_ms": None, "use": ""}]
            },
        )
    }

    def post(self, _: Request) -> HttpResponse:
        url = self.values()["url"]
        if self.arguments.flag("dry_run"):
            return answers.json({"dry_run": True, "warnings": []})
        return answers.json(CheckOut({"checks": checking.check(url, self.partner)}).data)


class CheckReceiver(PartnerView):
    tag = "endpoints"
    operations: ClassVar[Mapping[str, Operation]] = {
        "POST": Operation(
            id="checkReceiver",
            summary="Send a good, a forged, an old and the good delivery; see what is taken",
            scope="webhooks:write",
            answer=ReceiverOut,
            codes=("conflict",),
            answered={
                "passed": 4,
                "checks": [
                    {
                        "name": "good",
                        "expected": "2xx",
                        "http_status": 200,
                        "outcome": None,
                        "passed": True,
                        "duration_ms": 12.3,
                    }
                ],
            },
        )
    }

    def post(self, _: Request, endpoint: str) -> HttpResponse:
        row = ownership.get_endpoint(self.partner, endpoint)
        self.expect_no_body()
        if self.arguments.flag("dry_run"):
            return answers.json({"dry_run": True, "warnings": []})
        sent = receiver.check(self.actor, row)
        passed = sum(one.passed for one in sent)
        return answers.json(ReceiverOut({"passed": passed, "checks": sent}).data)
