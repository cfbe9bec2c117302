"""What both upstream clients share: the pool of connections, its limits, and how failures are named.

Kinds of failure also say how far a request came, for the gateway bills by it: `upstream_forbidden` and
`upstream_unreachable` mean that not one byte of it was sent; after `upstream_timeout`, `upstream_invalid` and
`upstream_cut` upstream may have done the work.
"""

import ssl
from functools import lru_cache, partial
from typing import Any

import aiohttp
from aiohttp.client_exceptions import ServerTimeoutError
from aiohttp.client_proto import ResponseHandler
from aiohttp.client_reqrep import ClientRequest
from aiohttp.connector import Connection
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.streams import StreamReader

from proxy.adapters.destinations import Destinations
from proxy.core.destinations import DestinationError
from shared.errors import UpstreamFailure

CONNECT_SECONDS = 10.0
"""Longest wait for a connection: name, TCP and TLS together."""
KEEPALIVE_SECONDS = 15.0
"""Idle connections are dropped after this: below what providers' front doors use (60 s and up), so that a connection
seldom dies under a request. Servers that close earlier are noticed by their FIN."""
DNS_SECONDS = 30
"""How long a resolved and judged name is used for new connections."""

READ_BYTES = 128 * 1024
"""Reading from the socket pauses when twice this waits unread, per response."""
MAX_BODY_BYTES = 64 * 1024 * 1024
"""Largest plain answer; streams have no end to measure."""
MAX_HEADER_BYTES = 32 * 1024
"""Longest single header line of an answer."""
MAX_HEADERS = 256

FRAMING_HEADERS = frozenset({"host", "content-length", "transfer-encoding", "connection", "keep-alive", "te", "trailer",
                             "upgrade", "expect", "proxy-connection"})  # fmt: skip
"""Headers that belong to a connection, not to a call: the client alone writes them."""
IDEMPOTENT_METHODS = frozenset({"GET", "HEAD"})
"""Sent once more when the connection broke before any answer. Nothing else is ever sent twice."""

SENTENCES = {
    "upstream_forbidden": "failed to send http request to upstream: its address is not allowed",
    "upstream_unreachable": "failed to send http request to upstream",
    "upstream_timeout": "failed to send http request to upstream: it did not answer in time",
    "upstream_invalid": "failed to send http request to upstream: its answer is not valid http",
    "upstream_cut": "failed to send http request to upstream: it closed the connection",
}


class BodyTooLargeError(Exception):
    """A plain answer is longer than MAX_BODY_BYTES."""


FAILURES: dict[type[BaseException], str] = {
    DestinationError: "upstream_forbidden",
    aiohttp.InvalidURL: "upstream_forbidden",
    aiohttp.ConnectionTimeoutError: "upstream_unreachable",
    aiohttp.ClientConnectorError: "upstream_unreachable",
    ServerTimeoutError: "upstream_timeout",
    TimeoutError: "upstream_timeout",
    HttpProcessingError: "upstream_invalid",
    BodyTooLargeError: "upstream_invalid",
    aiohttp.ClientResponseError: "upstream_invalid",
    aiohttp.ClientPayloadError: "upstream_cut",
    aiohttp.ServerDisconnectedError: "upstream_cut",
    aiohttp.ClientConnectionResetError: "upstream_cut",
    aiohttp.ClientOSError: "upstream_cut",
    aiohttp.ClientConnectionError: "upstream_unreachable",
    OSError: "upstream_cut",
}
"""What went wrong -> its kind; the most derived class of the error that is listed counts."""


def failure(kind: str) -> UpstreamFailure:
    """An UpstreamFailure with the sentence of its kind; raise it `from` what happened."""
    return UpstreamFailure(kind, SENTENCES[kind])


def failure_of(error: Exception, *, is_connecting: bool = False) -> UpstreamFailure:
    """The failure that `error` means. Raises `error` again when it is none of upstream's."""
    for ancestor in type(error).__mro__:
        kind = FAILURES.get(ancestor)
        if kind is not None:
            return failure("upstream_unreachable" if is_connecting and kind != "upstream_forbidden" else kind)
    raise error


