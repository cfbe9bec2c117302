"""Workers' objects on a real Valkey, in front of a real Postgres that they are restored from."""

import shutil
import time
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import redis.asyncio

from proxy.adapters.clock import SystemClock
from proxy.adapters.limiter.link import RedisAddress
from proxy.adapters.object_store.postgres_objects import KnownObject, ObjectsUnavailableError, PostgresObjects
from proxy.adapters.objects import Objects
from proxy.adapters.postgres import Pool
from proxy.adapters.tasks import Tasks
from proxy.observations import BugFound, ObjectsRestored, ObjectsUnrestored, Observation
from shared.errors import Refusal
from shared.events import Event, event_encoder
from tests.attempts import make_event
from tests.limiter_rig import PATIENT_SECONDS, wait_until
from tests.servers import ValkeyServer

ENDPOINT = "/api/providers/openai/v1/responses"
PROVIDER = "openai"


class Source(PostgresObjects):
    """Postgres, as far as the test lets it be there."""

    def __init__(self, pool: Pool) -> None:
        super().__init__(pool)
        self.is_away = False
        self.after_page: Any = None
        """Awaited once, after the first page."""
        self.asked: list[int] = []
        """Since when, each time."""

    async def pages(self, account_id: str, since_ms: int) -> AsyncIterator[list[KnownObject]]:
        if self.is_away:
            raise ObjectsUnavailableError("away")
        self.asked.append(since_ms)
        async for page in super().pages(account_id, since_ms):
            yield page
            if self.after_page is not None:
                action, self.after_page = self.after_page, None
                await action()


class Workers:
    """Several workers, and what they told."""

    def __init__(self, server: ValkeyServer, pool: Pool) -> None:
        self.server = server
        self.source = Source(pool)
        self.told: list[Observation] = []
        self.tasks = Tasks(self.told.append)
        self.redis = redis.asyncio.Redis(unix_socket_path=server.socket_path, decode_responses=True)
        self._started: list[Objects] = []

    async def start(self, timeout_seconds: float = PATIENT_SECONDS, **options: Any) -> Objects:
        """One more worker, connected if there is a server."""
        objects = Objects(
            address=RedisAddress((self.server.socket_path,)), timeout_seconds=timeout_seconds, source=self.source,
            clock=SystemClock(), tasks=self.tasks, observe=self.told.append, **options,
        )  # fmt: skip
        self._started.append(objects)
        await objects.start()
        return objects

    async def whole(self, *workers: Objects, account_id: str = "default") -> None:
        """Until each of them can say that there is no such object."""
        for objects in workers:

            async def says_no(objects: Objects = objects) -> object:
                return await ask(objects, "resp_nobody", account_id)

            await wait_until(says_no, None, seconds=20)

    async def close(self) -> None:
        for objects in self._started:
            await objects.close()
        await self.tasks.drain(1)
        await self.redis.aclose()
        assert not [seen for seen in self.told if isinstance(seen, BugFound)]

    def empty(self) -> None:
        """The server dies, and comes back with nothing."""
        self.server.kill()
        shutil.rmtree(self.server._data)
        self.server.start()

    def restored(self) -> list[int]:
        """How many objects each restore told Redis."""
        return [seen.objects for seen in self.told if isinstance(seen, ObjectsRestored)]

    def unrestored(self) -> int:
        return sum(isinstance(seen, ObjectsUnrestored) for seen in self.told)

    async def keys(self) -> set[str]:
        """Objects in Redis, without the common part of their names."""
        return {key.partition(":object:")[2] for key in await self.redis.keys("*:object:*")}


async def ask(objects: Objects, object_id: str, account_id: str = "default", provider: str = PROVIDER) -> str | None:
    """The setting, None, or the kind of the refusal."""
    try:
        return await objects.owner(account_id, provider, object_id)
    except Refusal as refusal:
        return refusal.kind if refusal.retry_after else "without retry-after"


def make_object_event(object_id: str, setting_id: str, ago_seconds: float = 0, **over: Any) -> Event:
    """A call that made an object."""
    admitted_us = int((time.time() - ago_seconds) * 1e6)
    fields: dict[str, Any] = {
        "admitted_at": admitted_us, "ended_at": admitted_us + 1_000, "endpoint": ENDPOINT, "provider": PROVIDER,
        "upstream_response_id": object_id, "setting_id": setting_id,
    }  # fmt: skip
    return make_event(**(fields | over))


async def ship(proxy: asyncpg.Connection, *events: Event) -> None:
    """To Postgres, as the shipper does."""
    await proxy.execute("SELECT ingest_events($1::jsonb)", event_encoder.encode(events).decode())
