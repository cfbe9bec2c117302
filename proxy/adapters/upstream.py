"""The way to providers: `make_upstream` picks the lean client, or aiohttp's ClientSession where that does not work.

`ClientSessionUpstream` uses public API only, with everything switched off that a gateway must not do. Which request
goes where, and what a failure means for the caller, is the gateway's business.
"""

import asyncio
import io
import ssl
from collections.abc import AsyncIterator, Mapping
from typing import Literal, NamedTuple

import aiohttp
from yarl import URL

from proxy.adapters.destinations import Destinations
from proxy.adapters.lean_check import why_not_lean
from proxy.adapters.lean_client import MAX_TARGETS, LeanUpstream
from proxy.adapters.upstream_pool import (
    FRAMING_HEADERS,
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
from proxy.core.destinations import DestinationError
from proxy.ports import UpstreamRequest

SILENCE_GRACE_SECONDS = 1.0


class SessionResponse:
    """ports.UpstreamResponse over aiohttp's ClientResponse."""

    def __init__(self, response: aiohttp.ClientResponse, silence_seconds: float | None) -> None:
        self.status = response.status
        self._silence_seconds = silence_seconds
        self._response = response
        self._headers: Mapping[str, str] | None = None

    @property
    def headers(self) -> Mapping[str, str]:
        """Names in lower case."""
        if self._headers is None:
            self._headers = headers_of(self._response.raw_headers)
        return self._headers

    async def read(self) -> bytes:
        """The whole body."""
        blocks: list[bytes] = []
        size = 0
        try:
            while block := await self._response.content.readany():
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
        content = self._response.content
        while True:
            try:
                # `sock_read` has said so before this does, unless aiohttp dropped its timer with the connection.
                async with asyncio.timeout(self._silence_seconds):
                    block = await content.readany()
            except Exception as error:
                self.close()
                raise failure_of(error) from error
            if not block:
                break
            yield block
        self.close()

    def close(self) -> None:
        """Give the connection back when the answer is complete (aiohttp has done so), else cut it."""
        connection = self._response.connection
        if connection is not None:
            cut(connection)
        self._response.close()


class ClientSessionUpstream:
    """ports.Upstream. Made inside a running loop; `aclose` it."""

    name = "client_session"

    def __init__(self, destinations: Destinations, ssl_context: ssl.SSLContext | None = None) -> None:
        self._destinations = destinations
        self._urls: dict[str, URL] = {}
        self._session = aiohttp.ClientSession(
            connector=Pool(destinations, ssl_context or make_ssl_context()),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            trust_env=False,
            skip_auto_headers=("Accept", "Accept-Encoding", "User-Agent", "Content-Type"),
            read_bufsize=READ_BYTES,
            max_line_size=MAX_HEADER_BYTES,
            max_field_size=MAX_HEADER_BYTES,
            max_headers=MAX_HEADERS,
        )

    async def aclose(self) -> None:
        """Close every connection."""
        await self._session.close()

    async def send(self, request: UpstreamRequest) -> SessionResponse:
        """Send and wait for the head; failures as ports.Upstream says, and upstream_cut."""
        url = self._urls.get(request.url) or self._url(request.url)
        limits = connect_timeout(request.timeout_seconds)
        seconds = request.timeout_seconds
        timeout = aiohttp.ClientTimeout(
            total=None if request.is_stream else seconds,
            connect=limits.connect,
            sock_connect=limits.sock_connect,
            sock_read=seconds if request.is_stream else None,
        )
        headers = [(name, _text(value)) for name, value in request.headers if name.lower() not in FRAMING_HEADERS]
        try:
            # aiohttp writes a stream in parts, and a long `bytes` in one go, with a warning.
            data = io.BytesIO(request.body) if len(request.body) > READ_BYTES else request.body or None
            calling = self._session.request(
                request.method, url, data=data, headers=headers, timeout=timeout, allow_redirects=False
            )
            if request.is_stream:
                # A head that trickles in would keep `sock_read` content for ever.
                async with asyncio.timeout(seconds):
                    response = await calling
            else:
                response = await calling
        except Exception as error:
            if isinstance(error, ValueError) and not isinstance(error, aiohttp.ClientError):
                raise failure("upstream_forbidden") from error  # A control character in a header.
            raise failure_of(error) from error
        if response.status == 101:  # We asked for no upgrade; what follows would not be HTTP.
            response.close()
            raise failure("upstream_invalid")
        return SessionResponse(response, seconds + SILENCE_GRACE_SECONDS if request.is_stream else None)

    def _url(self, url: str) -> URL:
        try:
            self._destinations.parse(url)
        except DestinationError as error:
            raise failure_of(error) from error
        if len(self._urls) >= MAX_TARGETS:
            self._urls.clear()
        parsed = self._urls[url] = URL(url, encoded=True)
        return parsed


def _text(value: str) -> str:
    """Aiohttp writes UTF-8; this makes it write the very bytes that `value` stands for in latin-1."""
    if value.isascii():
        return value
    return value.encode("latin-1", "replace").decode("utf-8", "replace")


class Choice(NamedTuple):
    """The client that was picked, and why it is not the lean one (empty: it is)."""

    upstream: LeanUpstream | ClientSessionUpstream
    reason: str


async def make_upstream(
    destinations: Destinations,
    *,
    client: Literal["auto", "lean", "client_session"] = "auto",
    ssl_context: ssl.SSLContext | None = None,
) -> Choice:
    """The fastest client that works here. `auto` tries the lean one first; a named one is taken as it is."""
    reason = {"lean": "", "client_session": "it was asked for"}.get(client)
    if reason is None:
        reason = await why_not_lean()
    if reason:
        return Choice(ClientSessionUpstream(destinations, ssl_context), reason)
    return Choice(LeanUpstream(destinations, ssl_context), "")
