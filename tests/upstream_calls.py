"""Making calls through either upstream client: what the tests of `proxy.adapters.upstream` share."""

import contextlib
import ipaddress
import ssl
from collections.abc import AsyncIterator, Iterable
from typing import Any

import msgspec

from proxy.adapters.destinations import Destinations, Resolve, resolve_by_system
from proxy.adapters.lean_client import LeanUpstream
from proxy.adapters.upstream import ClientSessionUpstream, make_upstream
from proxy.ports import UpstreamRequest, UpstreamResponse
from shared.errors import UpstreamFailure

CLIENTS = ("lean", "client_session")
Client = LeanUpstream | ClientSessionUpstream
HEADERS = (("content-type", "application/json"), ("authorization", "Bearer sk-upstream"))


@contextlib.asynccontextmanager
async def opened(
    client: Any,
    networks: Iterable[str] = ("127.0.0.0/8", "::1/128"),
    own: Iterable[tuple[str, int]] = (),
    resolve: Resolve = resolve_by_system,
    ssl_context: ssl.SSLContext | None = None,
) -> AsyncIterator[Client]:
    """A client of that name that may call `networks`."""
    destinations = Destinations([ipaddress.ip_network(network) for network in networks], own, resolve)
    choice = await make_upstream(destinations, client=client, ssl_context=ssl_context)
    try:
        yield choice.upstream
    finally:
        await choice.upstream.aclose()


def chat(
    url: str,
    *,
    stream: bool = False,
    seconds: float = 5.0,
    method: str = "POST",
    path: str = "/v1/chat/completions",
    headers: tuple[tuple[str, str], ...] = HEADERS,
    **fields: Any,
) -> UpstreamRequest:
    """A chat completion request to the scripted upstream at `url`; a GET has no body."""
    body = msgspec.json.encode({"model": "gpt-4o-mini", "messages": [], "stream": stream, **fields})
    return UpstreamRequest(method, url + path, headers, body if method == "POST" else b"", seconds, stream)


async def whole(upstream: Client, request: UpstreamRequest) -> tuple[UpstreamResponse, bytes]:
    """Send, read to the end, close."""
    response = await upstream.send(request)
    try:
        return response, await response.read()
    finally:
        response.close()


async def pieces(upstream: Client, request: UpstreamRequest) -> tuple[list[bytes], str | None]:
    """What a stream brought, and the kind of failure that ended it."""
    found: list[bytes] = []
    try:
        response = await upstream.send(request)
        try:
            async for chunk in response.chunks():
                found.append(chunk)
        finally:
            response.close()
    except UpstreamFailure as error:
        return found, error.kind
    return found, None


async def kind_of_failure(upstream: Client, request: UpstreamRequest) -> str | None:
    """The kind of failure that a whole exchange ends in; None: it succeeds."""
    try:
        await whole(upstream, request)
    except UpstreamFailure as error:
        return error.kind
    return None
