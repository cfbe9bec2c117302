"""How the proxy connects: as its role, with limits, to the first host that serves."""

import asyncio
import time
from pathlib import Path

import pytest

from proxy.adapters.postgres import POSTGRES_ERRORS, connect, connect_options, describe, open_pool
from shared.settings import load
from tests.servers import Database


def options_for(database: Database, tmp_path: Path, **over: str) -> dict[str, object]:
    settings = load({**database.settings_environ("proxy"), **over}, tmp_path)
    return connect_options(settings, "test", 2)


async def test_a_connection_works_as_the_proxys_role_and_says_what_it_is_for(
    database: Database, tmp_path: Path
) -> None:
    """An operator reads it in pg_stat_activity; every time limit is known to the server."""
    connection = await connect(options_for(database, tmp_path))
    try:
        row = await connection.fetchrow(
            "SELECT current_user, session_user, current_setting('application_name'), current_setting('TimeZone'),"
            " current_setting('statement_timeout'), current_setting('idle_in_transaction_session_timeout')"
        )
        assert row is not None
        assert tuple(row) == ("weir_proxy", "weir_proxy_login", "weir-proxy test", "UTC", "2s", "1min")
    finally:
        connection.terminate()


async def test_hosts_are_tried_in_order(database: Database, tmp_path: Path) -> None:
    """One that is away does not matter while another serves."""
    options = options_for(database, tmp_path, POSTGRESQL_HOSTS=f"{tmp_path / 'nobody'},{database.host}")
    connection = await connect(options)
    assert await connection.fetchval("SELECT 1") == 1
    connection.terminate()


@pytest.mark.parametrize(
    "over",
    [
        pytest.param({"POSTGRESQL_HOSTS": "/nowhere"}, id="no socket"),
        pytest.param({"POSTGRESQL_HOSTS": "127.0.0.1", "POSTGRESQL_PORT": "1"}, id="nobody listens"),
        pytest.param({"POSTGRESQL_PASSWORD": "hunter2-wrong"}, id="wrong password"),
        pytest.param({"POSTGRESQL_DB_NAME": "nothing"}, id="no such database"),
    ],
)
async def test_what_goes_wrong_is_one_of_the_known_errors_without_a_secret(
    database: Database, tmp_path: Path, over: dict[str, str]
) -> None:
    """So a caller can tell "not now" from a bug, and may log it."""
    options = options_for(database, tmp_path, **over)
    with pytest.raises(POSTGRES_ERRORS) as caught:
        await connect(options)

    assert str(options["password"]) not in describe(caught.value)
    assert "\n" not in describe(caught.value)


async def test_no_command_takes_longer_than_it_may(database: Database, tmp_path: Path) -> None:
    """Neither at the server nor here."""
    options = {**options_for(database, tmp_path), "command_timeout": 0.2}
    connection = await connect(options)
    began = time.monotonic()
    with pytest.raises(POSTGRES_ERRORS):
        await connection.fetchval("SELECT pg_sleep(5)")
    connection.terminate()
    assert time.monotonic() - began < 2


async def test_a_pool_opens_while_postgres_is_away(database: Database, tmp_path: Path) -> None:
    """It connects on first use; that may fail."""
    away = await open_pool(options_for(database, tmp_path, POSTGRESQL_HOSTS="/nowhere"), 2)
    with pytest.raises(POSTGRES_ERRORS):
        async with away.acquire():
            pass
    away.terminate()

    pool = await open_pool(options_for(database, tmp_path), 2)

    async def ask() -> int:
        async with pool.acquire() as connection:
            return await connection.fetchval("SELECT 1")

    assert await asyncio.gather(*(ask() for _ in range(5))) == [1] * 5
    pool.terminate()
