"""What holds for every request, whatever its path: the key, the body's bounds, a deadline, one log line, no caching.

Plain ASGI around Litestar, because Litestar's own middlewares do not see the paths it does not know.
"""

import asyncio
import re
import time
from collections.abc import Iterable
from typing import Any, NamedTuple

import structlog
from litestar.types import ASGIApp, Message, Receive, Scope, Send

from admin.auth import Gate
from admin.background import Background
from admin.database import CONNECT_SECONDS, DB
from admin.errors import Problem, problem_of, unavailable
from admin.metrics import Metrics
from shared.ids import uuid7_text
from shared.settings import Settings

MAX_BODY_BYTES = 1 << 20
BODY_SECONDS = 30
ANSWERED_ERROR = "weir.error"
"""Where in the scope the app leaves the exception it answered, so that the log line can name it."""

_METHODS = frozenset({"GET", "POST", "PUT", "PATCH", "DELETE"})
_WRITES = frozenset({"PUT", "PATCH", "DELETE"})
_PARAMETER = re.compile(r"\{(\w+)(?::[^}]*)?\}")
_ALWAYS = [(b"x-content-type-options", b"nosniff")]
_NEVER_KEPT = (b"cache-control", b"no-store")
_log = structlog.get_logger()


class Opening(NamedTuple):
    """What GET answers without the key, and before PostgreSQL was reached. It tells nothing secret."""

    path: str
    has_below: bool
    """Everything below the path is open too."""
    headers: tuple[tuple[bytes, bytes], ...]
    """Of its successful answers, unless they say otherwise themselves."""


_PAGE = (
    (b"cache-control", b"public, max-age=300"),
    # A page may load nothing but our own files, run nothing that stands in it, and be framed by nobody.
    (
        b"content-security-policy",
        b"default-src 'self'; img-src 'self' data:; object-src 'none'; base-uri 'none'; form-action 'none'; "
        b"frame-ancestors 'none'",
    ),
    (b"referrer-policy", b"no-referrer"),
)
OPENINGS = (
    Opening("/api/health", False, (_NEVER_KEPT,)),
    Opening("/api/health/ready", False, (_NEVER_KEPT,)),
    Opening("/docs", True, _PAGE),
)
"""Closed by default: any other path needs the key, known or not."""


def opening_of(method: str, path: str) -> Opening | None:
    """Which opening the request falls into."""
    if method != "GET":
        return None
    return next(
        (one for one in OPENINGS if path == one.path or (one.has_below and path.startswith(f"{one.path}/"))), None
    )


def route_template(scope: Scope) -> str | None:
    """`/api/key-management/keys/:id`, as the contract writes it; None where no route matched."""
    template = scope.get("path_template")
    return _PARAMETER.sub(r":\1", template) if isinstance(template, str) and template else None


