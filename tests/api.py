"""A caller of the control API: Django's test client with a credential."""

import json
from dataclasses import dataclass, field
from typing import Any

from django.http import HttpResponse
from django.test import Client

from subscriptions.models import ApiKey, Partner

BASE = "/api/v1"


@dataclass(slots=True)
class Caller:
    """One API key of one partner; every method takes a path below ``/api/v1``."""

    partner: Partner
    row: ApiKey
    key: str
    client: Client = field(default_factory=lambda: Client(raise_request_exception=True))

    def get(self, path: str, **headers: str) -> HttpResponse:
        return self.send("GET", path, **headers)

    def post(self, path: str, body: object = None, **headers: str) -> HttpResponse:
        return self.send("POST", path, body, **headers)

    def patch(self, path: str, body: object, **headers: str) -> HttpResponse:
        return self.send("PATCH", path, body, **headers)

    def delete(self, path: str, **headers: str) -> HttpResponse:
        return self.send("DELETE", path, **headers)

    def send(self, method: str, path: str, body: object = None, **headers: str) -> HttpResponse:
        """Return the answer; ``body`` is bytes as they are, or JSON; ``headers`` by ``_``."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        raw = (
            body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        )
        response: Any = self.client.generic(
            method,
            f"{BASE}{path}",
            raw,
            content_type=named.pop("content-type", "application/json" if raw else ""),
            headers={"authorization": f"Bearer {self.key}", **named},
        )
        answer: HttpResponse = response
        return answer


def json_of(response: HttpResponse) -> Any:
    """Return the JSON of an answer."""
    return json.loads(response.content)


def without_request_id(response: HttpResponse) -> object:
    """Return a problem body less what differs between two equal answers: id and path."""
    return {
        name: value
        for name, value in json_of(response).items()
        if name not in {"request_id", "instance"}
    }


def codes(response: HttpResponse) -> dict[str, str]:
    """Return the code of each fault by its pointer."""
    return {fault["pointer"]: fault["code"] for fault in json_of(response).get("errors", [])}
