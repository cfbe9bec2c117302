"""Hosts that do not serve, each in its own way: they refuse, say nothing, hang up, take no connection at all."""

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager


def closed_port() -> int:
    """A port that nobody listens on: a connection is refused."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Mute:
    """What accepts and never answers, or hangs up at the first word; it counts who came."""

    def __init__(self, hangs_up: bool) -> None:
        self._hangs_up = hangs_up
        self.port = 0
        self.visits = 0
        self._open: list[asyncio.StreamWriter] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.visits += 1
        self._open.append(writer)
        if self._hangs_up:
            await reader.read(1)
            writer.close()

    def close(self) -> None:
        for writer in self._open:
            writer.transport.abort()


@asynccontextmanager
async def mute_host(*, hangs_up: bool = False) -> AsyncIterator[Mute]:
    """A host that hangs: a frozen server. One that hangs up: a load balancer with nothing behind it."""
    mute = Mute(hangs_up)
    server = await asyncio.start_server(mute.serve, "127.0.0.1", 0)
    mute.port = server.sockets[0].getsockname()[1]
    try:
        yield mute
    finally:
        server.close()
        mute.close()


@contextmanager
def full_port() -> Iterator[int]:
    """A port whose queue is full: it neither refuses a connection nor takes one, as behind a silent firewall."""
    with ExitStack() as opened:
        listener = opened.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(4):
            waiting = opened.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(listener.getsockname())
        yield listener.getsockname()[1]
