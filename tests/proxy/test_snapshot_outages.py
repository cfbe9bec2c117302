"""Postgres away, frozen, restarted, restored or replaced: the last good view stays until a better one is certain."""

import asyncio
import math
import os
import shutil
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from deploy.local.roles import connect_superuser
from proxy.observations import BugFound, SnapshotFailed, SnapshotSwapped
from tests.journal_rig import frozen
from tests.servers import Database, PostgresServer
from tests.snapshot_rig import Operator, Poller, digest_of, until

NEVER = 3600.0
MakeServer = Callable[[], PostgresServer]
Start = Callable[..., Poller]


class Server(PostgresServer):
    """A server that also counts as started when it answers as a standby."""

    def _is_ready(self, pid: int) -> bool:
        lines = (
            (self.data / "postmaster.pid").read_text().split("\n") if (self.data / "postmaster.pid").exists() else []
        )
        return len(lines) > 7 and lines[0].strip() == str(pid) and lines[7].strip() in ("ready", "standby")

    @property
    def data(self) -> Path:
        """Its data folder."""
        return Path(self.host).parent / "postgres"


@pytest.fixture
def make_server() -> Iterator[MakeServer]:
    """Makes private servers, for what no shared one may suffer."""
    made: list[Server] = []

    def make() -> Server:
        made.append(Server(Path(tempfile.mkdtemp(prefix="weir-test-", dir="/tmp"))))
        made[-1].start()
        return made[-1]

    yield make
    for server in made:
        server.stop()
        shutil.rmtree(server.data.parent, ignore_errors=True)


@pytest.fixture
async def start() -> AsyncIterator[Start]:
    """Makes pollers, stopped at the end; an outage is never a bug."""
    made: list[Poller] = []

    def make(options: dict[str, Any], interval_seconds: float = 0.05) -> Poller:
        made.append(Poller(options, interval_seconds))
        return made[-1]

    yield make
    for poller in made:
        await poller.stop()
        assert poller.told(BugFound) == []


async def change(options: dict[str, Any], work: Callable[[Operator], Awaitable[Any]]) -> Any:
    """Do something as an operator with a connection of its own. Even a crash of these fast servers keeps it."""
    connection = await asyncpg.connect(**options)
    await connection.execute("SET synchronous_commit = on")
    try:
        return await work(Operator(connection))
    finally:
        await connection.close()


async def test_a_proxy_that_starts_before_postgres_waits_for_it(make_server: MakeServer, start: Start) -> None:
    """It says so, goes on, and has its view as soon as Postgres is there."""
    server = make_server()
    database = await server.create_database(migrated=True)
    await change(database.admin, lambda operator: operator.add_key("k"))
    server.stop()
    poller = start(database.proxy)

    assert await poller.snapshots.start(0.3) is False
    assert poller.snapshots.current.keys == 0
    assert poller.snapshots.age_seconds() == math.inf
    assert poller.told(SnapshotFailed)[0].age_seconds == math.inf
    assert "Error" in poller.told(SnapshotFailed)[0].error

    await asyncio.to_thread(server.start)
    await until(lambda: poller.find("k"))
    assert poller.snapshots.age_seconds() < 5


async def test_a_restart_keeps_the_view_and_what_happens_then_arrives(make_server: MakeServer, start: Start) -> None:
    """Down is never "no keys"; after it, only what changed is read."""
    server = make_server()
    database = await server.create_database(migrated=True)
    await change(database.admin, lambda operator: operator.add_key("k"))
    await change(database.admin, lambda operator: operator.add_key("other"))
    poller = start(database.proxy)
    assert await poller.snapshots.start(10)

    await asyncio.to_thread(server.stop)
    await until(lambda: len(poller.told(SnapshotFailed)) > 3)
    assert poller.find("k")
    assert poller.snapshots.current.keys == 2
    assert poller.snapshots.age_seconds() > 0

    await asyncio.to_thread(server.start)
    await change(database.admin, lambda operator: operator.revoke("k"))
    changed = time.monotonic()
    await until(lambda: poller.get("k").is_revoked)
    assert time.monotonic() - changed < 2
    assert [one.is_full for one in poller.told(SnapshotSwapped)] == [True, False]


