"""One connection to Redis: commands go out in order, replies come back in order, nobody waits in between.

Of several hosts it takes the first that answers, lets us in and is no replica; after a loss the list is gone through
again, so that all workers meet at the same one.

hiredis packs and parses, asyncio carries; there is no pool, no retry and no lock. Per call of one small script this
costs 17 µs of CPU where redis-py's Connection takes 71 and its client 101 (8 to a batch: 4, 24, 27 µs each), which is
the reason it exists (tests/bench/limiter_client.py). It does not know what the commands mean.
"""

import asyncio
import ssl
from collections import deque
from collections.abc import Callable, Sequence
from typing import cast

import hiredis
import msgspec

Reply = object
"""int, bytes, list, None; or an exception: hiredis.ReplyError for Redis's own, LinkLostError."""
OnReply = Callable[[Reply], None]
Argument = str | bytes | int


class LinkLostError(Exception):
    """No connection, or it broke before the reply: the outcome is not known."""


class ReplicaError(LinkLostError):
    """A replica answered; counters are changed at its primary."""


class RedisAddress(msgspec.Struct, frozen=True):
    """Where Redis is, and how it is spoken to."""

    hosts: tuple[str | tuple[str, int], ...]
    """Tried in order: the path of a Unix socket, or a host and its port."""
    username: str = ""
    password: str = ""
    database: int = 0
    accept_seconds: float = 0.5
    """Longest wait for a host to accept a connection."""
    answer_seconds: float = 1.0
    """Longest wait for answers off the request's path: when a connection is set up, and of the monitor."""
    tls: ssl.SSLContext | None = None
    """For hosts; a Unix socket is plain."""


def _describe(host: str | tuple[str, int], error: Exception) -> tuple[str, str]:
    """What kind of error it is, and the error in full with its host, for an operator."""
    name = host if isinstance(host, str) else f"{host[0]}:{host[1]}"
    kind, text = type(error).__name__, str(error)
    if isinstance(error, hiredis.ReplyError) and text.split(" ")[0].isupper():
        kind = text.split(" ")[0]  # Redis's own code: WRONGPASS, NOAUTH, LOADING
    return kind, f"{name}: {type(error).__name__}: {text}" if text else f"{name}: {kind}"


# hiredis's stub says a tuple of exactly one argument.
pack = cast("Callable[[tuple[Argument, ...]], bytes]", vars(hiredis)["pack_command"])
"""One command in Redis's protocol."""


class RedisLink(asyncio.Protocol):
    """A connection, or the lack of one."""

    def __init__(self, address: RedisAddress, scripts: Sequence[str]) -> None:
        self.address = address
        self.on_lost: Callable[[], None] = lambda: None
        """Called when a connection that stood breaks by itself."""
        self._scripts = tuple(scripts)
        self._transport: asyncio.WriteTransport | None = None
        self._reader = hiredis.Reader()
        self._waiting: deque[OnReply] = deque()
        self._outgoing: list[bytes] = []
        self.run_id = b""
        """Which server process this is: another one may have another past."""
        self.fault = ""
        """Why there is no connection, host by host: kinds of errors without a name, fit for any reader."""

    @property
    def is_up(self) -> bool:
        """A connection stands and is set up."""
        return self._transport is not None and bool(self.run_id)

    async def connect(self) -> None:
        """Connect to the first host that serves. Raises LinkLostError, which says how each one failed."""
        self.drop()
        failures: list[tuple[str, str]] = []
        for host in self.address.hosts:
            try:
                await self._reach(host)
                async with asyncio.timeout(self.address.answer_seconds):
                    await self._set_up()
                self.fault = ""
                return
            except (OSError, LinkLostError, hiredis.HiredisError) as failure:
                self.drop()
                failures.append(_describe(host, failure))
        self.fault = ", ".join(kind for kind, _ in failures)
        raise LinkLostError("; ".join(told for _, told in failures))

    async def _reach(self, host: str | tuple[str, int]) -> None:
        loop, address = asyncio.get_running_loop(), self.address
        if isinstance(host, str):
            async with asyncio.timeout(address.accept_seconds):
                await loop.create_unix_connection(lambda: self, host)
        elif address.tls is None:
            async with asyncio.timeout(address.accept_seconds):
                await loop.create_connection(lambda: self, *host)
        else:  # the handshake is an answer too
            async with asyncio.timeout(address.accept_seconds + address.answer_seconds):
                await loop.create_connection(lambda: self, *host, ssl=address.tls)

    async def _set_up(self) -> None:
        address = self.address
        if address.password or address.username:
            await self.ask("AUTH", *((address.username,) if address.username else ()), address.password)
        if address.database:
            await self.ask("SELECT", address.database)
        if await self._about("replication", b"role") == b"slave":
            raise ReplicaError("its primary is wanted")
        await self.load_scripts()
        self.run_id = await self._about("server", b"run_id") or b"-"

    async def _about(self, section: str, name: bytes) -> bytes:
        about = await self.ask("INFO", section)
        lines = about.split(b"\r\n") if isinstance(about, bytes) else []
        return next((line[len(name) + 1 :] for line in lines if line.startswith(name + b":")), b"")

    async def load_scripts(self) -> None:
        """Make every script known to the server. Raises LinkLostError, hiredis.ReplyError."""
        for script in self._scripts:
            await self.ask("SCRIPT", "LOAD", script)

    def send(self, command: bytes, on_reply: OnReply) -> None:
        """Write a packed command; `on_reply` is called exactly once, with LinkLostError when the connection breaks."""
        if self._transport is None:
            on_reply(LinkLostError("not connected"))
            return
        self._waiting.append(on_reply)
        # One write for all commands of a turn: uvloop's `write` is a system call each, and wakes the server each time.
        if not self._outgoing:
            asyncio.get_running_loop().call_soon(self._flush)
        self._outgoing.append(command)

    def _flush(self) -> None:
        outgoing, self._outgoing = self._outgoing, []
        if self._transport is not None and outgoing:
            self._transport.write(b"".join(outgoing))

    async def ask(self, *arguments: Argument) -> Reply:
        """Send one command and wait for its reply. Raises LinkLostError, hiredis.ReplyError."""
        answer: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()

        def arrived(reply: Reply) -> None:
            if not answer.done():
                answer.set_result(reply)

        self.send(pack(arguments), arrived)
        reply = await answer
        if isinstance(reply, Exception):
            raise reply
        return reply

    def drop(self) -> None:
        """Close now; whoever waits is told LinkLostError."""
        transport, self._transport = self._transport, None
        if transport is not None:
            transport.abort()
        self._lose()

    def _lose(self) -> None:
        self.run_id = b""
        self._outgoing = []
        self._reader = hiredis.Reader()
        waiting, self._waiting = self._waiting, deque()
        for on_reply in waiting:
            on_reply(LinkLostError("the connection broke"))

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A connection stands."""
        self._transport = cast("asyncio.WriteTransport", transport)

    def data_received(self, data: bytes) -> None:
        """Bytes came: hand every complete reply to the one who waits for it."""
        try:
            self._reader.feed(data)
            while self._waiting and (reply := self._reader.gets()) is not False:
                self._waiting.popleft()(reply)
        except hiredis.ProtocolError:
            self.drop()

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone. A late call for one that was dropped is not about the present one."""
        if self._transport is not None and self._transport.is_closing():
            self._transport = None
            self._lose()
            self.on_lost()
