"""A plain HTTP client for the published contracts; it knows nothing of how they are kept."""

import base64
import contextlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPSConnection  # noqa: TID251 - a test asks a server
from typing import Any
from urllib.parse import urlsplit

V2 = "application/vnd.kafka.v2+json"
V2_JSON = "application/vnd.kafka.json.v2+json"
V2_BINARY = "application/vnd.kafka.binary.v2+json"
DEADLINE_S = 60.0


@dataclass(frozen=True)
class Answer:
    """A whole answer; header names are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> tuple[int, int]:
        """HTTP status and Confluent's number."""
        return self.status, self.json["error_code"]

    @property
    def code(self) -> tuple[int, str]:
        """HTTP status and our promised code."""
        return self.status, self.json["code"]


@dataclass
class Client:
    """Whoever holds a key, at one node."""

    url: str
    key: str | None
    headers: dict[str, str] = field(default_factory=dict)

    def at(self, url: str) -> "Client":
        """Return the same caller at another node."""
        return Client(url, self.key, self.headers)

    def send(
        self, method: str, path: str, body: object = None, kind: str = "", **headers: str
    ) -> Answer:
        """Send a request; ``body`` is bytes as they are, or JSON, and ``headers`` by ``_``."""
        told = {name.replace("_", "-"): value for name, value in headers.items()}
        if self.key is not None:
            told.setdefault("Authorization", f"Bearer {self.key}")
        raw = body if isinstance(body, bytes | None) else json.dumps(body).encode()
        if kind:
            told["Content-Type"] = kind
        parts = urlsplit(self.url)
        make = HTTPSConnection if parts.scheme == "https" else HTTPConnection
        connection = make(parts.hostname or "", parts.port, timeout=DEADLINE_S)
        with contextlib.closing(connection):
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # answered early
                connection.request(method, path, raw, told)
            got = connection.getresponse()
            named = {name.lower(): value for name, value in got.getheaders()}
            return Answer(got.status, named, got.read())

    def get(self, path: str, **headers: str) -> Answer:
        return self.send("GET", path, **headers)

    def post(self, path: str, body: object = None, kind: str = V2, **headers: str) -> Answer:
        return self.send("POST", path, body, kind, **headers)

    def delete(self, path: str) -> Answer:
        return self.send("DELETE", path)

    def produce(self, topic: str, *records: object, kind: str = V2_JSON, **headers: str) -> Answer:
        """Write v2 records."""
        return self.post(f"/topics/{topic}", {"records": list(records)}, kind, **headers)

    def values(self, topic: str, *values: object) -> list[dict[str, Any]]:
        """Write values and return where they went."""
        answer = self.produce(topic, *({"value": value} for value in values))
        assert answer.status == 200, answer
        offsets: list[dict[str, Any]] = answer.json["offsets"]
        return offsets


def b64(content: bytes) -> str:
    return base64.b64encode(content).decode()
