"""The users and databases of an embedded PostgreSQL: one owner that migrates, one user per plane, nobody else.

The group roles `weir_admin` and `weir_proxy` hold the rights (admin/schema.sql grants them); the users made here are
their members. Everything may be run again: passwords are set anew each time, so the files they come from are right.
"""

from collections.abc import Mapping

import asyncpg

from deploy.local.child import LaunchError
from deploy.local.postgres import Postgres

OWNER = "weir_migrate"
GROUPS = {"weir_admin_login": "weir_admin", "weir_proxy_login": "weir_proxy"}
"""The planes' users, and the role each works as."""
USERS = (OWNER, *GROUPS)
CONNECT_SECONDS = 10

# As the first migration does where it may (admin/schema.sql); ours runs as a user that may not. Belongs to a database.
_CLOSE_LARGE_OBJECTS = r"""
DO $$
DECLARE entry regprocedure;
BEGIN
    FOR entry IN
        SELECT oid FROM pg_proc
        WHERE pronamespace = 'pg_catalog'::regnamespace AND proname ~ '^(lo_|loread$|lowrite$)'
    LOOP
        EXECUTE format('REVOKE EXECUTE ON FUNCTION %s FROM PUBLIC', entry);
    END LOOP;
END $$
"""


async def connect_superuser(server: Postgres, database: str = "postgres") -> asyncpg.Connection:
    """A connection that may do everything. Raises LaunchError when the data belongs to another password."""
    try:
        return await asyncpg.connect(
            host=server.host,
            port=server.port,
            user=server.username,
            password=server.password,
            database=database,
            timeout=CONNECT_SECONDS,
        )
    except asyncpg.InvalidPasswordError:
        raise LaunchError("the embedded PostgreSQL refuses the password in passwords/postgres") from None
    except (OSError, TimeoutError, asyncpg.PostgresError) as error:
        raise LaunchError(f"the embedded PostgreSQL does not answer: {error}") from None


async def provide_users(connection: asyncpg.Connection, passwords: Mapping[str, str]) -> None:
    """Make the groups and users that are missing and give each user its password."""
    await connection.execute("SET log_min_error_statement = panic")  # a statement with a password is never logged
    known = {row["rolname"] for row in await connection.fetch("SELECT rolname FROM pg_roles")}
    for group in GROUPS.values():
        if group not in known:
            await connection.execute(f"CREATE ROLE {group} NOLOGIN")
    for user in USERS:
        if user not in known:
            await connection.execute(f"CREATE ROLE {user} LOGIN")
        password = passwords[user].replace("'", "''")
        rights = "CREATEROLE" if user == OWNER else "NOCREATEROLE"
        await connection.execute(f"ALTER ROLE {user} LOGIN {rights} PASSWORD '{password}'")
    for user, group in GROUPS.items():
        await connection.execute(f"GRANT {group} TO {user}")


async def provide_database(
    server: Postgres, connection: asyncpg.Connection, name: str, template: str = "template0"
) -> None:
    """Make the database when missing: the owner's, closed to everybody but our users, large objects to them too."""
    if not await connection.fetchval("SELECT true FROM pg_database WHERE datname = $1", name):
        await connection.execute(f"CREATE DATABASE {name} OWNER {OWNER} TEMPLATE {template}")
    await connection.execute(f"REVOKE ALL ON DATABASE {name} FROM PUBLIC")
    await connection.execute(f"GRANT CONNECT ON DATABASE {name} TO {', '.join(USERS)}")
    inside = await connect_superuser(server, name)
    try:
        await inside.execute(_CLOSE_LARGE_OBJECTS)
    finally:
        await inside.close()
