"""One connection of the scripted upstream: reads requests, performs their scripts, notes what happened in `Call`.

Written on the raw transport, because it must be able to break every rule of HTTP.
"""

import asyncio
import base64
import socket
import struct
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any, cast

import msgspec

from tests.fakes.answers import DIALECTS, Route
from tests.fakes.scripts import Script

if TYPE_CHECKING:
    from tests.fakes.upstream import FakeUpstream

RESET = struct.pack("ii", 1, 0)
"""SO_LINGER on, 0 seconds: closing sends RST."""


@dataclass
class Call:
    """One call, as upstream saw it."""

    number: int
    connection: int
    time: float
    """Unix seconds at which its body was complete."""
    method: str
    path: str
    headers: list[tuple[str, str]]
    body: bytes
    script: Script
    dialect: str = "openai"
    route: Route | None = None
    """What was called; None: nothing is there."""
    status: int = 0
    usage: dict[str, Any] | None = None
    """The usage that the answer carries, or would have carried."""
    sent_events: int = 0
    sent_bytes: int = 0
    is_finished: bool = False
    """The whole answer was written."""
    hung_up: bool = False
    """The client closed first."""
    ended: float | None = None
    parsed: dict[str, Any] = field(default_factory=dict)

    @property
    def json(self) -> Any:
        return msgspec.json.decode(self.body)

    @property
    def request_id(self) -> str | None:
        return self.header("x-weir-request-id")

    @property
    def credential(self) -> str:
        return credential_of({name.lower(): value for name, value in self.headers})

    @property
    def is_streamed(self) -> bool:
        """The answer comes as server-sent events."""
        script = self.script
        return bool(
            self.parsed.get("stream") and self.route and self.route.frames and script.status == 200
            and script.body is None and not script.is_error
        )  # fmt: skip

    @property
    def frames(self) -> list[bytes]:
        """The events of a streamed answer, as they were or would have been sent."""
        assert self.route is not None
        assert self.route.frames is not None
        return self.route.frames(self.script, self.parsed, self.number)

    @property
    def answer(self) -> tuple[int, bytes]:
        """Status and body of a plain answer, as they were or would have been sent."""
        script = self.script
        error = DIALECTS[self.dialect].error
        if script.body is not None:
            return script.status, script.body
        if script.status >= 400 or script.is_error:
            return script.status, error(script.status if script.status >= 400 else 500)
        if self.route is not None:
            return script.status, _padded(self.route.whole(script, self.parsed, self.number), script.padding)
        return (script.status, b"{}") if script.status != 200 else (404, error(404))

    def header(self, name: str) -> str | None:
        return next((value for key, value in self.headers if key.lower() == name), None)

    def record(self) -> dict[str, Any]:
        """The line of the log."""
        try:
            body: dict[str, str] = {"body": self.body.decode()}
        except UnicodeDecodeError:
            body = {"body_base64": base64.b64encode(self.body).decode()}
        return {
            "number": self.number,
            "connection": self.connection,
            "time": self.time,
            "request_id": self.request_id,
            "method": self.method,
            "path": self.path,
            "headers": self.headers,
            **body,
            "model": self.parsed.get("model"),
            "stream": bool(self.parsed.get("stream")),
            "status": self.status,
            "usage": self.usage,
            "sent_events": self.sent_events,
            "sent_bytes": self.sent_bytes,
            "finished": self.is_finished,
            "hung_up": self.hung_up,
            "ended": self.ended,
        }


def _padded(body: bytes, size: int) -> bytes:
    """An answer that has no content to be padded gets a member of its own."""
    return body if len(body) >= size else body[:-1] + b',"padding":"' + b"x" * size + b'"}'


def credential_of(named: dict[str, str]) -> str:
    """What upstream is to know its caller by. The names are in lower case."""
    return named.get("x-api-key") or named.get("authorization", "").removeprefix("Bearer ")