@lru_cache(maxsize=256)
def connect_timeout(seconds: float) -> aiohttp.ClientTimeout:
    """The limits on making a connection, for a request that may take `seconds`."""
    seconds = min(CONNECT_SECONDS, seconds)
    return aiohttp.ClientTimeout(connect=seconds, sock_connect=seconds)


@lru_cache(maxsize=1024)
def lower_name(name: bytes) -> str:
    """A header's name as `headers` holds it. Cached: upstreams repeat themselves."""
    return name.lower().decode("latin-1")


def headers_of(raw: tuple[tuple[bytes, bytes], ...]) -> dict[str, str]:
    """Header lines as a mapping, byte for byte (latin-1, as ASGI writes them); repeated lines are joined by commas."""
    headers: dict[str, str] = {}
    for raw_name, raw_value in raw:
        name = lower_name(raw_name)
        value = raw_value.decode("latin-1")
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return headers


def make_ssl_context() -> ssl.SSLContext:
    """Verifies the chain against the system's authorities, and the host name. Made once: it costs milliseconds."""
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2  # Debian's Python leaves it to the system's OpenSSL
    context.set_alpn_protocols(("http/1.1",))
    return context


class Handler(ResponseHandler):
    """aiohttp's connection, with some of its habits mended (seen in 3.14.5)."""

    def resume_reading(self, resume_parser: bool = True) -> None:
        """Read on, if reading was paused. aiohttp calls this for every piece of a body that is taken from its buffer,
        paused or not, and runs the parser each time: a sixth of the cost of a stream.
        """
        if self._reading_paused:
            super().resume_reading(resume_parser)
            if self._reading_paused:
                # What was left in the parser filled the buffer again, yet aiohttp has restarted the clock on upstream.
                self._drop_timeout()

    def set_exception(self, exc: BaseException, exc_cause: BaseException | None = None) -> None:
        """Fail the connection, and the body that is being read from it. aiohttp tells only those who wait for a head
        when framing turns out malformed in a later read: a stream would wait for ever on a closed connection.
        """
        cause = () if exc_cause is None else (exc_cause,)
        super().set_exception(exc, *cause)
        _fail_body(self._payload, exc)

    def close(self) -> None:
        """Close, and end the body that is being read; aiohttp would leave its reader waiting."""
        payload = self._payload
        super().close()
        _fail_body(payload, aiohttp.ClientPayloadError("closed on this side"))


def _fail_body(payload: StreamReader | None, error: BaseException) -> None:
    if payload is not None and not payload.is_eof() and payload.exception() is None:
        payload.set_exception(error)


class Pool(aiohttp.TCPConnector):
    """Connections to upstreams: no cap on their number, guarded by `Destinations`."""

    def __init__(self, destinations: Destinations, ssl_context: ssl.SSLContext) -> None:
        super().__init__(  # pyright: ignore[reportUnknownMemberType] - one of its hints is a bare tuple
            resolver=destinations,
            ssl=ssl_context,
            limit=0,
            limit_per_host=0,
            ttl_dns_cache=DNS_SECONDS,
            keepalive_timeout=KEEPALIVE_SECONDS,
        )
        self._factory = partial(Handler, loop=self._loop)

    async def connect(
        self,
        req: ClientRequest,
        traces: list[Any],
        timeout: aiohttp.ClientTimeout,  # noqa: ASYNC109 - aiohttp's signature
    ) -> Connection:
        """A connection that is open and has said nothing while idle: else its next words would answer this call."""
        while True:
            connection = await super().connect(req, traces, timeout)
            protocol = connection.protocol
            if protocol is not None and not protocol.should_close:
                return connection
            connection.close()


def cut(connection: Connection) -> None:
    """Close the socket at once, whatever is still unsent or unread, so that upstream notices."""
    transport = connection.transport
    if transport is not None:
        # Not close(): that would send the rest first, and over TLS wait for upstream's farewell.
        transport.abort()
    connection.close()