def _with(opening: Opening | None, given: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    headers = list(given)
    if opening is None:
        return [*(pair for pair in headers if pair[0].lower() != b"cache-control"), _NEVER_KEPT]
    said = {name.lower() for name, _ in headers}
    return [*headers, *(pair for pair in opening.headers if pair[0] not in said)]


def _header(scope: Scope, name: bytes) -> list[bytes]:
    return [value for header, value in scope["headers"] if header == name]


async def _read_body(scope: Scope, receive: Receive) -> bytes:
    if _header(scope, b"content-encoding") not in ([], [b"identity"]):
        raise Problem(415, "content-encoding", "content encoding is not supported", "send the body uncompressed")
    too_large = Problem(413, "body-too-large", "the body is too large", f"at most {MAX_BODY_BYTES} bytes are read")
    length = _header(scope, b"content-length")
    if length and length[0].isdigit() and int(length[0][:20]) > MAX_BODY_BYTES:
        raise too_large
    body = bytearray()
    while True:
        message: Any = await receive()
        if message["type"] == "http.disconnect":
            raise Problem(400, "request-body-read", "the body ended early", "the body did not arrive completely")
        body += message.get("body", b"")
        if len(body) > MAX_BODY_BYTES:
            raise too_large
        if not message.get("more_body", False):
            return bytes(body)


class Edge:
    """The ASGI app that granian serves."""

    def __init__(self, app: ASGIApp, settings: Settings, gate: Gate, metrics: Metrics, background: Background) -> None:
        self._app = app
        self._gate = gate
        self._metrics = metrics
        self._background = background
        self._read_seconds = settings.postgresql_read_time_out + CONNECT_SECONDS
        self._write_seconds = settings.postgresql_write_time_out + CONNECT_SECONDS

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection of ASGI."""
        if scope["type"] == "http":
            await self._serve(scope, receive, send)
        elif scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        else:
            await send({"type": "websocket.close", "code": 1008, "reason": ""})

    async def _serve(self, scope: Any, receive: Receive, send: Send) -> None:
        began = time.perf_counter()
        request_id = uuid7_text()
        opening = opening_of(scope["method"], scope["path"])
        status = 0

        async def send_once_told(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                if status:
                    return
                status = message["status"]
                headers = _with(opening if status == 200 else None, message.get("headers", []))
                message["headers"] = [*headers, *_ALWAYS, (b"x-weir-request-id", request_id.encode())]
            await send(message)

        error: BaseException | None = None
        is_broken = False
        try:
            await self._admit(scope, receive, send_once_told)
        except Exception as caught:  # noqa: BLE001 -- the last line of defence: answered as 500 and logged below
            error = caught
            is_broken = bool(status)  # half an answer has left: the connection ends here, and says so
            if not is_broken:
                await _answer(problem_of(caught), route_template(scope) or scope["path"], send_once_told)
        error = scope.get(ANSWERED_ERROR, error)
        self._tell(scope, request_id, 500 if is_broken else status, time.perf_counter() - began, error)

    async def _admit(self, scope: Any, receive: Receive, send: Send) -> None:
        method, path = scope["method"], scope["path"]
        if opening_of(method, path) is None:
            self._gate.check(_header(scope, b"x-api-key"), scope["client"][0] if scope.get("client") else "")
            if method not in _METHODS:
                raise Problem(404, "not-found", "path is not found", "no such path, or not with this method")
            if not DB.is_open:
                raise unavailable("PostgreSQL was not reached yet; Weir keeps trying")
        try:
            async with asyncio.timeout(BODY_SECONDS):
                body = await _read_body(scope, receive)
        except TimeoutError:
            raise Problem(
                408, "body-timeout", "the body took too long", f"it must arrive in {BODY_SECONDS} s"
            ) from None

        async def receive_again() -> Any:
            nonlocal body
            if body is None:
                return await receive()
            whole, body = body, None
            return {"type": "http.request", "body": whole, "more_body": False}

        await self._run(scope, receive_again, send)

    async def _run(self, scope: Any, receive: Receive, send: Send) -> None:
        # In a task of its own: cancelling a query of a frozen server may itself hang, and the caller gets an answer
        # all the same.
        task = self._background.spawn(self._app(scope, receive, send), "request")
        seconds = self._write_seconds if scope["method"] in _WRITES else self._read_seconds
        try:
            done, _ = await asyncio.wait({task}, timeout=seconds)
        except asyncio.CancelledError:
            task.cancel()
            raise
        if not done:
            task.cancel()
            raise TimeoutError
        task.result()

    def _tell(self, scope: Any, request_id: str, status: int, seconds: float, error: BaseException | None) -> None:
        route = route_template(scope) or "other"
        method = scope["method"] if scope["method"] in _METHODS else "other"
        self._metrics.requests.labels(method, route, str(status)).inc()
        self._metrics.duration.labels(route).observe(seconds)
        if isinstance(error, Problem) and error.kind in ("unauthorized", "too-many-failures"):
            self._metrics.wrong_keys.inc()
        fields: dict[str, Any] = {
            "request_id": request_id,
            "method": method,
            "route": route,
            "status": status,
            "duration_ms": round(seconds * 1000, 3),
            "remote_address": scope["client"][0] if scope.get("client") else "",
        }
        if isinstance(error, Problem):
            fields["problem"] = error.kind
        if error is not None and status >= 500 and not isinstance(error, Problem):
            _log.error("request", **fields, exc_info=error)
        else:
            _log.info("request", **fields)


async def _answer(problem: Problem, instance: str, send: Send) -> None:
    body = problem.render(instance)
    headers = [(b"content-type", b"application/json; charset=utf-8"), (b"content-length", str(len(body)).encode())]
    if problem.retry_after is not None:
        headers.append((b"retry-after", str(problem.retry_after).encode()))
    await send({"type": "http.response.start", "status": problem.status, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": False})