async def test_a_crash_keeps_the_view(make_server: MakeServer, start: Start) -> None:
    """kill -9 of the server, recovery, and on it goes."""
    server = make_server()
    database = await server.create_database(migrated=True)
    await change(database.admin, lambda operator: operator.add_key("k"))
    poller = start(database.proxy)
    assert await poller.snapshots.start(10)

    await asyncio.to_thread(server.kill)
    await until(lambda: poller.told(SnapshotFailed))
    await asyncio.to_thread(server.start)
    await poller.polled()
    assert poller.find("k")
    await change(database.admin, lambda operator: operator.delete("k"))
    await until(lambda: poller.find("k") is None)


async def test_a_frozen_postgres_delays_and_recovers(make_server: MakeServer, start: Start) -> None:
    """It answers nothing and closes nothing: each poll gives up in time, the view stays, its age tells."""
    server = make_server()
    database = await server.create_database(migrated=True)
    await change(database.admin, lambda operator: operator.add_key("k"))
    poller = start({**database.proxy, "timeout": 0.5, "command_timeout": 0.5})
    assert await poller.snapshots.start(10)

    with frozen(server.child.pid):
        began = time.monotonic()
        await until(lambda: len(poller.told(SnapshotFailed)) >= 2)
        assert time.monotonic() - began < 5
        assert poller.find("k")
        assert poller.snapshots.age_seconds() > 0.9
    await poller.polled()
    await change(database.admin, lambda operator: operator.revoke("k"))
    await until(lambda: poller.get("k").is_revoked, 3)


async def test_stopping_does_not_wait_for_a_frozen_postgres(make_server: MakeServer, start: Start) -> None:
    """A worker's shutdown has other things to wait for."""
    server = make_server()
    database = await server.create_database(migrated=True)
    poller = start({**database.proxy, "command_timeout": 30})
    assert await poller.snapshots.start(10)

    with frozen(server.child.pid):
        await asyncio.sleep(0.2)
        began = time.monotonic()
        await poller.stop()
        assert time.monotonic() - began < 1


async def test_a_lost_connection_is_made_again_and_listens_again(postgres: PostgresServer, start: Start) -> None:
    """With no poll due for an hour, what changed meanwhile is seen, and NOTIFY wakes as before."""
    database = await postgres.create_database(migrated=True)
    poller = start(database.proxy, NEVER)
    assert await poller.snapshots.start(10)
    superuser = await connect_superuser(postgres, database.name)
    try:
        for name in ("first", "second"):
            ended = await superuser.fetchval(
                "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
                " WHERE datname = current_database() AND usename = 'weir_proxy_login'"
            )
            assert ended == 1
            await poller.polled()
            await change(database.admin, lambda operator, name=name: operator.add_key(name))
            await until(lambda name=name: poller.find(name))
    finally:
        await superuser.close()
    assert [one.is_full for one in poller.told(SnapshotSwapped)].count(True) == 1


async def test_the_history_is_named_as_the_proxys_own_role(database: Database, start: Start) -> None:
    """An ordinary role may ask for all that names it: cluster, timeline, database, view."""
    poller = start(database.proxy)
    assert await poller.snapshots.start(10)
    horizon = poller.snapshots.horizon
    assert horizon is not None

    assert len(horizon.source) == 4
    assert all(horizon.source)
    assert horizon.source[1] == "00000001"


async def test_a_host_that_does_not_tell_all_of_it_is_polled_all_the_same(
    postgres: PostgresServer, start: Start
) -> None:
    """Hosted servers may not let ordinary users ask for the cluster; the rest must do."""
    database = await postgres.create_database(migrated=True)
    superuser = await connect_superuser(postgres, database.name)
    await superuser.execute("REVOKE EXECUTE ON FUNCTION pg_control_system() FROM PUBLIC")
    await superuser.close()
    poller = start(database.proxy)
    assert await poller.snapshots.start(10)
    horizon = poller.snapshots.horizon
    assert horizon is not None
    assert [bool(part) for part in horizon.source] == [False, True, True, True]

    await change(database.admin, lambda operator: operator.add_key("k"))
    await until(lambda: poller.find("k"))


