"""Limiters on a real Valkey, and a raw client beside them that sees what they left there."""

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import redis.asyncio

from proxy.adapters.clock import SystemClock
from proxy.adapters.counters import RedisCounters
from proxy.adapters.limiter.charges import ChargeSource, ChargesUnavailableError, ChargeView
from proxy.adapters.limiter.link import RedisAddress
from proxy.adapters.tasks import Tasks
from proxy.core.holds import Bounds, Hold
from proxy.core.snapshot import CompiledKey
from proxy.observations import BugFound, Observation
from proxy.ports import Clock
from shared.errors import Refusal
from shared.ids import uuid7_text
from shared.records import Limit, Resource, Window
from tests.servers import ValkeyServer

T = TypeVar("T")
PATIENT_SECONDS = 10.0
"""A limiter timeout for tests that are not about it: the machine may be busy."""


def make_limit(resource: Resource, window: Window, amount: int, name: str = "", reset_at_ms: int = 0) -> Limit:
    """A limit with a name of its own."""
    return Limit(name or uuid7_text(), resource, window, amount, 1, reset_at_ms)


def make_key(*limits: Limit, account_id: str = "default", key_id: str = "") -> CompiledKey:
    """A key with these limits."""
    return CompiledKey(
        id=key_id or uuid7_text(),
        account_id=account_id,
        project_id="",
        digest=b"",
        is_revoked=False,
        expires_at_ms=0,
        is_closed=False,
        name="",
        tags=(),
        settings=(),
        allowed_paths=frozenset(),
        limits=limits,
        is_limited=bool(limits),
        has_cost_limit=any(limit.resource == "cost" for limit in limits),
        is_rotated=False,
        logs_request=False,
        logs_response=False,
        settings_by_provider={},
    )


class Away:
    """A Postgres that is never there: what cannot be rebuilt from it stays closed."""

    @asynccontextmanager
    async def view(self, account_id: str) -> AsyncIterator[ChargeView]:
        raise ChargesUnavailableError(account_id)
        yield


class Limiters:
    """Workers' limiters on one server, and what they told."""

    def __init__(self, server: ValkeyServer, charges: ChargeSource) -> None:
        self.server = server
        self.charges = charges
        self.told: list[Observation] = []
        self.tasks = Tasks(self.told.append)
        self.redis: redis.asyncio.Redis = redis.asyncio.Redis(
            unix_socket_path=server.socket_path, decode_responses=True, single_connection_client=True
        )
        self._started: list[RedisCounters] = []

    async def start(self, clock: Clock | None = None, **options: Any) -> RedisCounters:
        """One more worker's limiter."""
        given = {
            "address": RedisAddress((self.server.socket_path,)),
            "timeout_seconds": PATIENT_SECONDS,
            "charges": self.charges,
            "workers": 2,
        }
        counters = RedisCounters(
            **(given | options), clock=clock or SystemClock(), tasks=self.tasks, observe=self.told.append
        )
        self._started.append(counters)
        await counters.start()
        return counters

    async def close(self) -> None:
        """Stop them all; a bug that one of them told fails the test."""
        for counters in self._started:
            await counters.close()
        await self.tasks.drain(1)
        await self.redis.aclose()
        assert not [seen for seen in self.told if isinstance(seen, BugFound)]

    async def spent(self, key: CompiledKey) -> int:
        """What Redis says a key ever spent."""
        return int(await self.redis.get(f"weir:{{{key.account_id}}}:key:{key.id}:cost:total") or 0)

    async def holds(self, key: CompiledKey) -> list[str]:
        """Redis's keys that hold money of the key's calls in flight."""
        return await self.redis.keys(f"*{key.id}*:holds")

    async def wait_for_second(self, spare: float) -> None:
        """Until so much of Redis's current second is left."""
        while (await self.redis.time())[1] / 1e6 > 1 - spare:
            await asyncio.sleep(0.02)

    def freeze(self) -> None:
        """Stop the server as `docker pause` does: connections stay open, nothing answers."""
        os.kill(self.server.child.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        os.kill(self.server.child.pid, signal.SIGCONT)


async def try_reserve(
    counters: RedisCounters, key: CompiledKey, bounds: Bounds | None = None, attempt_id: str = ""
) -> Hold | Refusal:
    """A hold, or why not."""
    try:
        return await counters.reserve(key, attempt_id or uuid7_text(), bounds)
    except Refusal as refusal:
        return refusal


def kinds(outcomes: Sequence[Hold | Refusal]) -> set[tuple[str, float | None]]:
    """Kind and retry-after of the refusals among them."""
    return {(outcome.kind, outcome.retry_after) for outcome in outcomes if isinstance(outcome, Refusal)}


async def wait_until(question: Callable[[], Awaitable[T]], expected: T, seconds: float = 10.0) -> None:
    """Until the answer is `expected`. Fails, showing the last answer, after `seconds`."""
    until = time.monotonic() + seconds
    while (answer := await question()) != expected:
        assert time.monotonic() < until, answer
        await asyncio.sleep(0.02)
