"""A list of hosts of PostgreSQL of which the first does not serve: dead, hanging, or a standby."""

import asyncio
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from proxy.adapters.postgres import CONNECT_SECONDS, POSTGRES_ERRORS, connect, connect_options, describe, open_pool
from shared.host_order import NoHostServes
from shared.settings import load
from tests.dead_hosts import closed_port, full_port, mute_host
from tests.servers import Database, PostgresServer
from tests.tls_front import Authority, TlsFront

STARTED = "SELECT pg_postmaster_start_time()"


def options_of(database: Database, *hosts: str, **over: str) -> dict[str, Any]:
    environ = database.settings_environ("proxy") | {"POSTGRESQL_HOSTS": ",".join(hosts), **over}
    return connect_options(load(environ, Path("/nowhere")), "test", 10)


async def answer(options: dict[str, Any], question: str = "SELECT 1") -> Any:
    connection = await connect(options)
    try:
        return await connection.fetchval(question)
    finally:
        connection.terminate()


async def test_a_first_host_that_refuses_costs_nothing(database: Database) -> None:
    """Each host has a port of its own."""
    assert await answer(options_of(database, f"127.0.0.1:{closed_port()}", database.host)) == 1


async def test_a_first_host_that_hangs_is_waited_for_once(database: Database) -> None:
    """Not by every connection: the one that served is asked first from then on."""
    async with mute_host() as mute:
        options = options_of(database, f"127.0.0.1:{mute.port}", database.host)
        for _ in range(5):
            assert await answer(options) == 1
        assert mute.visits == 1


@pytest.mark.parametrize("mode", ["disable", "prefer", "require"])
async def test_a_first_host_that_hangs_up_is_passed_over(database: Database, mode: str) -> None:
    """In the middle of the greeting, whichever it is."""
    async with mute_host(hangs_up=True) as rude:
        hosts = (f"127.0.0.1:{rude.port}", database.host)
        assert await answer(options_of(database, *hosts, POSTGRESQL_SSL_MODE=mode)) == 1
        assert rude.visits >= 1


async def test_so_is_one_behind_a_silent_firewall(database: Database) -> None:
    """It takes no connection at all."""
    with full_port() as port:
        assert await answer(options_of(database, f"127.0.0.1:{port}", database.host)) == 1


async def test_a_pool_learns_it_too_even_from_a_caller_that_gave_up(database: Database) -> None:
    """The limiter waits for two seconds at most; what it learnt helps the next."""
    async with mute_host() as mute:
        pool = await open_pool(options_of(database, f"127.0.0.1:{mute.port}", database.host), 2)
        with pytest.raises(POSTGRES_ERRORS):
            async with pool.acquire(timeout=0.3):
                pass
        async with pool.acquire(timeout=CONNECT_SECONDS) as connection:
            assert await connection.fetchval("SELECT 1") == 1
        assert mute.visits == 1
        pool.terminate()


async def test_a_first_host_with_a_certificate_that_is_not_its_own_is_passed_over(
    database: Database, tmp_path: Path
) -> None:
    """As if it were dead; nothing was said to it."""
    right, wrong = Authority(tmp_path), Authority(tmp_path, "wrong")
    behind = f"{database.host}/.s.PGSQL.{database.port}"
    async with (
        TlsFront("postgresql", behind, wrong.issue()) as false,
        TlsFront("postgresql", behind, right.issue()) as true,
    ):
        tls = {"POSTGRESQL_SSL_MODE": "verify-full", "POSTGRESQL_SSL_ROOT_CERT": str(right.file)}
        hosts = (f"localhost:{false.port}", f"localhost:{true.port}")
        assert await answer(options_of(database, *hosts, **tls)) == 1
        assert (false.encrypted, true.encrypted) == (0, 1)


async def test_a_wrong_password_is_told_as_one(database: Database) -> None:
    """Whatever hosts come after; the password is not shown."""
    async with mute_host() as mute:
        options = options_of(database, database.host, f"127.0.0.1:{mute.port}", POSTGRESQL_PASSWORD="hunter2-wrong")
        with pytest.raises(asyncpg.InvalidPasswordError) as caught:
            await connect(options)
        assert mute.visits == 0
        assert "hunter2" not in describe(caught.value)


async def test_when_all_are_dead_the_error_names_each(database: Database) -> None:
    """It is one of the known errors, so "not now" to every caller."""
    first, second = closed_port(), closed_port()
    options = options_of(database, f"127.0.0.1:{first}", f"127.0.0.1:{second}", "/nowhere")
    with pytest.raises(NoHostServes) as caught:
        await connect(options)
    assert isinstance(caught.value, POSTGRES_ERRORS)
    for part in (f"127.0.0.1:{first}: ConnectionRefusedError", f"127.0.0.1:{second}: ", "/nowhere: FileNotFoundError"):
        assert part in describe(caught.value)


class Server(PostgresServer):
    """A server that also counts as started when it answers as a standby."""

    def _is_ready(self, pid: int) -> bool:
        told = self.data / "postmaster.pid"
        lines = told.read_text().split("\n") if told.exists() else []
        return len(lines) > 7 and lines[0].strip() == str(pid) and lines[7].strip() in ("ready", "standby")

    @property
    def data(self) -> Path:
        return Path(self.host).parent / "postgres"


@pytest.fixture
def folders() -> Iterator[tuple[Path, Path]]:
    """Of two servers; short enough for sockets."""
    made = tuple(Path(tempfile.mkdtemp(prefix="weir-test-", dir="/tmp")) for _ in range(2))
    yield made[0], made[1]
    for folder in made:
        shutil.rmtree(folder, ignore_errors=True)


async def test_a_standby_is_passed_over_until_it_is_promoted(folders: tuple[Path, Path]) -> None:
    """Of a pair, the connection goes to the one that takes writes: before a failover, and after it."""
    primary = Server(folders[0])
    primary.start()
    try:
        database = await primary.create_database(migrated=True)
    finally:
        primary.stop()
    standby = Server(folders[1])
    await asyncio.to_thread(shutil.copytree, primary.data, standby.data)
    (standby.data / "standby.signal").touch()
    owner = primary.data.stat()
    for path in (standby.data, *standby.data.rglob("*")):
        os.chown(path, owner.st_uid, owner.st_gid)
    try:
        for server in (primary, standby):
            await asyncio.to_thread(server.start)
        options = options_of(database, standby.host, primary.host)
        superusers = [
            await asyncpg.connect(host=server.host, user=server.username, password=primary.password)
            for server in (primary, standby)
        ]
        primary_started, standby_started = [await superuser.fetchval(STARTED) for superuser in superusers]
        assert await answer(options, STARTED) == primary_started

        superusers[0].terminate()
        await asyncio.to_thread(primary.stop)
        with pytest.raises(NoHostServes, match="TargetServerAttributeNotMatched"):
            await connect(options)
        assert await superusers[1].fetchval("SELECT pg_promote()")
        superusers[1].terminate()
        assert await answer(options, STARTED) == standby_started
    finally:
        standby.stop()
        primary.stop()
