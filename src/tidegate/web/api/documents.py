"""How the API describes itself: OpenAPI 3.1, made from the handlers and their types."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from litestar.enums import RequestEncodingType
from litestar.openapi.config import OpenAPIConfig
from litestar.openapi.datastructures import ResponseSpec
from litestar.openapi.plugins import JsonRenderPlugin
from litestar.openapi.spec import Components, Example, License, SecurityScheme, Server, Tag
from litestar.params import Body
from litestar.router import Router

from tidegate.web.api.gate import SCOPE_OPTION
from tidegate.web.problems import MEDIA_TYPE, TYPE_PREFIX, Problem

API_VERSION = "1.0.0"
"""Of the description. The first number stands in every address; see docs/reference/api.md, Versions."""
API_PATH = "/v1"
SCHEMA_FILE = "/openapi.json"
DESCRIPTION = """\
Everything that Tidegate knows and lets people do, for programs.

Send `Authorization: Bearer tdg_live_...`; keys come from `tidegate keys create`. Lists come in pages (`limit`, `cursor`,
`next_cursor`). Writes need an `Idempotency-Key`: the same request again gets the same answer and has no further effect.
Errors are problem details (RFC 9457) with a stable `code`. Limits are told in `RateLimit-*` and `Retry-After`.
Fields and operations are added within a version, so ignore what you do not know; nothing is taken away.
"""
_WORDS = {
    400: ("invalid_request", "A parameter, header or part of the body is not valid; `errors` says which."),
    401: ("unauthorized", "No valid API key. The answer is the same for every cause."),
    403: ("scope_missing", "The key lacks the scope that this operation needs."),
    404: ("not_found", "There is no such thing for this key."),
    409: ("wrong_state", "In conflict with the present state, or the same Idempotency-Key is being worked on."),
    413: ("body_too_large", "The body is larger than allowed."),
    415: ("unsupported_media_type", "The body is not JSON."),
    422: (
        "idempotency_key_reused",
        "It was understood and cannot be done, or the Idempotency-Key belongs to another request.",
    ),
    429: ("rate_limited", "Too many requests; wait as long as `Retry-After` says."),
    500: ("internal", "An error of ours; the log has it under the request id."),
    503: ("database_away", "Try again after `Retry-After` seconds."),
}
READ_PROBLEMS = (400, 401, 403, 404, 429, 500, 503)
WRITE_PROBLEMS = (400, 401, 403, 404, 409, 413, 415, 422, 429, 500, 503)


def needs(scope: str) -> dict[str, Any]:
    """Return what a handler is given to need a scope, and to say so in the description."""
    return {"opt": {SCOPE_OPTION: scope}, "security": [{"key": [scope]}]}


def problems(*statuses: int) -> dict[int, ResponseSpec]:
    """Return the documents of problems by status, for `responses` of a handler."""
    return {status: _problem_spec(status) for status in statuses}


def body(summary: str, value: Any) -> Any:
    """Return the mark of a JSON body with an example."""
    return Body(
        media_type=RequestEncodingType.JSON, examples=[Example(summary=summary, value=msgspec.to_builtins(value))]
    )


def answer(model: Any, description: str, value: Any) -> ResponseSpec:
    """Return the document of a good answer with an example."""
    return ResponseSpec(
        data_container=model,
        description=description,
        generate_examples=False,
        examples=[Example(summary=description, value=msgspec.to_builtins(value))],
    )


class _Description(JsonRenderPlugin):
    """The one file of the description: made once, tidied."""

    _document: bytes | None = None

    def render(self, request: Any, openapi_schema: dict[str, Any]) -> bytes:  # noqa: ARG002 - Litestar's signature
        """Return the description as JSON. Litestar calls it."""
        if self._document is None:
            self._document = encode_description(openapi_schema)
        return self._document


def encode_description(schema: dict[str, Any]) -> bytes:
    """Return the description as readable JSON, parameters said plainly. Pure."""
    document = _tidied(schema)
    components = document.get("components", {}).get("schemas", {})
    for name in sorted(_request_schemas(document, components)):
        components[name]["additionalProperties"] = False
    return msgspec.json.format(msgspec.json.encode(document), indent=1) + b"\n"


def _request_schemas(document: Any, components: dict[str, Any]) -> set[str]:
    """Return the names of the schemas that requests are made of: in those, unknown fields are refused."""
    waiting = [
        operation["requestBody"]
        for item in document.get("paths", {}).values()
        for operation in item.values()
        if isinstance(operation, dict) and "requestBody" in operation
    ]
    found: set[str] = set()
    while waiting:
        part = waiting.pop()
        if isinstance(part, list):
            waiting += part
        elif isinstance(part, dict):
            waiting += part.values()
            name = str(part.get("$ref", "")).removeprefix("#/components/schemas/")
            if name in components and name not in found:
                found.add(name)
                waiting.append(components[name])
    return found


def _tidied(value: Any) -> Any:
    """Leave out what says nothing, say numbers as whole ones, and that a parameter that may be absent has no null."""
    if isinstance(value, list):
        return [_tidied(item) for item in value]
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if not isinstance(value, dict):
        return value
    if value.get("in") in ("query", "header", "path") and "schema" in value:
        value = {name: part for name, part in value.items() if part is not False or name == "required"}
        value["schema"] = _without_null(value["schema"])
    if isinstance(value.get("items"), dict) and {} in value["items"].get("oneOf", ()):
        value = {**value, "items": next(choice for choice in value["items"]["oneOf"] if choice)}  # the dots of a tuple
    return {name: _tidied(part) for name, part in value.items()}


def _without_null(schema: dict[str, Any]) -> dict[str, Any]:
    rest = {name: part for name, part in schema.items() if name not in ("oneOf", "description")}
    for choice in schema.get("oneOf", ()):
        if choice != {"type": "null"}:
            rest |= choice
    if isinstance(rest.get("type"), list):
        rest["type"] = next(name for name in rest["type"] if name != "null")
    if "enum" in rest:
        rest["enum"] = [each for each in rest["enum"] if each is not None]
    return rest


def describe_api(schema_router: Router, tags: Mapping[str, str], *, servers: Sequence[Server] = ()) -> OpenAPIConfig:
    """Return the configuration of the description. No page of it is served: those load scripts from elsewhere."""
    return OpenAPIConfig(
        title="Tidegate",
        version=API_VERSION,
        description=DESCRIPTION,
        license=License(name="Apache-2.0", identifier="Apache-2.0"),
        servers=list(servers) or [Server(url="/", description="the web address of the installation")],
        tags=[Tag(name=name, description=words) for name, words in tags.items()],
        components=Components(
            security_schemes={
                "key": SecurityScheme(
                    type="http", scheme="bearer", bearer_format="tdg_live_<id>_<secret>", description="An API key."
                )
            }
        ),
        openapi_router=schema_router,
        render_plugins=[_Description(path=SCHEMA_FILE)],
        operation_id_creator=_operation_id,
        create_examples=False,
        use_handler_docstrings=True,
    )


def _problem_spec(status: int) -> ResponseSpec:
    code, words = _WORDS[status]
    value = {
        "type": TYPE_PREFIX + code,
        "title": words.partition(";")[0].rstrip("."),
        "status": status,
        "code": code,
        "detail": words,
        "request_id": "req_c0_06c6vd1t9kfsm3k0b4xk9qk2zw",
    }
    return ResponseSpec(
        data_container=Problem,
        description=words,
        media_type=MEDIA_TYPE,
        generate_examples=False,
        examples=[Example(summary=code, value=value)],
    )


def _operation_id(handler: Any, _method: Any, _path: Any) -> str:
    """Return the handler's name: unique, and what client makers call the function."""
    return str(handler.handler_name)
