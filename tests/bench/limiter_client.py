"""What asking Redis costs this process: `python -m tests.bench.limiter_client`.

Why the limiter has a connection of its own: one script for 1, 8 and 32 attempts through redis-py's client, through its
Connection, and through ours; then a whole reserve and settle. CPU of this process, the best of some rounds.
"""

import asyncio
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import uvloop
from redis.asyncio import Redis
from redis.asyncio.connection import UnixDomainSocketConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from deploy.local.valkey import Valkey
from proxy.adapters.clock import SystemClock
from proxy.adapters.counters import RedisCounters
from proxy.adapters.limiter.charges import ChargeView, Spend
from proxy.adapters.limiter.link import RedisAddress, RedisLink
from proxy.adapters.tasks import Tasks
from proxy.core.holds import Bounds
from shared.ids import uuid7_text
from shared.records import Limit
from tests.limiter_rig import make_key, make_limit

SCRIPT = "local out = {} for i = 1, #ARGV / 10 do out[i] = {0, 1, 2, 3, 4} end return {1, out}"
ROUNDS = 10
ATTEMPT = [
    "019e1234-aaaa-7bbb-8ccc-ddddeeeeffff", "1763690000000", "1763690060000", "2", "r", "1000", "c", "2000000", "1000",
    "weir:{default}:key:019e1234-aaaa-7bbb-8ccc-ddddeeeeffff:cost:019e1234-aaaa-7bbb-8ccc-ddddeeeeffff.1:1763690000000",
]  # fmt: skip


class NothingSpent:
    """A Postgres without events."""

    @asynccontextmanager
    async def view(self, account_id: str) -> AsyncIterator[ChargeView]:
        yield self

    async def limits(self, key_ids: object) -> dict[str, tuple[Limit, ...]]:
        return {}

    async def lifetime(self, key_ids: object) -> dict[str, int]:
        return {}

    async def since(self, asked: object) -> list[Spend]:
        return []

    async def recent(self, since_ms: int) -> AsyncIterator[list[tuple[str, int]]]:
        for batch in ():
            yield batch


async def cpu_us(ask: Callable[[], Awaitable[object]], times: int) -> float:
    """CPU of this process for one call, in µs."""
    best = float("inf")
    for _ in range(ROUNDS):
        started = time.process_time()
        for _ in range(times):
            await ask()
        best = min(best, (time.process_time() - started) / times * 1e6)
    return best


async def compare_clients(path: str) -> None:
    client = Redis(unix_socket_path=path, retry=Retry(NoBackoff(), 0), socket_timeout=1)
    sha = await client.script_load(SCRIPT)
    connection = UnixDomainSocketConnection(path=path, socket_timeout=1)
    link = RedisLink(RedisAddress((path,)), ())
    await link.connect()
    for batch in (1, 8, 32):
        command = ["EVALSHA", sha, "1", "weir:{default}:epoch", *ATTEMPT * batch]

        async def by_connection(command: list[str] = command) -> None:
            await connection.send_command(*command)
            await connection.read_response()

        for name, ask in (
            ("redis.asyncio.Redis", lambda command=command: client.execute_command(*command)),
            ("redis.asyncio.Connection", by_connection),
            ("RedisLink", lambda command=command: link.ask(*command)),
        ):
            cost = await cpu_us(ask, 200)
            print(f"{name:26} {batch:3} attempts a script: {cost:6.1f} µs a call, {cost / batch:6.1f} µs an attempt")
    link.drop()
    await connection.disconnect()
    await client.aclose()


async def measure_limiter(path: str) -> None:
    tasks = Tasks(print)
    counters = RedisCounters(
        address=RedisAddress((path,)), timeout_seconds=5, charges=NothingSpent(), workers=1, clock=SystemClock(),
        tasks=tasks, observe=lambda _: None,
    )  # fmt: skip
    await counters.start()
    key = make_key(make_limit("requests", "m", 10**9), make_limit("cost", "d", 10**15))
    bounds = Bounds(2_000_000, 1_000, 500_000)

    async def call(times: int) -> None:
        for _ in range(times):
            hold = await counters.reserve(key, uuid7_text(), bounds)
            counters.settle(hold.order, 1_900_000)

    for at_once in (1, 8, 32, 64):
        times = 2_048 // at_once
        cost = await cpu_us(
            lambda at_once=at_once, times=times: asyncio.gather(*(call(times) for _ in range(at_once))), 1
        )
        print(f"reserve + settle, {at_once:2} at once: {cost / times / at_once:6.1f} µs")
    free = make_key()
    started = time.process_time()
    for _ in range(100_000):
        await counters.reserve(free, "019e1234-aaaa-7bbb-8ccc-ddddeeeeffff", None)
    print(f"reserve without limits: {(time.process_time() - started) * 10:6.2f} µs")
    started = time.process_time()
    for _ in range(100_000):
        counters.refuse_remembered(key)
    print(f"refuse_remembered: {(time.process_time() - started) * 10:6.2f} µs")
    await counters.flush(10)
    await counters.close()


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="weir-bench-", dir="/tmp") as folder:
        server = Valkey(Path(folder), Path(folder), Path(folder) / "log")
        server.start()
        try:
            uvloop.run(compare_clients(server.socket_path))
            uvloop.run(measure_limiter(server.socket_path))
        finally:
            server.stop()


if __name__ == "__main__":
    main()
