"""The fast upstream client: aiohttp's pool (names, TCP, TLS, keep-alive) and its C parser, without ClientSession.

A call through ClientSession costs about 55 µs of CPU, most of it spent on features that a gateway must not use
(cookies, redirects, decompression, header guessing); this one costs about 20. The price is private API, so
`lean_check` tries it at start against a server of its own, and `upstream` takes ClientSession when that fails.
"""

import asyncio
import ssl
from collections.abc import AsyncIterator, Mapping
from typing import Any, NamedTuple, cast

from aiohttp import ClientConnectionError
from aiohttp.client_reqrep import ClientRequest, ConnectionKey
from aiohttp.connector import Connection
from aiohttp.http_parser import RawResponseMessage
from aiohttp.streams import StreamReader
from yarl import URL

from proxy.adapters.destinations import Destinations
from proxy.adapters.upstream_pool import (
    FRAMING_HEADERS,
    IDEMPOTENT_METHODS,
    MAX_BODY_BYTES,
    MAX_HEADER_BYTES,
    MAX_HEADERS,
    READ_BYTES,
    BodyTooLargeError,
    Pool,
    connect_timeout,
    cut,
    failure,
    failure_of,
    headers_of,
    make_ssl_context,
)
from proxy.core.destinations import Destination, DestinationError
from proxy.ports import UpstreamRequest
from shared.errors import UpstreamFailure

MAX_TARGETS = 4096
JOIN_BYTES = 64 * 1024
"""Bodies up to this are copied behind their head, to leave in one packet; longer ones are not copied."""


class Origin:
    """What the pool asks of a request: where it goes. Stands in for aiohttp's ClientRequest."""

    __slots__ = ("connection_key", "host", "port", "url")

    proxy = None
    proxy_auth = None
    proxy_headers = None
    server_hostname = None
    ssl = True
    """Take the pool's context."""

    def __init__(self, destination: Destination) -> None:
        scheme = "https" if destination.is_tls else "http"
        self.url = URL.build(scheme=scheme, host=destination.host, port=destination.port)
        self.host = destination.host
        self.port = destination.port
        self.connection_key = ConnectionKey(
            destination.host, destination.port, destination.is_tls, True, None, None, None, None
        )

    def is_ssl(self) -> bool:
        """True when the connection is to be encrypted."""
        return self.connection_key.is_ssl


class Target(NamedTuple):
    """A URL that was judged: the origin for the pool, and the ends of the request line."""

    origin: ClientRequest
    line: str


class LeanResponse:
    """ports.UpstreamResponse over one pooled connection."""

    __slots__ = ("_connection", "_headers", "_message", "_payload", "_timer", "status")

    def __init__(
        self, connection: Connection, message: RawResponseMessage, payload: StreamReader, timer: asyncio.TimerHandle
    ) -> None:
        self.status = message.code
        self._connection: Connection | None = connection
        self._message = message
        self._payload = payload
        self._timer = timer
        self._headers: Mapping[str, str] | None = None

    @property
    def headers(self) -> Mapping[str, str]:
        """Names in lower case."""
        if self._headers is None:
            self._headers = headers_of(self._message.raw_headers)
        return self._headers

    async def read(self) -> bytes:
        """The whole body."""
        blocks: list[bytes] = []
        size = 0
        try:
            while block := await self._payload.readany():
                size += len(block)
                if size > MAX_BODY_BYTES:
                    raise BodyTooLargeError
                blocks.append(block)
        except Exception as error:
            self.close()
            raise failure_of(error) from error
        self.close()
        return blocks[0] if len(blocks) == 1 else b"".join(blocks)

    async def chunks(self) -> AsyncIterator[bytes]:
        """The body as it comes, all that one read of the socket brought at a time."""
        payload = self._payload
        while True:
            try:
                block = await payload.readany()
            except Exception as error:
                self.close()
                raise failure_of(error) from error
            if not block:
                break
            yield block
        self.close()

    def close(self) -> None:
        """Give the connection back when the answer is complete, else cut it. May be called again."""
        connection = self._connection
        if connection is None:
            return
        self._connection = None
        self._timer.cancel()
        transport = connection.transport
        if self._payload.is_eof() and transport is not None and not transport.get_write_buffer_size():
            connection.release()
        else:
            cut(connection)
            if self._payload.exception() is None:
                # Whoever waits for more of the body would wait for ever.
                self._payload.set_exception(ClientConnectionError("closed by the gateway"))


