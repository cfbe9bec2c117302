"""What each plane's role may do in the database, by trying."""

from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest
import pytest_asyncio

from admin.migrate import migrate
from shared.settings import load
from tests.servers import Database, PostgresServer, connect_superuser

TABLES = (
    "provider_settings",
    "keys",
    "limits",
    "prices",
    "tombstones",
    "events",
    "events_default",
    "spend_hours",
    "spend_carried",
    "audit_log",
    "migration",
)
VIEWS = ("proxy_keys", "proxy_settings", "proxy_prices", "proxy_charges", "proxy_objects", "admin_keys")
READABLE = {
    "proxy": {
        "proxy_keys",
        "proxy_settings",
        "proxy_prices",
        "proxy_charges",
        "proxy_objects",
        "tombstones",
        "spend_hours",
        "spend_carried",
    },
    "admin": {*TABLES, "admin_keys"} - {"events_default"},
}
WRITABLE = {
    "proxy": set[tuple[str, str]](),
    "admin": {
        (verb, table)
        for verb in ("INSERT", "UPDATE", "DELETE")
        for table in ("provider_settings", "keys", "limits", "prices", "tombstones")
    }
    | {("INSERT", "audit_log")},
}
# Each would do something for a role that may, yet none of them finds a row or passes a constraint.
ATTEMPTS = {
    "INSERT": "INSERT INTO {table} ({column}) SELECT NULL::{type} WHERE false",
    "UPDATE": "UPDATE {table} SET {column} = {column} WHERE false",
    "DELETE": "DELETE FROM {table} WHERE false",
    "TRUNCATE": "TRUNCATE {table}",
}
DDL = (
    "CREATE TABLE mine (id int)",
    "CREATE TEMPORARY TABLE mine (id int)",
    "CREATE SCHEMA mine",
    "CREATE FUNCTION mine() RETURNS int LANGUAGE sql AS 'SELECT 1'",
    "CREATE VIEW mine AS SELECT 1",
    "CREATE TYPE mine AS (id int)",
    "CREATE ROLE mine",
    "DROP EXTENSION plpgsql",
    "ALTER TABLE keys ADD COLUMN mine int",
    "ALTER TABLE keys DISABLE TRIGGER ALL",
    "ALTER TABLE events DETACH PARTITION events_default",
    "DROP TABLE events_default",
    "DROP VIEW proxy_keys",
    "CREATE INDEX mine ON keys (name)",
    "CREATE OR REPLACE FUNCTION ingest_events(batch jsonb) RETURNS integer LANGUAGE sql AS 'SELECT 1'",
    "CREATE TRIGGER mine BEFORE UPDATE ON keys FOR EACH ROW EXECUTE FUNCTION stamp_change()",
    "ALTER TABLE keys OWNER TO weir_proxy",
    "GRANT weir_admin TO weir_proxy",
    "COPY keys TO '/tmp/mine'",
    "COPY tombstones FROM PROGRAM 'echo'",
    "SELECT pg_read_file('/etc/passwd')",
    "SELECT lo_create(0)",
    "SELECT lo_creat(-1)",
    "SELECT lo_from_bytea(0, 'mine')",
    "SELECT lo_import('/etc/passwd')",
    "SELECT lo_export(0, '/tmp/mine')",
    "SELECT lo_put(0, 0, 'mine')",
    "SELECT lo_get(0)",
    "SELECT lo_open(0, 131072)",
    "SELECT lowrite(0, 'mine')",
    "SELECT lo_truncate(0, 0)",
    "SELECT lo_unlink(0)",
    "ALTER ROLE weir_admin SUPERUSER",
    "SET ROLE weir_migrate",
    "SET session_replication_role = replica",
)


@pytest_asyncio.fixture(scope="module", loop_scope="session", params=["proxy", "admin"])
async def role(request: pytest.FixtureRequest, database: Database) -> AsyncIterator[tuple[str, asyncpg.Connection]]:
    connection = await asyncpg.connect(**getattr(database, request.param))
    yield request.param, connection
    await connection.close()


Role = tuple[str, asyncpg.Connection]


async def is_allowed(connection: asyncpg.Connection, statement: str) -> bool:
    transaction = connection.transaction()
    await transaction.start()
    try:
        await connection.execute(statement)
    except asyncpg.InsufficientPrivilegeError:
        return False
    finally:
        await transaction.rollback()
    return True


async def test_every_relation_is_named_here(owner: asyncpg.Connection) -> None:
    """A new table cannot slip past these tests."""
    rows = await owner.fetch(
        "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p', 'v', 'm')"
        " AND relname !~ '^events_[0-9]{4}_[0-9]{2}$'"
    )

    assert {row["relname"] for row in rows} == {*TABLES, *VIEWS}


