"""Does the lean client work with the aiohttp that is installed? Tried at start, on real sockets, against a server here.

The lean client leans on names that aiohttp does not promise. If one minor release moves them, the worst that may
happen is a slower client, never a wrong answer: so the check compares answers byte by byte.
"""

import asyncio
import ipaddress
from functools import partial

import aiohttp

from proxy.adapters.destinations import Destinations
from proxy.adapters.lean_client import LeanUpstream
from proxy.ports import UpstreamRequest
from shared.errors import UpstreamFailure

TRIED_MINOR = "3.14."
CHECK_SECONDS = 5.0
LOOPBACK = ipaddress.ip_network("127.0.0.1/32")

SPOKEN: dict[str, tuple[bytes, ...]] = {
    "/length": (b"HTTP/1.1 200 OK\r\nX-One: 1\r\nx-one: 2\r\ncontent-length: 5\r\n\r\n", b"hello"),
    "/chunked": (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n", b"1\r\n!\r\n0\r\n\r\n"),
    "/continue": (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 429 No\r\ncontent-length: 2\r\n\r\n", b"no"),
    "/empty": (b"HTTP/1.1 204 No Content\r\n\r\n",),
    "/short": (b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\nconnection: close\r\n\r\n", b"hello"),
    "/garbage": (b"\x00\x01garbage\r\n\r\n",),
    "/broken": (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n", b"not a size\r\n"),
    "/silent": (b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n",),
}
"""What the server says to each path, in so many reads. `/short` and `/garbage` then hang up."""

NO_HEADERS: dict[str, str] = {}
EXPECTED: tuple[tuple[str, bool, object], ...] = (
    ("/length", False, (200, {"x-one": "1, 2", "content-length": "5"}, b"hello")),
    ("/chunked", True, (200, {"transfer-encoding": "chunked"}, b"hello!")),
    ("/continue", False, (429, {"content-length": "2"}, b"no")),
    ("/empty", False, (204, NO_HEADERS, b"")),
    ("/length", True, (200, {"x-one": "1, 2", "content-length": "5"}, b"hello")),
    ("/short", False, "upstream_cut"),
    ("/garbage", False, "upstream_invalid"),
    ("/broken", True, "upstream_invalid"),
    ("/silent", False, "upstream_timeout"),
    ("/silent", True, "upstream_timeout"),
)
"""Path, is_stream, and the answer or the kind of failure that must come of it, in this order."""
EXPECTED_CONNECTIONS = 5
"""One serves the five good answers and `/short`; the failures after it need one each."""


class _Server(asyncio.Protocol):
    def __init__(self, connections: list[asyncio.Transport]) -> None:
        self._connections = connections
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # pyright: ignore[reportAttributeAccessIssue] - uvloop's are no asyncio.Transport
        self._connections.append(self._transport)

    def data_received(self, data: bytes) -> None:
        path = data.split(b" ", 2)[1].decode()
        self._say(*SPOKEN[path], hangs_up=path in ("/short", "/garbage"))

    def _say(self, part: bytes, *rest: bytes, hangs_up: bool) -> None:
        self._transport.write(part)
        if rest:
            asyncio.get_running_loop().call_later(0.005, partial(self._say, *rest, hangs_up=hangs_up))
        elif hangs_up:
            self._transport.close()


async def why_not_lean() -> str:
    """Empty when the lean client works here, else the reason it must not be used."""
    if not aiohttp.__version__.startswith(TRIED_MINOR):
        return f"aiohttp {aiohttp.__version__} is not {TRIED_MINOR}x"
    try:
        return await asyncio.wait_for(_check(), CHECK_SECONDS)
    except Exception as error:  # noqa: BLE001 - whatever private API does when it has changed, the answer is "no"
        return f"{type(error).__name__}: {error}"


async def _check() -> str:
    connections: list[asyncio.Transport] = []
    server = await asyncio.get_running_loop().create_server(lambda: _Server(connections), "127.0.0.1", 0)
    upstream = LeanUpstream(Destinations([LOOPBACK]))
    try:
        port = server.sockets[0].getsockname()[1]
        for path, is_stream, expected in EXPECTED:
            got = await _answer(upstream, f"http://127.0.0.1:{port}{path}", is_stream=is_stream)
            if got != expected:
                return f"{path} gave {got!r}, expected {expected!r}"
        if len(connections) != EXPECTED_CONNECTIONS:
            return f"{len(connections)} connections were opened, expected {EXPECTED_CONNECTIONS}"
        return ""
    finally:
        await upstream.aclose()
        server.close()
        for transport in connections:
            transport.abort()


async def _answer(upstream: LeanUpstream, url: str, *, is_stream: bool) -> object:
    """Status, headers and body, or the kind of failure."""
    seconds = 0.02 if url.endswith("/silent") else CHECK_SECONDS
    request = UpstreamRequest("POST", url, (("content-type", "application/json"),), b"{}", seconds, is_stream)
    try:
        response = await upstream.send(request)
        try:
            return response.status, dict(response.headers), await response.read()
        finally:
            response.close()
    except UpstreamFailure as error:
        return error.kind