async def test_another_cluster_behind_the_same_address_is_read_anew(
    make_server: MakeServer, start: Start, tmp_path: Path
) -> None:
    """Its transaction ids mean something else: everything is read, and what it does not have is gone."""
    first, second = make_server(), make_server()
    second.passwords = first.passwords
    databases = [await server.create_database(migrated=True) for server in (first, second)]
    await change(databases[0].admin, lambda operator: operator.add_key("both"))
    await change(databases[0].admin, lambda operator: operator.add_key("only the first"))
    await change(databases[1].admin, lambda operator: operator.add_key("both"))
    await change(databases[1].admin, lambda operator: operator.revoke("both"))
    address = Path(tempfile.mkdtemp(prefix="weir-test-", dir="/tmp")) / "run"
    try:
        address.symlink_to(first.host)
        poller = start({**databases[0].proxy, "host": str(address)})
        assert await poller.snapshots.start(10)
        assert poller.find("only the first")

        address.unlink()
        address.symlink_to(second.host)
        await asyncio.to_thread(first.stop)
        await until(lambda: poller.get("both").is_revoked)
        assert poller.find("only the first") is None
        assert [one.is_full for one in poller.told(SnapshotSwapped)] == [True, True]
    finally:
        shutil.rmtree(address.parent)


async def test_a_database_made_anew_under_its_name_is_read_anew(postgres: PostgresServer, start: Start) -> None:
    """The same cluster, so the ids go on; the rows are others."""
    database = await postgres.create_database(migrated=True)
    await change(database.admin, lambda operator: operator.add_key("before"))
    poller = start(database.proxy)
    assert await poller.snapshots.start(10)
    superuser = await connect_superuser(postgres)
    await superuser.execute(f"DROP DATABASE {database.name} WITH (FORCE)")
    await until(lambda: poller.told(SnapshotFailed))
    assert poller.find("before")
    await superuser.execute(f"CREATE DATABASE {database.name} TEMPLATE weir_template")
    await superuser.execute(f"GRANT CONNECT ON DATABASE {database.name} TO PUBLIC")
    await superuser.close()

    await until(lambda: poller.find("before") is None)
    await change(database.admin, lambda operator: operator.add_key("after"))
    await until(lambda: poller.find("after"))


async def test_tables_restored_in_place_are_read_anew(postgres: PostgresServer, start: Start) -> None:
    """A dump brings back rows with the old transactions they were written by: the view is a new one then."""
    database = await postgres.create_database(migrated=True)
    await change(database.admin, lambda operator: operator.add_key("k"))
    poller = start(database.proxy)
    assert await poller.snapshots.start(10)
    owner = await asyncpg.connect(**database.owner)
    async with owner.transaction():
        await owner.execute("ALTER TABLE keys DISABLE TRIGGER USER")
        await owner.execute("UPDATE keys SET digest = $1", digest_of("restored"))
        definition = await owner.fetchval("SELECT pg_get_viewdef('proxy_keys')")
        await owner.execute(f"DROP VIEW proxy_keys; CREATE VIEW proxy_keys AS {definition}")
        await owner.execute("GRANT SELECT ON proxy_keys TO weir_proxy")
        await owner.execute("ALTER TABLE keys ENABLE TRIGGER USER")
    await owner.close()

    await until(lambda: poller.find("restored"))
    assert poller.find("k") is None


async def test_a_standby_is_no_source_and_its_promotion_is_another_history(
    make_server: MakeServer, start: Start
) -> None:
    """A standby may be behind: the view stays and ages. Promoted, it may lack what was seen: everything is read."""
    server = make_server()
    database = await server.create_database(migrated=True)
    await change(database.admin, lambda operator: operator.add_key("k"))
    poller = start(database.proxy)
    assert await poller.snapshots.start(10)

    await asyncio.to_thread(server.stop)
    signal_file = Path(server.host).parent / "postgres" / "standby.signal"
    signal_file.touch()
    owner = signal_file.parent.stat()
    os.chown(signal_file, owner.st_uid, owner.st_gid)
    await asyncio.to_thread(server.start)
    await until(lambda: any("recovery" in one.error for one in poller.told(SnapshotFailed)))
    assert poller.find("k")
    assert len(poller.told(SnapshotSwapped)) == 1

    superuser = await connect_superuser(server)
    assert await superuser.fetchval("SELECT pg_promote()")
    await superuser.close()
    await until(lambda: len(poller.told(SnapshotSwapped)) == 2)
    horizon = poller.snapshots.horizon
    assert horizon is not None
    assert horizon.source[1] == "00000002"
    assert [one.is_full for one in poller.told(SnapshotSwapped)] == [True, True]
    assert poller.find("k")