@pytest.mark.parametrize("relation", TABLES + VIEWS)
async def test_reading(role: Role, relation: str) -> None:
    """The proxy sees its views and the spend, never a digest's table, a secret's table or an event."""
    name, connection = role

    assert await is_allowed(connection, f"SELECT * FROM {relation} LIMIT 1") is (relation in READABLE[name])


@pytest.mark.parametrize("verb", ATTEMPTS)
async def test_writing(role: Role, owner: asyncpg.Connection, verb: str) -> None:
    """Every table and view, every verb: only what is listed above."""
    name, connection = role
    for table in TABLES + VIEWS:
        column = await owner.fetchrow(
            "SELECT column_name AS name, udt_name AS type FROM information_schema.columns WHERE table_name = $1"
            " AND is_identity = 'NO' ORDER BY is_updatable DESC, ordinal_position LIMIT 1",
            table,
        )
        statement = ATTEMPTS[verb].format(table=table, column=column["name"], type=column["type"])
        try:
            allowed = await is_allowed(connection, statement)
        except (
            asyncpg.ObjectNotInPrerequisiteStateError,
            asyncpg.WrongObjectTypeError,
            asyncpg.FeatureNotSupportedError,
        ):
            allowed = False  # a view that cannot be written by anybody
        assert allowed is ((verb, table) in WRITABLE[name]), statement


@pytest.mark.parametrize("statement", DDL)
async def test_defining(role: Role, statement: str) -> None:
    """Neither role makes, changes or drops anything, nor reaches files or other roles."""
    _, connection = role

    assert not await is_allowed(connection, statement)


async def test_executing(role: Role) -> None:
    """The proxy ingests, the admin plane makes partitions, and not the other way round."""
    name, connection = role

    assert await is_allowed(connection, "SELECT ingest_events('[]')") is (name == "proxy")
    assert await is_allowed(connection, "SELECT ensure_event_partitions(0)") is (name == "admin")


LARGE_OBJECTS = (
    "SELECT count(*) FROM pg_proc WHERE (proname LIKE 'lo\\_%' OR proname IN ('loread', 'lowrite'))"
    " AND pronamespace = 'pg_catalog'::regnamespace AND has_function_privilege('weir_proxy', oid, 'EXECUTE')"
)


async def test_no_function_of_large_objects_is_left(owner: asyncpg.Connection) -> None:
    """Whatever this PostgreSQL has of them."""
    assert await owner.fetchval(LARGE_OBJECTS) == 0


@pytest.mark.parametrize("migrator", ["superuser", "owner"])
async def test_a_migration_closes_large_objects_where_it_may(postgres: PostgresServer, migrator: str) -> None:
    """On a server that nobody prepared: a superuser closes them, another user migrates and leaves them."""
    database = await postgres.create_database()
    superuser = await connect_superuser(postgres, database.name)
    try:
        await superuser.execute("GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA pg_catalog TO PUBLIC")
        before = await superuser.fetchval(LARGE_OBJECTS)
        environ = database.settings_environ("admin")
        if migrator == "superuser":
            environ |= {"WEIR_MIGRATE_USERNAME": postgres.username, "WEIR_MIGRATE_PASSWORD": postgres.password}

        await migrate(load(environ, Path(database.host)))

        assert before > 0
        assert await superuser.fetchval(LARGE_OBJECTS) == (0 if migrator == "superuser" else before)
    finally:
        await superuser.close()


async def test_what_is_privileged_searches_no_foreign_schema(owner: asyncpg.Connection) -> None:
    """Every SECURITY DEFINER function names its search path, temporary objects last, and is closed to PUBLIC."""
    rows = await owner.fetch(
        "SELECT proname, proconfig, proacl::text AS acl FROM pg_proc"
        " WHERE pronamespace = 'public'::regnamespace AND prosecdef"
    )

    assert {row["proname"] for row in rows} == {"ingest_events", "ensure_event_partitions"}
    for row in rows:
        assert "search_path=pg_catalog, public, pg_temp" in row["proconfig"]
        assert "{=X" not in row["acl"]
        assert ",=X" not in row["acl"]


async def test_a_stolen_proxy_cannot_read_a_digest_or_a_secret_in_clear(database: Database) -> None:
    """What its views show of a setting is sealed, and of a key is a peppered digest: neither is a credential."""
    connection = await asyncpg.connect(**database.proxy)
    columns = [
        row[0]
        for row in await connection.fetch(
            "SELECT column_name::text FROM information_schema.columns"
            " WHERE table_name IN ('proxy_keys', 'proxy_settings')"
        )
    ]
    await connection.close()

    assert {"digest", "sealed"} <= set(columns)
    assert not {"mask", "key", "apikey", "digest_version"} & set(columns)
