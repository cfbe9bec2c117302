"""The OpenAPI 3.1 document of the admin API, made of the rooms' rows.

Not Litestar's own generator: that reads the handlers' `data` parameters, and ours read the body themselves, because
the contract's names match in any case. That no route is missing is tested by walking the app's routes.
"""

import re
from functools import cache
from typing import Any

import msgspec

from admin.docs.components import schemas_of
from admin.docs.operations import Operation, Query, Route
from admin.errors import ProblemBody
from admin.events.docs import OPERATIONS as EVENTS
from admin.health.docs import OPERATIONS as HEALTH
from admin.keys.docs import OPERATIONS as KEYS
from admin.prices.docs import OPERATIONS as PRICES
from admin.provider_settings.docs import OPERATIONS as PROVIDER_SETTINGS

VERSION = "0.1.0"
OPERATIONS: dict[Route, Operation] = {**PROVIDER_SETTINGS, **KEYS, **PRICES, **EVENTS, **HEALTH}

_TEXT = """\
The control plane of Weir: provider settings, keys, prices and events. Names, casing and error JSON are BricksLLM's.

* Everything but health and these pages needs the admin key in the header `X-API-KEY`.
* Bodies are JSON whatever `Content-Type` says, at most 1 MiB. Names of members match in any case, unknown ones are
  ignored, `null` is the same as absent where the member does not say otherwise.
* Success is 200. Times are Unix seconds unless the name says otherwise, money is USD as an exact decimal.
* Every answer has the header `x-weir-request-id`; the request's log line has it too.
"""
_OF_ALL = (401, 429, 500, 503)
_OF_BODIES = (400, 408, 413, 415)
# status: what it means; type, title and detail of an example
_STATUSES = {
    400: (
        "A parameter or a member of the body is not what it must be.",
        "validation",
        "key validation failed",
        "fields [name] are invalid",
    ),
    401: (
        "The admin key is missing or wrong.",
        "unauthorized",
        "unauthorized",
        "the admin key in X-API-KEY is wrong",
    ),
    404: (
        "What the path or the body names does not exist.",
        "not-found",
        "update key failed",
        "key is not found",
    ),
    408: (
        "The body took too long to arrive.",
        "body-timeout",
        "the body took too long",
        "it must arrive in 30 s",
    ),
    409: (
        "It contradicts what is there.",
        "key-manager",
        "key creation error",
        "key already exists",
    ),
    413: (
        "The body is too large.",
        "body-too-large",
        "the body is too large",
        "at most 1048576 bytes are read",
    ),
    415: (
        "The body is compressed.",
        "content-encoding",
        "content encoding is not supported",
        "send the body uncompressed",
    ),
    429: (
        "Too many wrong admin keys from this address.",
        "too-many-failures",
        "too many wrong admin keys",
        "try again in 30 s",
    ),
    500: (
        "A bug in Weir.",
        "internal",
        "internal error",
        "a bug in Weir; the log line with this request's id says more",
    ),
    503: (
        "PostgreSQL does not answer, or is not ready.",
        "database-unavailable",
        "the database is not available",
        "PostgreSQL cannot be reached; nothing was changed that was not confirmed",
    ),
}
_REQUEST_ID = {"description": "Weir's id of the request.", "schema": {"type": "string", "format": "uuid"}}
_RETRY_AFTER = {"description": "When to come back, in seconds.", "schema": {"type": "integer"}}


@cache
def rendered() -> bytes:
    """The document of all operations."""
    return msgspec.json.encode(document(OPERATIONS))


def document(operations: dict[Route, Operation]) -> dict[str, Any]:
    """The document of these operations."""
    shapes, named = _shapes(operations)
    paths: dict[str, dict[str, Any]] = {}
    for (method, template), operation in operations.items():
        path = re.sub(r":(\w+)", r"{\1}", template)
        paths.setdefault(path, {})[method.lower()] = _operation(template, operation, shapes)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Weir admin API", "version": VERSION, "description": _TEXT, "license": {"name": "MIT"}},
        "servers": [{"url": "/", "description": "This admin plane."}],
        "security": [{"adminKey": []}],
        "tags": [{"name": tag} for tag in dict.fromkeys(operation.tag for operation in operations.values())],
        "paths": paths,
        "components": {
            "schemas": named,
            "securitySchemes": {"adminKey": {"type": "apiKey", "in": "header", "name": "X-API-KEY"}},
        },
    }


