"""A view of the keys that PostgreSQL has not confirmed for SNAPSHOT_MAX_AGE is no longer served from."""

import asyncio
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.e2e.stack import Stack
from tests.fakes.upstream import FakeUpstream
from tests.servers import PostgresServer

MAX_AGE_SECONDS = 3


@pytest.fixture
def own_postgres() -> Iterator[PostgresServer]:
    """A PostgreSQL that this test may end."""
    with tempfile.TemporaryDirectory(prefix="weir-", dir="/tmp") as folder:
        server = PostgresServer(Path(folder))
        server.start()
        yield server
        server.stop()


@pytest.fixture
async def own_stack(
    own_postgres: PostgresServer, valkey: Any, upstream: FakeUpstream, tmp_path: Path
) -> AsyncIterator[Stack]:
    database = await own_postgres.create_database(migrated=True)
    redis = valkey.fresh()
    environ = {"SNAPSHOT_MAX_AGE": f"{MAX_AGE_SECONDS}s", "IN_MEMORY_DB_UPDATE_INTERVAL": "200ms"}
    try:
        async with Stack(
            database, {"REDIS_HOSTS": str(redis.socket_path)}, upstream.url, tmp_path, environ=environ
        ) as stack:
            yield stack
    finally:
        redis.stop()


async def until_status(stack: Stack, key: str, wanted: int, seconds: float) -> tuple[dict[str, str], bytes]:
    """Call until the answer has this status."""
    deadline = asyncio.get_running_loop().time() + seconds
    while True:
        status, headers, body = await stack.chat(key)
        if status == wanted:
            return headers, body
        assert status in (200, 503)
        assert asyncio.get_running_loop().time() < deadline, f"still {status}"
        await asyncio.sleep(0.1)


async def test_a_view_that_is_too_old_fails_closed(
    own_stack: Stack, own_postgres: PostgresServer, upstream: FakeUpstream
) -> None:
    """Served from until then, 503 after it, though nothing else is wrong; served again once PostgreSQL is back."""
    key = (await own_stack.create_key(await own_stack.create_setting()))["key"]
    assert (await own_stack.chat(key))[0] == 200

    own_postgres.kill()
    assert (await own_stack.chat(key))[0] == 200
    headers, body = await until_status(own_stack, key, 503, MAX_AGE_SECONDS + 5)
    assert headers["retry-after"] == "1"
    assert msgspec.json.decode(body)["error"]["message"] == "[Weir] the gateway has no current view of its keys"
    arrived = len(upstream.calls)
    assert {(await own_stack.chat(key))[0] for _ in range(5)} == {503}
    assert len(upstream.calls) == arrived
    for path, status in (("/health/ready", 503), ("/health", 200)):
        async with own_stack.http.get(own_stack.proxy_url + path) as answer:
            assert answer.status == status

    own_postgres.start()
    await until_status(own_stack, key, 200, 20)
    async with own_stack.http.get(f"{own_stack.proxy_url}/health/ready") as answer:
        assert answer.status == 200
