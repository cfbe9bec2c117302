"""Limiters on a Valkey of their own, in front of a real Postgres without events."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from proxy.adapters.limiter.postgres_charges import PostgresCharges
from proxy.adapters.postgres import Pool, open_pool
from tests.limiter_rig import Limiters
from tests.servers import Database, ValkeyServer


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def pool(database: Database) -> AsyncIterator[Pool]:
    """As the proxy's limiter has it."""
    pool = await open_pool(database.proxy, 3)
    yield pool
    pool.terminate()


@pytest.fixture(scope="module")
def server(valkey: ValkeyServer) -> ValkeyServer:
    """One for the tests of a module that leave it as it is."""
    return valkey.fresh()


@pytest_asyncio.fixture
async def limiters(server: ValkeyServer, pool: Pool) -> AsyncIterator[Limiters]:
    """Workers that share it."""
    limiters = Limiters(server, PostgresCharges(pool))
    yield limiters
    await limiters.close()
