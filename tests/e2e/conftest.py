"""The stack of a test module: real processes, real servers, a scripted upstream in this process."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.stack import Stack
from tests.fakes.upstream import FakeUpstream


@pytest.fixture(scope="module")
async def upstream() -> AsyncIterator[FakeUpstream]:
    async with FakeUpstream() as server:
        yield server


@pytest.fixture(autouse=True)
def quiet_upstream(request: pytest.FixtureRequest) -> None:
    """Every test starts with an upstream that remembers nothing."""
    if "upstream" in request.fixturenames:
        request.getfixturevalue("upstream").reset()


@pytest.fixture(scope="module")
async def stack(
    database: Any, valkey: Any, upstream: FakeUpstream, tmp_path_factory: pytest.TempPathFactory,
    request: pytest.FixtureRequest,
) -> AsyncIterator[Stack]:  # fmt: skip
    """Both planes; a module may set WORKERS."""
    folder: Path = tmp_path_factory.mktemp("stack")
    workers = getattr(request.module, "WORKERS", 1)
    redis = valkey.fresh()
    try:
        async with Stack(
            database, {"REDIS_HOSTS": str(redis.socket_path)}, upstream.url, folder, workers=workers
        ) as running:
            yield running
    finally:
        redis.stop()
