"""The bare baseline: what anybody would write first. Starlette, one route, aiohttp's ClientSession, no governance.

It checks nothing, counts nothing and journals nothing; it only passes a request on and the answer back.
`python -m tests.bench.baseline PORT UPSTREAM_URL`
"""

import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
from granian.constants import HTTPModes, Interfaces, Loops
from granian.log import LogLevels
from granian.server import Server
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

FORWARDED = ("content-type", "authorization")


async def pass_on(request: Request) -> Response:
    """POST what came to upstream, and answer what upstream answers."""
    state = request.app.state
    headers = {name: request.headers[name] for name in FORWARDED if name in request.headers}
    body = await request.body()
    answer = await state.session.post(state.upstream + request.scope["path"], data=body, headers=headers)
    kind = answer.headers.get("content-type", "application/json")
    if kind.startswith("text/event-stream"):
        return StreamingResponse(stream(answer), answer.status, {"content-type": kind})
    try:
        return Response(await answer.read(), answer.status, {"content-type": kind})
    finally:
        answer.release()


async def stream(answer: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    """The answer's bytes as they come."""
    try:
        async for chunk in answer.content.iter_any():
            yield chunk
    finally:
        answer.release()


@asynccontextmanager
async def lifespan(app: Starlette) -> AsyncIterator[None]:
    """One session for the worker's life."""
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector, auto_decompress=False) as session:
        app.state.session = session
        app.state.upstream = os.environ["BASELINE_UPSTREAM"]
        yield


def create_app() -> Starlette:
    """For granian."""
    return Starlette(routes=[Route("/{path:path}", pass_on, methods=["POST"])], lifespan=lifespan)


if __name__ == "__main__":
    os.environ["BASELINE_UPSTREAM"] = sys.argv[2]
    Server(
        "tests.bench.baseline:create_app", address="127.0.0.1", port=int(sys.argv[1]), factory=True,
        interface=Interfaces.ASGI, loop=Loops.uvloop, http=HTTPModes.http1, websockets=False, backlog=4096,
        backpressure=4096, log_level=LogLevels.error,
    ).serve()  # fmt: skip
