"""Errors in the caller's dialect: one table of kinds (shared/errors.py), one renderer per dialect.

Decides the JSON shape only; which kind, and what to tell, is decided elsewhere. A new dialect: a row in DIALECTS.
"""

from collections.abc import Callable
from typing import Any, Literal

import msgspec

from shared.errors import ERROR_KINDS, ErrorKind

Dialect = Literal["openai_api", "anthropic_api"]

PREFIX = "[Weir] "
"""Opens every message of ours, so that nobody takes it for upstream's."""
_HEADERS = ((b"content-type", b"application/json; charset=utf-8"),)

_encoder = msgspec.json.Encoder()


def _openai_error(kind: ErrorKind, message: str, request_id: str) -> dict[str, Any]:
    return {"error": {"message": message, "type": kind.openai_type, "param": None, "code": str(kind.status)}}


def _anthropic_error(kind: ErrorKind, message: str, request_id: str) -> dict[str, Any]:
    body = {"type": "error", "error": {"type": kind.anthropic_type, "message": message}}
    # An event in a stream has none: its answer's head told it.
    return body | {"request_id": request_id} if request_id else body


DIALECTS: dict[Dialect, Callable[[ErrorKind, str, str], dict[str, Any]]] = {
    "openai_api": _openai_error,
    "anthropic_api": _anthropic_error,
}


def render_error_body(dialect: Dialect, kind: str, message: str, request_id: str = "") -> bytes:
    """The JSON of an error. `message` comes without the prefix and holds nothing secret."""
    return _encoder.encode(DIALECTS[dialect](ERROR_KINDS[kind], PREFIX + message, request_id))


def render_error(
    dialect: Dialect, kind: str, message: str, request_id: str
) -> tuple[int, tuple[tuple[bytes, bytes], ...], bytes]:
    """Status, headers and body of an error answer (contract §4.1)."""
    return ERROR_KINDS[kind].status, _HEADERS, render_error_body(dialect, kind, message, request_id)
