"""A poller on a real database, what it told, and an operator who changes rows by SQL behind its back."""

import asyncio
import hashlib
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any, TypeVar

import asyncpg
import msgspec
import pytest

from proxy.adapters.clock import SystemClock
from proxy.adapters.snapshots import PolledSnapshots
from proxy.adapters.tasks import Tasks
from proxy.core.compiled import CompiledKey
from proxy.observations import BugFound, Observation, SnapshotSwapped
from shared.secrets import Secrets, parse_master_key
from tests.servers import MASTER_KEY, Database, PostgresServer

SECRETS = Secrets(parse_master_key(MASTER_KEY))
Told = TypeVar("Told")


def digest_of(name: str) -> bytes:
    """The digest of the key that these tests call `name`."""
    return hashlib.sha256(name.encode()).digest()


class Poller:
    """PolledSnapshots with a clock, an observer and tasks of its own."""

    def __init__(self, options: dict[str, Any], interval_seconds: float = 0.05) -> None:
        self.observations: list[Observation] = []
        self.swapped_at: list[float] = []
        self.tasks = Tasks(self.observe)
        self.snapshots = PolledSnapshots(
            {"timeout": 1, "command_timeout": 1, **options},
            SECRETS,
            SystemClock(),
            self.observe,
            self.tasks,
            interval_seconds,
        )

    def observe(self, observation: Observation) -> None:
        """Keep what is told, and when the view was swapped."""
        self.observations.append(observation)
        if isinstance(observation, SnapshotSwapped):
            self.swapped_at.append(time.monotonic())

    def find(self, name: str) -> CompiledKey | None:
        """The key as a request would see it now."""
        return self.snapshots.current.find_key((digest_of(name),))

    def get(self, name: str) -> CompiledKey:
        """The key, which must be there."""
        key = self.find(name)
        assert key is not None, f"no key {name}"
        return key

    def told(self, kind: type[Told]) -> list[Told]:
        """Every observation of one kind."""
        return [one for one in self.observations if isinstance(one, kind)]

    async def polled(self) -> None:
        """Return when a poll that began after this call has succeeded."""
        now = time.monotonic()
        await until(lambda: time.monotonic() - self.snapshots.age_seconds() > now)

    async def stop(self) -> None:
        """Stop, and see that no task is left."""
        await self.snapshots.stop()
        assert len(self.tasks) == 0


async def until(is_true: Callable[[], object], seconds: float = 10) -> None:
    """Wait for something to come true."""
    deadline = time.monotonic() + seconds
    while not is_true():
        assert time.monotonic() < deadline, "it never came true"
        await asyncio.sleep(0.002)


class Operator:
    """One connection of the admin plane's role."""

    def __init__(self, connection: "asyncpg.Connection[Any]") -> None:
        self.connection = connection
        self.execute = connection.execute

    async def add_setting(self, *, url: str = "", sealed: bytes | None = None) -> str:
        """A provider setting. Its id."""
        setting_id = str(uuid.uuid4())
        sealed = SECRETS.seal(b'{"apikey": "sk-upstream"}', setting_id) if sealed is None else sealed
        await self.execute(
            "INSERT INTO provider_settings (id, provider, sealed, params) VALUES ($1, 'openai', $2, $3)",
            uuid.UUID(setting_id),
            sealed,
            msgspec.json.encode({"url": url} if url else {}).decode(),
        )
        return setting_id

    async def add_key(self, name: str, setting_id: str = "", key_id: str = "") -> str:
        """A key without limits. Its id."""
        key_id = key_id or str(uuid.uuid4())
        await self.execute(
            "INSERT INTO keys (id, name, digest, digest_version, mask, setting_ids) VALUES ($1, $2, $3, 'v', 'm', $4)",
            uuid.UUID(key_id),
            name,
            digest_of(name),
            [uuid.UUID(setting_id)] if setting_id else [],
        )
        return key_id

    async def add_limit(self, key_id: str, resource: str, window: str, amount: int) -> None:
        """A limit of a key."""
        await self.execute(
            "INSERT INTO limits (scope, scope_id, resource, window_unit, amount) VALUES ('key', $1, $2, $3, $4)",
            uuid.UUID(key_id),
            resource,
            window,
            amount,
        )

    async def revoke(self, name: str) -> None:
        """Revoke a key."""
        await self.execute("UPDATE keys SET is_revoked = true WHERE digest = $1", digest_of(name))

    async def delete(self, name: str) -> None:
        """Delete a key."""
        await self.execute("DELETE FROM keys WHERE digest = $1", digest_of(name))


NEVER = 3600.0
"""A poll interval that leaves everything to NOTIFY."""
Connect = Callable[..., Awaitable[Operator]]
Start = Callable[..., Awaitable[Poller]]


@pytest.fixture
async def fresh(postgres: PostgresServer) -> Database:
    """A database of this test's own."""
    return await postgres.create_database(migrated=True)


@pytest.fixture
async def connect(fresh: Database) -> AsyncIterator[Connect]:
    """Makes operators, closed at the end."""
    async with AsyncExitStack() as stack:

        async def connect(options: dict[str, Any] | None = None) -> Operator:
            connection = await asyncpg.connect(**(options or fresh.admin))
            stack.push_async_callback(connection.close)
            return Operator(connection)

        yield connect


@pytest.fixture
async def operator(connect: Connect) -> Operator:
    return await connect()


@pytest.fixture
async def start(fresh: Database) -> AsyncIterator[Start]:
    """Starts pollers, stopped at the end; none of them may have met a bug."""
    started: list[Poller] = []

    async def start(interval_seconds: float = 0.05, options: dict[str, Any] | None = None) -> Poller:
        poller = Poller(options or fresh.proxy, interval_seconds)
        started.append(poller)
        assert await poller.snapshots.start(10)
        return poller

    yield start
    for poller in started:
        await poller.stop()
        assert poller.told(BugFound) == []
