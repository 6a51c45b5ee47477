"""What a view of the console is in other tongues: commands and code to be copied (pure)."""

import json
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import quote, urlencode

KEY = "$KAFKAHUB_KEY"
"""We store hashes of keys, so no snippet can hold one."""
GRPC_PORT = 50051


@dataclass(frozen=True, slots=True)
class View:
    """What somebody looks at.

    base_url  of this installation, without a slash at the end
    filter    JSON text, or "" for none
    cursor    to go on behind, or "" for from now
    """

    base_url: str
    topics: tuple[str, ...]
    filter: str = ""
    cursor: str = ""

    @property
    def joined(self) -> str:
        return ",".join(self.topics)

    @property
    def host(self) -> str:
        return self.base_url.partition("://")[2].partition("/")[0].partition(":")[0]


@dataclass(frozen=True, slots=True)
class Snippet:
    """One form of a view.

    language  for the reader; nothing is highlighted
    """

    name: str
    language: str
    text: str


def all_of(view: View) -> Sequence[Snippet]:
    """Return every form, the shortest first."""
    return (
        Snippet("SSE with curl", "shell", _curl(view)),
        Snippet("In a browser", "JavaScript", _browser(view)),
        Snippet("WebSocket", "shell", _websocket(view)),
        Snippet("REST", "shell", _rest(view)),
        Snippet("gRPC", "shell", _grpc(view)),
    )


def _query(view: View, at: str, otherwise: dict[str, str]) -> str:
    """Return the query of an address; ``at`` names the parameter that takes a cursor."""
    start = {at: view.cursor} if view.cursor else otherwise
    chosen = {**start, **({"filter": view.filter} if view.filter else {})}
    return f"?{urlencode(chosen)}" if chosen else ""


def _address(view: View) -> str:
    topics = ",".join(quote(topic, safe="") for topic in view.topics)
    return f"{view.base_url}/streams/{topics}{_query(view, 'last_event_id', {})}"


def _curl(view: View) -> str:
    return f'curl -N -H "Authorization: Bearer {KEY}" {shlex.quote(_address(view))}'


def _browser(view: View) -> str:
    options = {
        "url": view.base_url,
        "topics": list(view.topics),
        **({"filter": json.loads(view.filter)} if view.filter else {}),
        **({"cursor": view.cursor} if view.cursor else {}),
    }
    shown = json.dumps(options, ensure_ascii=False, indent=2).removesuffix("\n}")
    return (
        f'import {{ openStream }} from "{view.base_url}/static/kafkahub-stream.js";\n'
        f"openStream({shown},\n"
        '  ticket: () => fetch("/your/ticket").then((answer) => answer.text()),\n'
        "  onMessage: (record) => console.log(record),\n"
        "});"
    )


def _websocket(view: View) -> str:
    start = {"cursor": view.cursor} if view.cursor else {"from": "latest"}
    asked: dict[str, object] = {
        "type": "subscribe",
        "id": "1",
        "sub": "view",
        "topics": list(view.topics),
        **start,
        "credit": 100,
        **({"filter": json.loads(view.filter)} if view.filter else {}),
    }
    address = view.base_url.replace("http", "ws", 1) + "/ws"
    text = json.dumps(asked, ensure_ascii=False, separators=(",", ":"))
    return (
        f"echo {shlex.quote(text)} | websocat -n \\\n"
        f'  -H "Authorization: Bearer {KEY}" --protocol kafkahub.v1.json {address}'
    )


def _rest(view: View) -> str:
    lines = []
    for topic in view.topics:
        place = f"{view.base_url}/api/v1/topics/{quote(topic, safe='')}/records"
        address = f"{place}{_query(view, 'cursor', {'from': 'latest', 'wait': '10'})}"
        lines.append(f'curl -H "Authorization: Bearer {KEY}" {shlex.quote(address)}')
    return "\n".join(lines)


def _grpc(view: View) -> str:
    start = {"cursor": view.cursor} if view.cursor else {"edge": "EDGE_LATEST"}
    asked = {
        "start": {
            "topics": list(view.topics),
            "from": start,
            **({"filter": view.filter} if view.filter else {}),
        }
    }
    text = json.dumps(asked, ensure_ascii=False, separators=(",", ":"))
    return (
        f"curl -sO {view.base_url}/api/v1/kafkahub.proto\n"
        f'grpcurl -proto kafkahub.proto -H "authorization: Bearer {KEY}" \\\n'
        f"  -d {shlex.quote(text)} {view.host}:{GRPC_PORT} kafkahub.v1.KafkaHub/Subscribe"
    )
