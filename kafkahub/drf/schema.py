"""OpenAPI operations from our own declarations; drf-spectacular turns serializers into schemas."""

from collections import defaultdict
from collections.abc import Mapping
from typing import Any, Literal, Protocol, cast

from drf_spectacular.openapi import AutoSchema
from drf_spectacular.plumbing import ComponentRegistry, ResolvedComponent, build_array_type
from rest_framework.serializers import Serializer
from uritemplate import variables

from kafkahub import problems
from kafkahub.drf.fields import Strict
from kafkahub.drf.operations import WRITES, Operation
from kafkahub.drf.parameters import Parameter

Node = dict[str, Any]
"""A piece of the document: JSON of any shape, as drf-spectacular types it."""

JSON = "application/json"
Direction = Literal["request", "response"]
SECURITY: Mapping[str, Node] = {
    "bearer": {
        "type": "http",
        "scheme": "bearer",
        "description": "An API key (`Authorization: Bearer khk_…`), a token of this installation's "
        "OAuth server (`kho_…`), or a JWT of a registered issuer.",
    },
    "basic": {
        "type": "http",
        "scheme": "basic",
        "description": "An API key by Basic: as user with an empty password, or in two parts.",
    },
}
PROBLEM: Node = {
    "type": "object",
    "description": "RFC 9457. `code` is promised, the texts are not.",
    "required": ["type", "title", "status", "code", "detail", "instance", "request_id"],
    "properties": {
        "type": {"type": "string", "format": "uri"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "code": {"type": "string"},
        "detail": {"type": "string"},
        "instance": {"type": "string"},
        "request_id": {"type": "string"},
        "violated-policies": {"type": "array", "items": {"type": "string"}},
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["pointer", "code", "message"],
                "properties": {
                    "pointer": {"type": "string"},
                    "code": {"type": "string"},
                    "message": {"type": "string"},
                },
            },
        },
    },
}
REHEARSED: Node = {
    "description": "Of a `dry_run`: all would go well, and nothing was changed.",
    "content": {
        JSON: {
            "schema": {
                "type": "object",
                "required": ["dry_run", "warnings"],
                "properties": {
                    "dry_run": {"type": "boolean"},
                    "warnings": {"type": "array", "items": {"type": "string"}},
                },
            }
        }
    },
}
ALWAYS = ("unknown_parameter", "not_acceptable", "unavailable")
IDENTIFIED = ("unauthenticated", "key_expired", "invalid_token", "rate_limited")
WITH_BODY = (
    "invalid_json",
    "duplicate_key",
    "too_deep",
    "unknown_field",
    "validation_failed",
    "payload_too_large",
    "unsupported_media_type",
)


class Declaring(Protocol):
    """A view that says what it takes and gives."""

    tag: str
    operations: Mapping[str, Operation]


