"""A scripted upstream on real sockets. It logs every call: the ground truth that events and costs are held against.

In process:

    async with FakeUpstream() as upstream:
        upstream.next(Script(status=429))          # the next call only; further ones wait in line
        upstream.by_model["gpt-4o"] = NAMED["cut"]
        upstream.by_path["/v1/models"] = Script(status=500)
        ...                                        # talk to upstream.url
        assert upstream.calls[0].json["stream"]

As a process: `python -m tests.fakes.upstream --port N --log FILE`; it prints `listening on <port>`. Whose script is it?
`script:<name>?field=value` in the body's `user`, `metadata.user_id` or `safety_identifier`, or as the credential (which
works on every endpoint, and for calls at the same time); else the line of `next`, `by_path`, `by_model`, `default`.
Control, both ways: `PUT /_control/default` and `POST /_control/next` take `{"name": "cut", ...fields}`,
`GET /_control/calls` answers the log so far, `DELETE /_control/calls` forgets it. Control is not logged.
"""

import argparse
import asyncio
import ssl
import sys
import time
from collections import deque
from types import TracebackType
from typing import Any, BinaryIO

import msgspec
import uvloop

from tests.fakes import answers, scripts
from tests.fakes.scripts import NAMED, Script
from tests.fakes.upstream_connection import Call, Connection, credential_of

__all__ = ["NAMED", "Call", "FakeUpstream", "Script"]

DEFAULT = Script()
MARK = "script:"


class FakeUpstream:
    """A server on a port of its own. `async with` starts and stops it."""

    def __init__(
        self,
        default: Script = DEFAULT,
        *,
        port: int = 0,
        host: str = "127.0.0.1",
        log: BinaryIO | None = None,
        tls: ssl.SSLContext | None = None,
        idle_seconds: float | None = None,
        remembers: bool = True,
    ) -> None:
        self.default = default
        self.by_model: dict[str, Script] = {}
        self.by_path: dict[str, Script] = {}
        self.calls: list[Call] = []
        self.connections = 0
        """Connections accepted so far."""
        self.idle_seconds = idle_seconds
        """Close a connection after so many idle seconds. None: never."""
        self.open: set[Connection] = set()
        self._remembers = remembers
        self._line: deque[Script] = deque()
        self._host, self._port, self._tls, self._log = host, port, tls, log
        self._numbers = 0
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> "FakeUpstream":
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            lambda: Connection(self), self._host, self._port, ssl=self._tls, backlog=1024
        )
        self._port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()
        for connection in list(self.open):
            connection.abort()
        await self._server.wait_closed()
        for call in self.calls:
            if call.ended is None:
                self.end(call)

    @property
    def port(self) -> int:
        return self._port

    @property
    def url(self) -> str:
        return f"{'https' if self._tls else 'http'}://{self._host}:{self._port}"

    def next(self, *line: Script) -> None:
        """Answer the next calls by these scripts, one each, in this order."""
        self._line.extend(line)

    def reset(self) -> None:
        """Forget calls and scripts; keep listening."""
        self.calls.clear()
        self._line.clear()
        self.by_model.clear()
        self.by_path.clear()
        self.default = DEFAULT

    async def until(self, condition: Any, seconds: float = 5.0) -> None:
        """Wait until `condition(self)` is true. Raises TimeoutError."""
        deadline = time.monotonic() + seconds
        while not condition(self):
            if time.monotonic() > deadline:
                raise TimeoutError("the scripted upstream never saw it")
            await asyncio.sleep(0.005)

    def admit(
        self, connection: int, method: str, path: str, headers: list[tuple[str, str]], named: dict[str, str],
        body: bytes,
    ) -> Call:  # fmt: skip
        """Log a call that has arrived, and choose its script. `named`: the headers by their names in lower case."""
        parsed: Any = {}
        if body:
            try:
                parsed = msgspec.json.decode(body)
            except msgspec.DecodeError:
                parsed = {}
        if not isinstance(parsed, dict):
            parsed = {}
        self._numbers += 1
        dialect = answers.dialect_of(path, named)
        route, parsed["_object"] = answers.find_route(dialect, method, path)
        script = self._choose(parsed, path, credential_of(named))
        call = Call(self._numbers, connection, time.time(), method, path, headers, body, script, dialect, route)
        call.parsed = parsed
        if route is not None:
            call.usage = route.usage(script, parsed)
        if self._remembers:
            self.calls.append(call)
        return call

    def calls_with(self, credential: str) -> list[Call]:
        """The calls that came with this credential."""
        return [call for call in self.calls if call.credential == credential]

    def _choose(self, parsed: dict[str, Any], path: str, credential: str) -> Script:
        metadata = parsed.get("metadata")
        user_id = metadata.get("user_id") if isinstance(metadata, dict) else None
        for user in (parsed.get("user"), user_id, parsed.get("safety_identifier")):
            if isinstance(user, str) and user.startswith(MARK):
                return scripts.named(user.removeprefix(MARK))
        if credential.startswith(MARK):
            return scripts.named(credential.removeprefix(MARK))
        if self._line:
            return self._line.popleft()
        return self.by_path.get(path) or self.by_model.get(parsed.get("model", ""), self.default)

    def end(self, call: Call) -> None:
        """The call is over, one way or the other: now it goes to the log."""
        if call.ended is None:
            call.ended = time.time()
            if self._log is not None:
                self._log.write(msgspec.json.encode(call.record()) + b"\n")

    def control(self, method: str, path: str, body: bytes) -> tuple[int, bytes]:
        """The control API."""
        if path == "/_control/calls" and method == "GET":
            return 200, msgspec.json.encode([call.record() for call in self.calls])
        if path == "/_control/calls" and method == "DELETE":
            self.calls.clear()
            return 200, b"{}"
        if path in ("/_control/default", "/_control/next") and method in ("PUT", "POST"):
            try:
                wanted = msgspec.json.decode(body, type=dict[str, Any])
                script = scripts.override(NAMED[wanted.pop("name", "ok")], wanted)
            except (KeyError, TypeError, msgspec.DecodeError) as error:
                return 400, msgspec.json.encode({"error": {"message": repr(error)}})
            if path == "/_control/next":
                self.next(script)
            else:
                self.default = script
            return 200, b"{}"
        return 404, scripts.error(404)


async def _serve(host: str, port: int, log: BinaryIO | None, default: Script, remembers: bool) -> None:
    async with FakeUpstream(default, host=host, port=port, log=log, remembers=remembers) as upstream:
        sys.stdout.write(f"listening on {upstream.port}\n")
        sys.stdout.flush()
        await asyncio.Event().wait()


def main() -> None:
    """Run until killed."""
    parser = argparse.ArgumentParser(description="A scripted upstream.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--log", help="append one JSON line per call")
    parser.add_argument("--script", default="ok", help="the default: name?field=value&...")
    parser.add_argument("--forget", action="store_true", help="keep no calls in memory: for long loads")
    chosen = parser.parse_args()
    log = open(chosen.log, "ab", buffering=0) if chosen.log else None  # noqa: SIM115 - open for the process's life
    uvloop.run(_serve(chosen.host, chosen.port, log, scripts.named(chosen.script), not chosen.forget))


if __name__ == "__main__":
    main()