class LeanUpstream:
    """ports.Upstream. Made inside a running loop; `aclose` it."""

    name = "lean"

    def __init__(self, destinations: Destinations, ssl_context: ssl.SSLContext | None = None) -> None:
        self._destinations = destinations
        self._loop = asyncio.get_running_loop()
        self._pool = Pool(destinations, ssl_context or make_ssl_context())
        self._targets: dict[str, Target] = {}

    async def aclose(self) -> None:
        """Close every connection."""
        await self._pool.close()

    async def send(self, request: UpstreamRequest) -> LeanResponse:
        """Send and wait for the head; failures as ports.Upstream says, and upstream_cut."""
        target = self._targets.get(request.url) or self._target(request.url)
        data = write_request(request, target.line)
        try:
            return await self._exchange(request, target, data)
        except UpstreamFailure as error:
            if error.kind != "upstream_cut" or request.method not in IDEMPOTENT_METHODS:
                raise
        return await self._exchange(request, target, data)

    def _target(self, url: str) -> Target:
        try:
            destination = self._destinations.parse(url)
        except DestinationError as error:
            raise failure_of(error) from error
        if len(self._targets) >= MAX_TARGETS:
            self._targets.clear()
        line = f" {destination.target} HTTP/1.1\r\nhost: {destination.authority}\r\n"
        target = self._targets[url] = Target(cast(ClientRequest, Origin(destination)), line)
        return target

    async def _exchange(self, request: UpstreamRequest, target: Target, data: bytes) -> LeanResponse:
        deadline = self._loop.time() + request.timeout_seconds
        try:
            connection = await self._pool.connect(target.origin, [], connect_timeout(request.timeout_seconds))
        except Exception as error:
            raise failure_of(error, is_connecting=True) from error
        try:
            return await self._converse(connection, request, data, deadline)
        except BaseException as error:
            cut(connection)
            if isinstance(error, Exception) and not isinstance(error, UpstreamFailure):
                found = failure_of(error)
                # There was a connection: upstream may have the request, whatever the error is called.
                raise (failure("upstream_cut") if found.kind == "upstream_unreachable" else found) from error
            raise

    async def _converse(
        self, connection: Connection, request: UpstreamRequest, data: bytes, deadline: float
    ) -> LeanResponse:
        """Write the request and wait for the head of its answer."""
        protocol: Any = connection.protocol
        protocol.set_response_params(
            skip_payload=request.method == "HEAD",
            read_until_eof=True,
            auto_decompress=False,
            read_bufsize=READ_BYTES,
            max_line_size=MAX_HEADER_BYTES,
            max_field_size=MAX_HEADER_BYTES,
            max_headers=MAX_HEADERS,
        )
        timer = self._loop.call_at(deadline, protocol._on_read_timeout)
        try:
            if len(request.body) > JOIN_BYTES:
                protocol.transport.writelines((data, request.body))
            else:
                protocol.transport.write(data + request.body)
            while True:
                message, payload = await protocol.read()
                if message.code >= 200:
                    break
                if message.code == 101:  # We asked for no upgrade; what follows would not be HTTP.
                    raise failure("upstream_invalid")
        except BaseException:
            timer.cancel()
            raise
        if request.is_stream:
            # From here on the limit is on silence, not on the whole: the parser restarts it at every read.
            timer.cancel()
            if not payload.is_eof():
                protocol.read_timeout = request.timeout_seconds
                if not protocol._reading_paused:
                    protocol.start_timeout()
        return LeanResponse(connection, message, payload, timer)


def write_request(request: UpstreamRequest, line: str) -> bytes:
    """The request's head. Raises UpstreamFailure when a header would break out of its line."""
    lines = [f"{name}: {value}\r\n" for name, value in request.headers if name.lower() not in FRAMING_HEADERS]
    count = len(lines) + 4
    if request.body or request.method not in IDEMPOTENT_METHODS:
        lines.append(f"content-length: {len(request.body)}\r\n")
    else:
        count -= 1
    head = f"{request.method}{line}{''.join(lines)}\r\n"
    if head.count("\n") != count or head.count("\r") != count or "\0" in head:
        raise failure("upstream_forbidden") from ValueError("a header holds a control character")
    return head.encode("latin-1", "replace")