class Connection(asyncio.Protocol):
    """One accepted connection: requests one after the other, each answered by its script."""

    def __init__(self, upstream: "FakeUpstream") -> None:
        self._upstream = upstream
        self._loop = asyncio.get_running_loop()
        self._received = bytearray()
        self._call: Call | None = None
        self._task: asyncio.Task[None] | None = None
        self._idle: asyncio.TimerHandle | None = None
        self._writable = asyncio.Event()
        self._writable.set()
        self._number = 0
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # A cast, not an isinstance: uvloop's transports are not asyncio's.
        self._transport = cast(asyncio.Transport, transport)
        self._upstream.connections += 1
        self._number = self._upstream.connections
        self._upstream.open.add(self)
        self._rest()

    def connection_lost(self, exc: Exception | None) -> None:
        self._upstream.open.discard(self)
        self._writable.set()
        if self._idle is not None:
            self._idle.cancel()
        if self._call is not None and self._call.ended is None:
            self._call.hung_up = True
            self._upstream.end(self._call)
        if self._task is not None:
            self._task.cancel()

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    def abort(self) -> None:
        self._transport.abort()

    def _rest(self) -> None:
        if self._upstream.idle_seconds is not None:
            self._idle = self._loop.call_later(self._upstream.idle_seconds, self._transport.close)

    def data_received(self, data: bytes) -> None:
        self._received += data
        if self._call is None:
            self._next_request()

    def _next_request(self) -> None:
        end = self._received.find(b"\r\n\r\n")
        if end < 0:
            return
        lines = self._received[:end].decode("latin-1").split("\r\n")
        method, path, _ = lines[0].split(" ", 2)
        headers = [(name, value.strip()) for name, _, value in (line.partition(":") for line in lines[1:])]
        named = {name.lower(): value for name, value in headers}
        length = int(named.get("content-length", 0))
        if len(self._received) < end + 4 + length:
            return
        body = bytes(self._received[end + 4 : end + 4 + length])
        del self._received[: end + 4 + length]
        if self._idle is not None:
            self._idle.cancel()
        if path.startswith("/_control/"):
            status, answer = self._upstream.control(method, path, body)
            self._transport.write(_head(status, (("content-length", str(len(answer))),)) + answer)
            self._rest()
            return
        call = self._call = self._upstream.admit(self._number, method, path, headers, named, body)
        if self._is_simple(call):
            self._answer_at_once(call)
        else:
            self._task = self._loop.create_task(self._perform(call))
            self._task.add_done_callback(self._performed)

    def _performed(self, task: "asyncio.Task[None]") -> None:
        """A mistake in this fake must not look like an upstream that is slow."""
        if not task.cancelled() and (error := task.exception()) is not None:
            self._transport.abort()
            self._loop.call_exception_handler({"message": "the scripted upstream is broken", "exception": error})

    @staticmethod
    def _is_simple(call: Call) -> bool:
        script = call.script
        return (
            not script.delay
            and script.raw is None
            and script.cut_after is None
            and script.cut_at_byte is None
            and script.stall_after is None
            and script.framing == "auto"
            and not script.split
            and not call.is_streamed
        )

    def _answer_at_once(self, call: Call) -> None:
        status, body = call.answer
        call.status = status
        length = () if status in (204, 304) else (("content-length", str(len(body))),)
        if call.method == "HEAD" or status in (204, 304):
            body = b""
        self._transport.write(_head(status, length, call.dialect, call.script.headers) + body)
        call.sent_bytes = len(body)
        call.is_finished = True
        self._done(call)

    def _done(self, call: Call) -> None:
        self._upstream.end(call)
        self._call = self._task = None
        if any(name == "connection" and value == "close" for name, value in call.script.headers):
            self._transport.close()
            return
        self._rest()
        if self._received:
            self._next_request()

    def _cut(self, call: Call) -> None:
        self._upstream.end(call)
        connection: socket.socket = self._transport.get_extra_info("socket")
        if call.script.cut_with == "rst":
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            self._transport.abort()
        else:
            self._transport.close()

    async def _breaks(self, call: Call, at: int) -> bool:
        """Do what the script says for this point. True: the connection is gone."""
        if call.script.stall_after == at:
            await asyncio.Event().wait()
        if at == (call.script.cut_after if call.script.cut_at_byte is None else 1):
            # Give what was written a moment to be read: a reset throws away what the peer has not read yet.
            await asyncio.sleep(0.02 if at > 0 else 0)
            self._cut(call)
            return True
        return False

    async def _perform(self, call: Call) -> None:
        script = call.script
        if script.delay:
            await asyncio.sleep(script.delay)
        if await self._breaks(call, -1):
            return
        if script.raw is not None:
            parts = (script.raw,) if isinstance(script.raw, bytes) else script.raw
            for number, part in enumerate(parts):
                await asyncio.sleep(max(script.interval, 0.02) if number else 0)
                await self._write(call, part)
            call.is_finished = True
            if script.raw_keeps_open:
                self._done(call)
            else:
                self._upstream.end(call)
                self._transport.close()
            return
        is_stream = call.is_streamed
        status, body = (200, b"") if is_stream else call.answer
        call.status = status
        framing = script.framing if script.framing != "auto" else "chunked" if is_stream else "length"
        pieces = call.frames if is_stream else _bytes_of(script, body)
        headers: list[tuple[str, str]] = [("content-type", "text/event-stream; charset=utf-8")] if is_stream else []
        if framing == "chunked":
            headers.append(("transfer-encoding", "chunked"))
        elif framing == "length":
            headers.append(("content-length", str(len(body) if not is_stream else sum(map(len, pieces)))))
        if script.cut_at_byte is not None:
            pieces = [b"".join(pieces)[: script.cut_at_byte]]
        self._transport.write(_head(status, tuple(headers), call.dialect, script.headers))
        if await self._breaks(call, 0):
            return
        if not await self._send_body(call, pieces, framing == "chunked"):
            return
        if framing == "chunked":
            self._transport.write(b"0\r\n\r\n")
        call.is_finished = True
        if framing == "close":
            self._upstream.end(call)
            self._transport.close()
        else:
            self._done(call)

    async def _send_body(self, call: Call, pieces: list[bytes], is_chunked: bool) -> bool:
        """Write the pieces by the script. False: it broke off on purpose."""
        script = call.script
        breaks_at = {script.cut_after, script.stall_after, None if script.cut_at_byte is None else 1}
        batch = script.batch or len(pieces)
        repeated = pieces[1:2] * 64
        while True:
            waiting = bytearray()
            for number, piece in enumerate(pieces, 1):
                size = script.split or len(piece)
                for part in (piece[n : n + size] for n in range(0, len(piece), size)):
                    if is_chunked and part:
                        waiting += b"%x\r\n%b\r\n" % (len(part), part)
                    else:
                        waiting += part
                    if script.split:
                        await self._write(call, bytes(waiting))
                        waiting.clear()
                call.sent_events += 1
                if number % batch == 0 or number == len(pieces) or number in breaks_at:
                    await self._write(call, bytes(waiting))
                    waiting.clear()
                    if await self._breaks(call, number):
                        return False
                    if script.interval and number < len(pieces):
                        await asyncio.sleep(script.interval)
            if not script.repeat:
                return True
            pieces = repeated

    async def _write(self, call: Call, data: bytes) -> None:
        await self._writable.wait()
        if self._transport.is_closing():
            raise asyncio.CancelledError
        if data:
            self._transport.write(data)
            call.sent_bytes += len(data)
        if call.script.split or call.script.repeat:
            await asyncio.sleep(0)


def _bytes_of(script: Script, body: bytes) -> list[bytes]:
    """A plain body as pieces; byte by byte where the script breaks off inside it."""
    marks = sorted(mark for mark in (script.cut_after, script.stall_after) if mark is not None and mark > 0)
    return [body[n : n + 1] for n in range(len(body))] if marks else [body]


@lru_cache(maxsize=4096)
def _head(
    status: int, framing: tuple[tuple[str, str], ...], dialect: str = "", extra: tuple[tuple[str, str], ...] = ()
) -> bytes:
    given = {name.lower() for name, _ in (*framing, *extra)}
    own = (("content-type", "application/json"), *(DIALECTS[dialect].headers if dialect else ()))
    headers = [pair for pair in own if pair[0] not in given]
    taken = {name.lower() for name, _ in extra}
    headers += [*(pair for pair in framing if pair[0] not in taken), *extra]
    return f"HTTP/1.1 {status} Whatever\r\n{''.join(f'{n}: {v}{chr(13)}{chr(10)}' for n, v in headers)}\r\n".encode(
        "latin-1"
    )
