"""Migrations: bring the schema up to date, whoever else may be trying at the same moment.

All of it is one transaction under an advisory lock: either every pending migration is there afterwards, or none. It
runs as the user that owns the schema; the planes' users never need to own anything.
"""

import asyncio
import io
import os
import sys
from contextlib import redirect_stdout

import asyncpg
from piccolo.apps.migrations.commands.forwards import run_forwards

from admin.database import ADMIN_ROLE, DB, PROXY_ROLE, admin_connect_options, connect, migrate_connect_options
from admin.piccolo_app import APP_CONFIG, MIGRATIONS
from admin.tables import Key
from shared.settings import Settings

_LOCK = 0x57656972  # "Weir": the advisory lock of migrations
_CLOSE_SECONDS = 5
_one_at_a_time = asyncio.Lock()  # inside one process: piccolo's output is redirected, which is process-wide


class MigrationError(Exception):
    """The schema could not be brought up to date; nothing was changed."""


def known_migrations() -> list[str]:
    """File names of the migrations this code brings, in order."""
    return sorted(path.stem for path in MIGRATIONS.glob("weir_*.py"))


async def _grant_membership(connection: asyncpg.Connection, role: str, user: str) -> None:
    """Let `user` work as `role`, where the migrating user may decide that; otherwise whoever made the users does."""
    # From 16 on, whoever creates a role is a member that may grant it, but not SET it, until granted once more.
    membership = "SET" if connection.get_server_version().major >= 16 else "MEMBER"
    may_work = await connection.fetchval(
        "SELECT rolsuper OR pg_has_role(rolname, $2, $3) FROM pg_roles WHERE rolname = $1", user, role, membership
    )
    if may_work or may_work is None:
        return
    try:
        async with connection.transaction():
            await connection.execute(f"GRANT {_quoted(role)} TO {_quoted(user)}")
    except (asyncpg.InsufficientPrivilegeError, asyncpg.InvalidGrantOperationError):
        return


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


async def _run_forwards() -> None:
    # Piccolo finds its engine by this variable, and tells its progress on stdout.
    os.environ["PICCOLO_CONF"] = "admin.piccolo_conf"
    told = io.StringIO()
    search_path = list(sys.path)
    try:
        with redirect_stdout(told):
            result = await run_forwards(app_name=APP_CONFIG.app_name)
    finally:
        sys.path[:] = search_path  # piccolo puts the folder of migrations in front
    if not result.success:
        raise MigrationError(result.message or told.getvalue().strip())


async def migrate(settings: Settings) -> None:
    """Bring the schema up to date. Safe to call again, and from several processes at once.

    Raises OSError, TimeoutError or asyncpg.PostgresError when the server does not answer or refuses, and
    MigrationError.
    """
    options = migrate_connect_options(settings)
    async with _one_at_a_time:
        connection = await connect(**options)
        try:
            async with DB.transaction_on(connection):
                await connection.execute("SELECT pg_advisory_xact_lock($1)", _LOCK)
                await _run_forwards()
                await connection.execute(f"GRANT SELECT ON migration TO {ADMIN_ROLE}")
            # Roles belong to the cluster: two databases that migrate at once may meet here, so it is tried again.
            for attempt in range(5):
                try:
                    async with connection.transaction():
                        await _grant_membership(connection, ADMIN_ROLE, options["user"])
                        await _grant_membership(connection, PROXY_ROLE, options["user"])
                        await _grant_membership(connection, ADMIN_ROLE, settings.postgresql_username)
                    break
                except (asyncpg.InternalServerError, asyncpg.UniqueViolationError):
                    if attempt == 4:
                        raise
                    await asyncio.sleep(0.1)
        finally:
            await connection.close(timeout=_CLOSE_SECONDS)


_COUNT = "SELECT count(*) FROM migration WHERE app_name = 'weir'"


async def is_migrated() -> bool:
    """True when every migration this code knows is in the database the plane is connected to."""
    return (await Key.raw(_COUNT))[0]["count"] >= len(known_migrations())


async def needs_migration(settings: Settings) -> bool:
    """True unless the plane's own user can work and finds every migration.

    So a plane without the schema owner's password serves a database that somebody else migrated. Raises OSError or
    TimeoutError when the server does not answer.
    """
    try:
        connection = await connect(**admin_connect_options(settings))
        try:
            return await connection.fetchval(_COUNT) < len(known_migrations())
        finally:
            await connection.close(timeout=_CLOSE_SECONDS)
    except asyncpg.CannotConnectNowError:
        raise
    except asyncpg.PostgresError:
        return True
