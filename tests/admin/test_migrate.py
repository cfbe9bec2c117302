"""Migrations: twice, at once, by whom, and never by halves."""

import asyncio
import os
import sys
from pathlib import Path

import asyncpg
import pytest

from admin.database import DB, admin_connect_options, connect
from admin.migrate import known_migrations, migrate, needs_migration
from shared.settings import load
from tests.servers import Database, PostgresServer, clean_environ, connect_superuser


async def relations(database: Database) -> set[str]:
    connection = await asyncpg.connect(**database.owner)
    rows = await connection.fetch("SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace")
    await connection.close()
    return {row["relname"] for row in rows}


async def run_command(environ: dict[str, str], folder: Path) -> tuple[int, str]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "admin",
        "migrate",
        env={**clean_environ(), **environ},
        cwd=folder,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    return process.returncode or 0, output.decode()


async def test_two_processes_at_once_migrate_once(postgres: PostgresServer, tmp_path: Path) -> None:
    """Both succeed and say nothing; each migration is recorded once; a third changes nothing."""
    database = await postgres.create_database()
    environ = database.settings_environ("admin")

    assert await asyncio.gather(*(run_command(environ, tmp_path) for _ in range(2))) == [(0, ""), (0, "")]
    assert await run_command(environ, tmp_path) == (0, "")

    connection = await asyncpg.connect(**database.owner)
    assert await connection.fetchval("SELECT count(*) FROM migration") == len(known_migrations())
    await connection.close()
    for kwargs in (database.admin, database.proxy):
        await (await asyncpg.connect(**kwargs)).close()


async def test_two_tasks_and_two_databases_at_once(postgres: PostgresServer) -> None:
    """Roles belong to the cluster, the lock to a database: neither trips over the other."""
    databases = [await postgres.create_database() for _ in range(2)]
    settings = [load(database.settings_environ("admin")) for database in databases]
    path = list(sys.path)

    await asyncio.gather(*(migrate(one) for one in settings * 2))

    assert sys.path == path
    for database in databases:
        assert {"keys", "events", "audit_log"} <= await relations(database)


async def test_failed_migration_leaves_nothing(postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """All of it is one transaction."""
    database = await postgres.create_database()
    settings = load(database.settings_environ("admin"))
    original = DB.run_script

    async def broken(sql: str) -> None:
        await original(sql)
        await original("SELECT no_such_function()")

    monkeypatch.setattr(DB, "run_script", broken)
    with pytest.raises(asyncpg.UndefinedFunctionError):
        await migrate(settings)
    assert await relations(database) == set()

    monkeypatch.undo()
    await migrate(settings)
    assert "keys" in await relations(database)


async def test_one_user_alone_can_be_everything(postgres: PostgresServer) -> None:
    """A user that may create roles migrates, then works as both planes; its password needs no escaping."""
    database = await postgres.create_database()
    superuser = await connect_superuser(postgres)
    password = "p/@:%#?&\" ü'x"
    await superuser.execute("DROP ROLE IF EXISTS weir_alone")
    await superuser.execute(
        f"CREATE ROLE weir_alone LOGIN CREATEROLE PASSWORD '{password.replace(chr(39), chr(39) * 2)}'"
    )
    await superuser.execute(f"ALTER DATABASE {database.name} OWNER TO weir_alone")
    # What whoever creates a role has of it: from 16 on the right to grant it, and no more.
    rest = ", INHERIT FALSE, SET FALSE" if superuser.get_server_version().major >= 16 else ""
    await superuser.execute(f"GRANT weir_admin, weir_proxy TO weir_alone WITH ADMIN OPTION{rest}")
    environ = {
        "POSTGRESQL_HOSTS": database.host,
        "POSTGRESQL_PORT": str(database.port),
        "POSTGRESQL_DB_NAME": database.name,
        "POSTGRESQL_USERNAME": "weir_alone",
        "POSTGRESQL_PASSWORD": password,
    }
    settings = load(environ)
    try:
        await migrate(settings)

        assert not await needs_migration(settings)
        for role in ("weir_admin", "weir_proxy"):
            options = {**admin_connect_options(settings), "server_settings": {"role": role}}
            connection = await asyncpg.connect(**options)
            assert await connection.fetchval("SELECT current_user") == role
            await connection.close()
    finally:
        await superuser.execute(f"DROP DATABASE {database.name} WITH (FORCE)")
        await superuser.execute("DROP ROLE weir_alone")
        await superuser.close()


async def test_plane_needs_no_owner_once_migrated(postgres: PostgresServer) -> None:
    """Its own user sees whether everything is there; without the owner's password it can migrate nothing."""
    fresh = await postgres.create_database()
    environ = fresh.settings_environ("admin")
    without_owner = load({name: text for name, text in environ.items() if not name.startswith("WEIR_MIGRATE")})

    assert await needs_migration(without_owner)
    with pytest.raises(asyncpg.PostgresError):
        await migrate(without_owner)

    await migrate(load(environ))
    assert not await needs_migration(without_owner)


async def test_command_says_in_one_line_why_it_failed(postgres: PostgresServer, tmp_path: Path) -> None:
    """A wrong password, a database that is not there, a wrong setting: one line, not 0, nothing secret."""
    environ = (await postgres.create_database()).settings_environ("admin")
    wrong = [
        (environ | {"WEIR_MIGRATE_PASSWORD": "not-this-one"}, 1),
        (environ | {"POSTGRESQL_DB_NAME": "no_such_database"}, 1),
        (environ | {"POSTGRESQL_PORT": "seven"}, 2),
    ]
    for case, code in wrong:
        returned, output = await run_command(case, tmp_path)
        assert returned == code
        assert output.startswith("weir: ")
        assert output.count("\n") == 1, output
        assert "not-this-one" not in output


def test_hosts_and_tls_reach_the_driver() -> None:
    """Several hosts are tried for the one that takes writes; nothing passes through a DSN."""
    settings = load({"POSTGRESQL_HOSTS": "a, b:6000", "POSTGRESQL_SSL_MODE": "prefer", "POSTGRESQL_PASSWORD": "x:y@z"})
    options = admin_connect_options(settings)

    assert (options["host"], options["port"]) == (["a", "b"], [5432, 6000])
    assert options["target_session_attrs"] == "read-write"
    assert options["ssl"] == "prefer"
    assert options["password"] == "x:y@z"
    assert options["server_settings"]["role"] == "weir_admin"
    assert options["server_settings"]["statement_timeout"] == "120000"
    assert "dsn" not in options


async def test_first_host_that_answers_is_taken(database: Database) -> None:
    """A dead host in front costs nothing but its refusal."""
    environ = database.settings_environ("admin") | {"POSTGRESQL_HOSTS": f"{os.devnull},{database.host}"}
    connection = await connect(**admin_connect_options(load(environ)))
    assert await connection.fetchval("SELECT current_user") == "weir_admin"
    await connection.close()
