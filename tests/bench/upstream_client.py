"""What one upstream call costs: CPU µs per plain call and per 52-event stream, for both clients and bare ClientSession.

`python -m tests.bench.upstream_client [calls]` starts the scripted upstream in a process of its own, pins it and
itself to different cores where it can, interleaves the clients and prints the median of five rounds with its spread.
"""

import asyncio
import contextlib
import gc
import ipaddress
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable

import aiohttp
import msgspec
import uvloop

from proxy.adapters.destinations import Destinations
from proxy.adapters.upstream import make_upstream
from proxy.ports import Upstream, UpstreamRequest

ROUNDS = 5
AT_ONCE = 32
HEADERS = (
    ("content-type", "application/json"),
    ("authorization", "Bearer sk-not-a-key"),
    ("accept", "application/json"),
    ("accept-encoding", "identity"),
    ("user-agent", "OpenAI/Python 3.52.0"),
    ("x-weir-request-id", "01936c5e-0000-7000-8000-000000000000"),
)


def body(*, is_stream: bool, user: str) -> bytes:
    return msgspec.json.encode(
        {
            "model": "gpt-4o-mini",
            "messages": [{"role": "user", "content": "How does a weir work?"}],
            "stream": is_stream,
            "user": user,
        }
    )


KINDS = {
    "plain": body(is_stream=False, user="me"),
    "stream, 52 events in one write": body(is_stream=True, user="script:burst"),
    "stream, 52 writes": body(is_stream=True, user="script:burst?batch=1"),
}


def through(upstream: Upstream, url: str) -> Callable[[bytes, bool], Awaitable[None]]:
    async def call(data: bytes, is_stream: bool) -> None:
        response = await upstream.send(UpstreamRequest("POST", url, HEADERS, data, 60.0, is_stream))
        if is_stream:
            async for _ in response.chunks():
                pass
        else:
            await response.read()
        response.close()

    return call


def bare(session: aiohttp.ClientSession, url: str) -> Callable[[bytes, bool], Awaitable[None]]:
    async def call(data: bytes, is_stream: bool) -> None:
        async with session.post(url, data=data, headers=HEADERS) as response:
            if is_stream:
                async for _ in response.content.iter_any():
                    pass
            else:
                await response.read()

    return call


async def cost(call: Callable[[bytes, bool], Awaitable[None]], data: bytes, is_stream: bool, calls: int) -> float:
    """CPU µs of this process per call."""

    async def several(count: int) -> None:
        for _ in range(count):
            await call(data, is_stream)

    await several(20)
    started = time.process_time()
    await asyncio.gather(*(several(calls // AT_ONCE) for _ in range(AT_ONCE)))
    return (time.process_time() - started) / (calls // AT_ONCE * AT_ONCE) * 1e6


async def measure(url: str, calls: int) -> None:
    destinations = Destinations([ipaddress.ip_network("127.0.0.0/8")])
    lean = (await make_upstream(destinations, client="lean")).upstream
    session = (await make_upstream(destinations, client="client_session")).upstream
    default = aiohttp.ClientSession()
    clients = {
        "aiohttp.ClientSession as it comes": bare(default, url),
        "ClientSessionUpstream": through(session, url),
        "LeanUpstream": through(lean, url),
    }
    gc.freeze()
    print(f"CPU µs per call, {AT_ONCE} at once, median of {ROUNDS} (lowest-highest)")
    for kind, data in KINDS.items():
        taken: dict[str, list[float]] = {name: [] for name in clients}
        for _ in range(ROUNDS):
            for name, call in clients.items():
                taken[name].append(await cost(call, data, kind != "plain", calls if kind == "plain" else calls // 4))
        for name, figures in taken.items():
            print(f"{kind:32} {name:36} {statistics.median(figures):7.1f}  ({min(figures):.1f}-{max(figures):.1f})")
    await lean.aclose()
    await session.aclose()
    await default.close()


def main() -> None:
    calls = int(sys.argv[1]) if len(sys.argv) > 1 else 4000
    server = subprocess.Popen(
        [sys.executable, "-m", "tests.fakes.upstream", "--port", "0", "--forget"], stdout=subprocess.PIPE, text=True
    )
    try:
        with contextlib.suppress(AttributeError, OSError):
            os.sched_setaffinity(0, {0})
            os.sched_setaffinity(server.pid, {1})
        assert server.stdout is not None
        port = int(server.stdout.readline().split()[-1])
        uvloop.run(measure(f"http://127.0.0.1:{port}/v1/chat/completions", calls))
    finally:
        server.kill()
        server.wait()


if __name__ == "__main__":
    main()