class HubSchema(AutoSchema):
    """Writes the operation that a view declares; knows nothing by guessing."""

    def get_operation(
        self,
        path: str,
        path_regex: str,
        path_prefix: str,
        method: str,
        registry: ComponentRegistry,
    ) -> Node | None:
        self.registry, self.method = registry, method.upper()
        self.path, self.path_regex, self.path_prefix = path, path_regex, path_prefix
        operation: Operation | None = self._declared.operations.get(self.method)
        if operation is None:
            return None
        node: Node = {
            "operationId": operation.id,
            "summary": operation.summary,
            "tags": [self._declared.tag],
            "security": self._security(operation),
            "responses": self._responses(operation),
        }
        if parameters := self._all_parameters(operation):
            node["parameters"] = parameters
        if operation.body is not None:
            node["requestBody"] = self._body(operation)
        if operation.scope:
            node["description"] = f"Needs the scope `{operation.scope}`."
        return node

    def _map_basic_serializer(self, serializer: Serializer[Any], direction: Direction) -> Node:
        node: Node = super()._map_basic_serializer(serializer, direction)  # type: ignore[no-untyped-call]  # untyped there
        if isinstance(serializer, Strict):
            node["additionalProperties"] = False
        return node

    @property
    def _declared(self) -> Declaring:
        return cast("Declaring", self.view)  # drf-spectacular types it as any view

    def _security(self, operation: Operation) -> list[Node]:
        if operation.scope is None:
            return []
        for name, scheme in SECURITY.items():
            self._register(name, ResolvedComponent.SECURITY_SCHEMA, scheme)
        return [{name: []} for name in SECURITY]

    def _register(self, name: str, kind: str, schema: Node) -> Node:
        component: Any = ResolvedComponent(name, kind, schema, name)  # type: ignore[no-untyped-call]  # untyped there
        self.registry.register_on_missing(component)
        ref: Node = component.ref
        return ref

    def _all_parameters(self, operation: Operation) -> list[Node]:
        names = variables(self.path)
        nodes: list[Node] = list(self._resolve_path_parameters(names))  # type: ignore[no-untyped-call]  # untyped there
        nodes += [_query_parameter(each) for each in operation.parameters(self.method)]
        if self.method == "GET" and operation.has_version:
            nodes.append(_header("If-None-Match", "Answer 304 when this is still the `ETag`."))
        if self.method in {"PATCH", "DELETE"} and operation.has_version:
            nodes.append(_header("If-Match", "Change only while this is the `ETag`."))
        if self.method == "POST":
            nodes.append(_header("Idempotency-Key", "1 to 255 visible ASCII; kept for 24 hours."))
        return nodes

    def _body(self, operation: Operation) -> Node:
        assert operation.body is not None  # noqa: S101 - for the type checker; the caller looked
        content: Node = {"schema": self._component(operation.body, "request")}
        if operation.example is not None:
            content["example"] = dict(operation.example)
        return {"content": {JSON: content}, "required": not operation.is_body_optional}

    def _component(self, serializer: type[Serializer[Any]], direction: Direction) -> Node:
        form = serializer(partial=direction == "request" and self.method == "PATCH")
        ref: Node = self.resolve_serializer(form, direction).ref
        return ref

    def _responses(self, operation: Operation) -> Node:
        nodes: Node = {str(operation.status): self._success(operation)}
        if self.method in WRITES:
            nodes.setdefault("200", REHEARSED)
        if self.method == "GET" and operation.has_version:
            nodes["304"] = {"description": "Not changed."}
        for status, codes in sorted(self._codes(operation).items()):
            nodes[str(status)] = self._refusal(status, codes)
        return nodes

    def _success(self, operation: Operation) -> Node:
        node: Node = {"description": "Done." if self.method in WRITES else "As asked."}
        if operation.answer is None:
            return node
        schema = self._component(operation.answer, "response")
        if operation.is_list:
            schema = _page_of(schema)
        content: Node = {"schema": schema}
        if operation.answered is not None:
            whole = {"data": [operation.answered], "next_cursor": None}
            content["example"] = whole if operation.is_list else dict(operation.answered)
        node["content"] = {JSON: content}
        return node

    def _codes(self, operation: Operation) -> Mapping[int, list[str]]:
        codes = [*ALWAYS, *operation.codes]
        codes += IDENTIFIED if operation.scope is not None else ()
        codes += ("insufficient_scope",) if operation.scope else ()
        codes += WITH_BODY if operation.body is not None else ()
        codes += ("not_found",) if variables(self.path) else ()
        codes += ("out_of_range", "invalid_cursor") if operation.is_list else ()
        if self.method in {"PATCH", "DELETE"} and operation.has_version:
            codes.append("stale_version")
        if self.method == "POST":
            codes += ("in_progress", "idempotency_key_reused", "validation_failed")
        by_status: dict[int, list[str]] = defaultdict(list)
        for code in dict.fromkeys(codes):
            by_status[problems.status_of(code)].append(code)
        return by_status

    def _refusal(self, status: int, codes: list[str]) -> Node:
        schema = self._register("Problem", ResolvedComponent.SCHEMA, PROBLEM)
        example = {
            "type": f"https://hub.example{problems.DOCS_PATH}{codes[0]}",
            "title": problems.title_of(codes[0]),
            "status": status,
            "code": codes[0],
            "detail": problems.title_of(codes[0]),
            "instance": self.path,
            "request_id": "req_01jd0q2v7kz3v1m8x9c4b5n6a7",
        }
        return {
            "description": "Codes: " + ", ".join(f"`{code}`" for code in codes) + ".",
            "content": {problems.MEDIA_TYPE: {"schema": schema, "example": example}},
        }


def tidy(result: Node, **_: object) -> Node:
    """Take drf-spectacular's own notes out of the finished document; it calls this hook."""
    _forget(result)
    return result


def _forget(node: object) -> None:
    match node:
        case dict():
            node.pop("x-spec-enum-id", None)
            for inner in node.values():
                _forget(inner)
        case list():
            for inner in node:
                _forget(inner)


def _page_of(schema: Node) -> Node:
    return {
        "type": "object",
        "required": ["data", "next_cursor"],
        "properties": {
            "data": build_array_type(schema),
            "next_cursor": {"type": ["string", "null"]},
        },
    }


def _query_parameter(parameter: Parameter) -> Node:
    return {
        "in": "query",
        "name": parameter.name,
        "description": parameter.description,
        "schema": dict(parameter.schema),
    }


def _header(name: str, description: str) -> Node:
    return {"in": "header", "name": name, "description": description, "schema": {"type": "string"}}