def _shapes(operations: dict[Route, Operation]) -> tuple[dict[Any, dict[str, Any]], dict[str, Any]]:
    """A schema by kind, and the named schemas that these refer to."""
    shapes: dict[Any, dict[str, Any]] = {}
    named: dict[str, Any] = {}
    for has_text_decimals in (False, True):
        rows = [row for row in operations.values() if row.has_text_decimals == has_text_decimals]
        kinds = list(dict.fromkeys([ProblemBody, *(kind for row in rows for kind in (row.body, row.answer) if kind)]))
        references, components = schemas_of(kinds, has_text_decimals=has_text_decimals)
        shapes |= zip(kinds, references, strict=True)
        named |= components
    for row in operations.values():
        if row.body is not None:
            schema = named[row.body.__name__]
            for name, refinement in row.refined.items():
                schema["properties"][name] = {**schema["properties"][name], **refinement}
            if row.required:
                schema["required"] = list(row.required)
    return shapes, named


def _operation(template: str, row: Operation, shapes: dict[Any, dict[str, Any]]) -> dict[str, Any]:
    told: dict[str, Any] = {"operationId": row.name, "tags": [row.tag], "summary": row.summary}
    if row.text:
        told["description"] = row.text
    parameters = [_path_parameter(name, row) for name in re.findall(r":(\w+)", template)]
    parameters += map(_query_parameter, row.query)
    if parameters:
        told["parameters"] = parameters
    if row.body is not None:
        content: dict[str, Any] = {"schema": shapes[row.body]}
        if row.example is not None:
            content["example"] = row.example
        told["requestBody"] = {"required": True, "content": {"application/json": content}}
    if row.is_open:
        told["security"] = []
    told["responses"] = {"200": _success(row, shapes)}
    statuses = {*row.errors, *(() if row.is_open else _OF_ALL), *(_OF_BODIES if row.body else ())}
    for status in sorted(statuses):
        told["responses"][str(status)] = _error(status, template, shapes)
    return told


def _path_parameter(name: str, row: Operation) -> dict[str, Any]:
    schema = {"type": "string"}
    return {"name": name, "in": "path", "required": True, "description": row.path_texts[name], "schema": schema}


def _query_parameter(query: Query) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": query.kind}
    if query.values:
        schema["enum"] = list(query.values)
    if query.is_list:
        schema = {"type": "array", "items": schema}
    return {"name": query.name, "in": "query", "description": query.text, "schema": schema}


def _success(row: Operation, shapes: dict[Any, dict[str, Any]]) -> dict[str, Any]:
    headers: dict[str, Any] = {"x-weir-request-id": _REQUEST_ID}
    for name, text in row.answer_headers.items():
        headers[name] = {"description": text, "schema": {"type": "string"}}
    if row.answer is None:
        return {"description": "Done; the body is empty.", "headers": headers}
    content = {"application/json": {"schema": shapes[row.answer]}}
    return {"description": "Success.", "headers": headers, "content": content}


def _error(status: int, template: str, shapes: dict[Any, dict[str, Any]]) -> dict[str, Any]:
    meaning, kind, title, detail = _STATUSES[status]
    headers: dict[str, Any] = {"x-weir-request-id": _REQUEST_ID}
    if status in (429, 503):
        headers["retry-after"] = _RETRY_AFTER
    example = msgspec.to_builtins(ProblemBody(f"/errors/{kind}", title, status, detail, template))
    content = {"application/json": {"schema": shapes[ProblemBody], "example": example}}
    return {"description": meaning, "headers": headers, "content": content}
