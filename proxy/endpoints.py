"""ENDPOINTS: every path the proxy serves. Anything else is 404 in the path's dialect.

To add one: a row. The path is matched exactly on `scope["path"]`, so no spelling of it (dot segments, encoded
slashes, a foreign Host) reaches upstream; upstream's path comes from the row, never from the request.
"""

from typing import Literal

import msgspec

from proxy.providers.openai import OPENAI
from proxy.wire.errors import Dialect

Billing = Literal["usage", "free"]


class Endpoint(msgspec.Struct, frozen=True, gc=False):
    """A path we serve and everything the request's path needs to know of it."""

    method: str
    template: str
    """Our path; also what `allowedPaths` names and metrics are labelled with."""
    provider: str
    upstream_path: str
    """Upstream's path below the base URL."""
    format: str
    """Row of `wire.FORMATS`: how the body is read, metered and edited."""
    dialect: Dialect
    """Whose error shape the caller expects."""
    billing: Billing
    """usage: by what upstream reports. free: costs nothing, which is then known and not a guess."""


_OPENAI = f"/api/providers/{OPENAI.name}"

ENDPOINTS: tuple[Endpoint, ...] = (
    Endpoint(
        method="POST",
        template=f"{_OPENAI}/v1/chat/completions",
        provider=OPENAI.name,
        upstream_path="/v1/chat/completions",
        format="openai_chat",
        dialect="openai_api",
        billing="usage",
    ),
    Endpoint(
        method="GET",
        template=f"{_OPENAI}/v1/models",
        provider=OPENAI.name,
        upstream_path="/v1/models",
        format="none",
        dialect="openai_api",
        billing="free",
    ),
)

_BY_REQUEST: dict[tuple[str, str], Endpoint] = {(row.method, row.template): row for row in ENDPOINTS}

# Path prefix -> the dialect of errors before an endpoint is known (404, 413, 431, 500). First match wins.
DIALECT_PREFIXES: tuple[tuple[str, Dialect], ...] = ((f"{_OPENAI}/", "openai_api"),)
DEFAULT_DIALECT: Dialect = "openai_api"


def match(method: str, path: str) -> Endpoint | None:
    """The endpoint of a request, or None."""
    return _BY_REQUEST.get((method, path))


def dialect_of(path: str) -> Dialect:
    """Whose error shape a caller of `path` expects, whether or not it is an endpoint."""
    for prefix, dialect in DIALECT_PREFIXES:
        if path.startswith(prefix):
            return dialect
    return DEFAULT_DIALECT
