"""ENDPOINTS: every path the proxy serves. Anything else is 404 in the path's dialect.

To add one: a row. A path is matched on `scope["path"]`, segment by segment, and a parameter is a name of plain
characters, so no spelling of it (dot segments, encoded slashes, a foreign Host) reaches upstream; upstream's path is
built from the row, never from the request.
"""

import re
from typing import Literal, NamedTuple

import msgspec

from proxy.providers.anthropic import ANTHROPIC
from proxy.providers.openai import OPENAI
from proxy.providers.vllm import VLLM
from proxy.wire.errors import Dialect

Billing = Literal["usage", "free"]

# Names of models (`ft:gpt-4o:acme::id`) and ids of objects; nothing that a URL would read otherwise.
_PARAMETER = re.compile(r"(?!\.{1,2}$)[A-Za-z0-9._:@-]{1,256}")


class Endpoint(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """A path we serve and everything the request's path needs to know of it."""

    method: str
    template: str
    """Our path; also what `allowedPaths` names and metrics are labelled with. `:name` stands for one segment."""
    provider: str
    upstream_path: str
    """Upstream's path below the base URL, with the template's parameters."""
    format: str
    """Row of `wire.FORMATS`: how the body is read, metered and edited."""
    dialect: Dialect
    """Whose error shape the caller expects."""
    billing: Billing = "usage"
    """usage: by what upstream reports. free: costs nothing, which is then known and not a guess."""
    query: frozenset[str] = frozenset()
    """Parameters of the query that go upstream; any other is refused."""
    creates_object: bool = False
    """The answer's id names an object that upstream keeps, and that only the key's account may ask for again."""
    object_parameter: str = ""
    """The parameter of the path that names such an object; empty: there is none."""
    deletes_object: bool = False


class Match(NamedTuple):
    """An endpoint and where the request points within it."""

    endpoint: Endpoint
    upstream_path: str
    object_id: str
    """Of the object that the path names; empty: none."""


_PAGES = frozenset({"limit", "before_id", "after_id"})
# The beta resources of Anthropic's SDKs mark their calls so.
_BETA = frozenset({"beta"})
_RESPONSES = "/v1/responses"
_RESPONSE = f"{_RESPONSES}/:response_id"


def _row(method: str, provider: str, path: str, form: str, dialect: Dialect, **more: object) -> Endpoint:
    return msgspec.convert(
        {
            "method": method,
            "template": f"/api/providers/{provider}{path}",
            "provider": provider,
            "upstream_path": path,
            "format": form,
            "dialect": dialect,
            **more,
        },
        Endpoint,
    )


def _openai(method: str, path: str, form: str, **more: object) -> Endpoint:
    return _row(method, OPENAI.name, path, form, "openai_api", **more)


def _anthropic(method: str, path: str, form: str, **more: object) -> Endpoint:
    return _row(method, ANTHROPIC.name, path, form, "anthropic_api", **more)


def _vllm(method: str, path: str, form: str, **more: object) -> Endpoint:
    return _row(method, VLLM.name, path, form, "openai_api", **more)


_OBJECT: dict[str, object] = {"billing": "free", "object_parameter": "response_id"}

ENDPOINTS: tuple[Endpoint, ...] = (
    _openai("POST", "/v1/chat/completions", "openai_chat"),
    _openai("POST", "/v1/completions", "openai_completions"),
    _openai("POST", "/v1/embeddings", "openai_embeddings"),
    _openai("POST", "/v1/moderations", "openai_moderations", billing="free"),
    _openai("GET", "/v1/models", "none", billing="free"),
    _openai("GET", "/v1/models/:model", "none", billing="free"),
    _openai("POST", _RESPONSES, "openai_responses", creates_object=True),
    # Not `stream` and `starting_after`: an answer that is resumed would have to be metered again.
    _openai("GET", _RESPONSE, "none", query=frozenset({"include", "include[]", "include_obfuscation"}), **_OBJECT),
    _openai("DELETE", _RESPONSE, "none", deletes_object=True, **_OBJECT),
    _openai("POST", f"{_RESPONSE}/cancel", "openai_object", **_OBJECT),
    _openai(
        "GET",
        f"{_RESPONSE}/input_items",
        "none",
        query=frozenset({"after", "before", "limit", "order", "include", "include[]"}),
        **_OBJECT,
    ),
    _anthropic("POST", "/v1/messages", "anthropic_messages", query=_BETA),
    _anthropic("POST", "/v1/messages/count_tokens", "anthropic_count_tokens", billing="free", query=_BETA),
    _anthropic("POST", "/v1/complete", "anthropic_complete"),
    _anthropic("GET", "/v1/models", "none", billing="free", query=_PAGES | _BETA),
    _anthropic("GET", "/v1/models/:model", "none", billing="free", query=_BETA),
    _vllm("POST", "/v1/chat/completions", "openai_chat"),
    _vllm("POST", "/v1/completions", "openai_completions"),
    _vllm("POST", "/v1/embeddings", "openai_embeddings"),
    _vllm("GET", "/v1/models", "none", billing="free"),
)


class _Shape(NamedTuple):
    """Where the parameter of some templates stands: they have as many segments and the same place for it."""

    segments: int
    place: int


def _shape_of(template: str) -> tuple[_Shape, str]:
    """A template's shape, and the template with `:` in place of its parameter."""
    segments = template.split("/")
    (place,) = [place for place, segment in enumerate(segments) if segment.startswith(":")]
    segments[place] = ":"
    return _Shape(len(segments), place), "/".join(segments)


_PLAIN: dict[tuple[str, str], Match] = {
    (row.method, row.template): Match(row, row.upstream_path, "") for row in ENDPOINTS if ":" not in row.template
}
_WITH_PARAMETER: dict[tuple[str, str], Endpoint] = {
    (row.method, _shape_of(row.template)[1]): row for row in ENDPOINTS if ":" in row.template
}
_SHAPES: tuple[_Shape, ...] = tuple(
    dict.fromkeys(_shape_of(row.template)[0] for row in ENDPOINTS if ":" in row.template)
)

# Path prefix -> the dialect of errors before an endpoint is known (404, 413, 431, 500). First match wins.
DIALECT_PREFIXES: tuple[tuple[str, Dialect], ...] = tuple(
    dict[str, Dialect]({f"/api/providers/{row.provider}/": row.dialect for row in ENDPOINTS}).items()
)
DEFAULT_DIALECT: Dialect = "openai_api"


def match(method: str, path: str) -> Match | None:
    """The endpoint of a request, or None. A path without parameter costs one look-up."""
    found = _PLAIN.get((method, path))
    if found is not None:
        return found
    segments = path.split("/")
    for shape in _SHAPES:
        if len(segments) == shape.segments:
            value, segments[shape.place] = segments[shape.place], ":"
            endpoint = _WITH_PARAMETER.get((method, "/".join(segments)))
            if endpoint is not None and _PARAMETER.fullmatch(value):
                path_there = "/".join(value if part[:1] == ":" else part for part in endpoint.upstream_path.split("/"))
                return Match(endpoint, path_there, value if endpoint.object_parameter else "")
            segments[shape.place] = value
    return None


def dialect_of(path: str) -> Dialect:
    """Whose error shape a caller of `path` expects, whether or not it is an endpoint."""
    for prefix, dialect in DIALECT_PREFIXES:
        if path.startswith(prefix):
            return dialect
    return DEFAULT_DIALECT
