"""The caller's side of an exchange over raw ASGI: read the body under a cap, send head and bytes, notice leaving.

Raw messages instead of Starlette's Request and Response: a plain answer is exactly two of them, and a stream needs
one watcher task instead of a task group. On granian `send` does not raise once the caller has left; only `receive`
tells, so a stream watches it.
"""

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, NoReturn

from proxy.ports import CallerLeft, RawHeaders
from shared.errors import Refusal

DISCARD_FACTOR = 4
"""A body that is too large is read up to so many times the limit before it is refused."""

UNREAD_BYTES, UNREAD_SECONDS = 65_536, 5.0
"""A refusal that comes before the body was read waits so long for the rest of one that is larger than this."""

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


class AsgiDownstream:
    """ports.Downstream over one ASGI call."""

    __slots__ = (
        "_is_body_read",
        "_is_expired",
        "_max_bytes",
        "_receive",
        "_seconds",
        "_send",
        "headers",
        "is_started",
        "method",
        "origin",
        "path",
        "query",
    )

    def __init__(self, scope: Scope, receive: Receive, send: Send, max_bytes: int, body_seconds: float) -> None:
        self.method: str = scope["method"]
        self.path: str = scope["path"]
        self.query: bytes = scope["query_string"]
        self.headers: RawHeaders = scope["headers"]
        self.origin: bytes = next((value for name, value in self.headers if name == b"origin"), b"")
        self.is_started = False
        self._is_body_read = False
        self._is_expired = False
        self._receive = receive
        self._send = send
        self._max_bytes = max_bytes
        self._seconds = body_seconds

    async def body(self, declared: bytes | None) -> bytes:
        """The request's body; the deadline is for all of it, so that a slow sender cannot hold a worker's memory."""
        self._is_body_read = True
        is_too_large = declared is not None and declared.isdigit() and int(declared) > self._max_bytes
        task = asyncio.current_task()
        assert task is not None
        # What asyncio.timeout does, at a third of its cost: this is on every request's path.
        timer = asyncio.get_running_loop().call_later(self._seconds, self._expire, task)
        try:
            if is_too_large:
                await self._discard(0)
            return await self._gather()
        except asyncio.CancelledError:
            if self._is_expired and not task.uncancel():
                raise Refusal("body_timeout", "request body did not arrive in time") from None
            raise
        finally:
            timer.cancel()

    def _expire(self, task: "asyncio.Task[Any]") -> None:
        self._is_expired = True
        task.cancel()

    async def _gather(self) -> bytes:
        message = await self._receive()
        if message["type"] != "http.request":
            raise CallerLeft
        body: bytes = message.get("body", b"")
        if not message.get("more_body", False):
            if len(body) > self._max_bytes:
                raise self._too_large()
            return body
        parts = [body]
        size = len(body)
        while message.get("more_body", False):
            message = await self._receive()
            if message["type"] != "http.request":
                raise CallerLeft
            part: bytes = message.get("body", b"")
            size += len(part)
            if size > self._max_bytes:
                await self._discard(size)
            parts.append(part)
        return b"".join(parts)

    async def _discard(self, size: int) -> NoReturn:
        """Read on for a while and keep nothing: a caller who is still sending would see a broken pipe, not our 413."""
        while size <= DISCARD_FACTOR * self._max_bytes:
            message = await self._receive()
            if message["type"] != "http.request":
                raise CallerLeft
            size += len(message.get("body", b""))
            if not message.get("more_body", False):
                break
        raise self._too_large()

    def _too_large(self) -> Refusal:
        return Refusal("body_too_large", f"request body is larger than {self._max_bytes} bytes")

    async def answer(self, status: int, headers: RawHeaders, body: bytes) -> None:
        """A complete answer, in the two messages that granian sends fastest."""
        if not self._is_body_read:
            await self._pass_over_body()
        self.is_started = True
        await self._send({"type": "http.response.start", "status": status, "headers": headers})
        await self._send({"type": "http.response.body", "body": body})

    async def _pass_over_body(self) -> None:
        """Take what a large body still sends, for a while: answered in the middle of it, a caller sees a reset."""
        self._is_body_read = True
        values = dict(self.headers)
        length = values.get(b"content-length", b"0")
        if b"transfer-encoding" not in values and length.isdigit() and int(length) <= UNREAD_BYTES:
            return
        try:
            async with asyncio.timeout(UNREAD_SECONDS):
                await self._discard(0)
        except (TimeoutError, Refusal, CallerLeft):
            return

    async def start(self, status: int, headers: RawHeaders) -> None:
        """Send the head; granian flushes it at once for `text/event-stream`."""
        self.is_started = True
        await self._send({"type": "http.response.start", "status": status, "headers": headers})

    async def write(self, block: bytes) -> None:
        """Send whole frames and yield to the loop.

        After the caller has left `send` no longer waits, and a fast upstream would otherwise keep this worker from
        noticing (it was seen to spin for minutes).
        """
        await self._send({"type": "http.response.body", "body": block, "more_body": True})
        await asyncio.sleep(0)

    async def end(self) -> None:
        """No more bytes follow."""
        await self._send({"type": "http.response.body", "body": b""})

    async def left(self) -> None:
        """Return when the caller is gone (or, on granian, when the answer is complete)."""
        while (await self._receive())["type"] != "http.disconnect":
            pass
