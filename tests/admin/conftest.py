"""The admin plane in process, over a real PostgreSQL: requests go through its whole ASGI app."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

import asyncpg
import httpx2
import pytest_asyncio

from admin.app import create_app
from admin.edge import Edge
from shared.settings import load
from tests.servers import Database

ADMIN_KEY = "an-admin-key-of-the-tests"
SETTINGS = "/api/provider-settings"
KEYS = "/api/key-management/keys"


@asynccontextmanager
async def running(app: Edge) -> AsyncIterator[Edge]:
    """The app between lifespan.startup and lifespan.shutdown, in the loop of the test."""
    inbox: asyncio.Queue[Any] = asyncio.Queue()
    outbox: asyncio.Queue[Any] = asyncio.Queue()
    task = asyncio.get_running_loop().create_task(
        app({"type": "lifespan", "asgi": {"version": "3.0"}, "state": {}}, inbox.get, outbox.put)  # type: ignore[arg-type]
    )
    await inbox.put({"type": "lifespan.startup"})
    assert (await outbox.get())["type"] == "lifespan.startup.complete"
    try:
        yield app
    finally:
        await inbox.put({"type": "lifespan.shutdown"})
        assert (await outbox.get())["type"] == "lifespan.shutdown.complete"
        await task


def client_of(app: Any, address: str = "127.0.0.1", **headers: str) -> httpx2.AsyncClient:
    """A client of the app, as if from `address`."""
    transport = httpx2.ASGITransport(app, client=(address, 40000))
    return httpx2.AsyncClient(transport=transport, base_url="http://weir", headers=headers)


def app_of(environ: dict[str, str], **over: str) -> Edge:
    """An app by these variables; its metrics are served nowhere."""
    return create_app(load({**environ, "PROMETHEUS_ENABLED": "false", **over}), ADMIN_KEY)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def app(database: Database) -> AsyncIterator[Edge]:
    """The admin plane over the module's database."""
    async with running(app_of(database.settings_environ("admin"))) as started:
        yield started


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def admin(app: Edge) -> AsyncIterator[httpx2.AsyncClient]:
    """A client that has the admin key."""
    async with client_of(app, **{"X-API-KEY": ADMIN_KEY}) as client:
        yield client


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def owner(database: Database) -> AsyncIterator[asyncpg.Connection]:
    """A look at the database past every role."""
    connection = await asyncpg.connect(**database.owner)
    yield connection
    await connection.close()


async def make_setting(admin: httpx2.AsyncClient, **over: Any) -> dict[str, Any]:
    """A provider setting; `over` replaces members of the body."""
    body = {"provider": "openai", "setting": {"apikey": "sk-upstream-secret"}, "name": "test", **over}
    answer = await admin.put(SETTINGS, json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def make_key(admin: httpx2.AsyncClient, **over: Any) -> dict[str, Any]:
    """A key on a setting of its own unless `over` names one."""
    if not {"settingId", "settingIds"} & set(over):
        over["settingId"] = (await make_setting(admin))["id"]
    answer = await admin.put(KEYS, json={"name": "test", "key": f"chosen-{uuid4()}", **over})
    assert answer.status_code == 200, answer.text
    return answer.json()


async def read_key(admin: httpx2.AsyncClient, key_id: str) -> dict[str, Any]:
    """The key as it is read back."""
    answer = await admin.get(KEYS, params={"keyIds": key_id})
    assert answer.status_code == 200, answer.text
    (key,) = answer.json()
    return key


def event(**over: Any) -> dict[str, Any]:
    """An event as the journal ships it; times are Unix microseconds."""
    return {
        "id": str(uuid4()),
        "request_id": str(uuid4()),
        "admitted_at": 1_800_000_000_000_000,
        "ended_at": 1_800_000_001_000_000,
        "outcome": "completed",
        "status": 200,
        **over,
    }


async def record_of(database: Database, key_id: str) -> Any:
    """The key as the proxy reads it, with the proxy's rights."""
    connection = await asyncpg.connect(**database.proxy)
    row = await connection.fetchrow("SELECT * FROM proxy_keys WHERE id = $1", key_id)
    await connection.close()
    return row
