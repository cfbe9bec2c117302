"""What the admin plane does besides answering: reach PostgreSQL, migrate, keep partitions ahead, bury tombstones."""

import asyncio

import asyncpg
import structlog

from admin.database import DB, admin_connect_options, fault_of
from admin.errors import problem_of
from admin.metrics import Metrics
from admin.migrate import MigrationError, migrate, needs_migration
from admin.tables import Key
from shared.settings import Settings

PARTITIONS_AHEAD = 12
"""Months."""

TOMBSTONE_DAYS = 30
ROUND_SECONDS = 24 * 3600
AFTER_FAILURE_SECONDS = 300
_FIRST_WAIT, _LONGEST_WAIT = 0.5, 5.0
_log = structlog.get_logger()

DATABASE_ERRORS = (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError, MigrationError)


async def _connect(settings: Settings) -> None:
    if await needs_migration(settings):
        await migrate(settings)
    await DB.open(admin_connect_options(settings), settings.postgresql_write_time_out)


async def keep_up(settings: Settings, metrics: Metrics, reached: asyncio.Event) -> None:
    """Runs for the life of the plane. `reached` is set after the first try, whatever came of it."""
    wait = _FIRST_WAIT
    while not DB.is_open:
        try:
            await _connect(settings)
        except DATABASE_ERRORS as error:
            # A database's own message may quote what it was given; the system's and TLS's do not.
            reason = str(error) if isinstance(error, OSError) else ""
            DB.fault = fault_of(error)
            _log.warning("postgresql not reached", error=DB.fault, detail=problem_of(error).detail, reason=reason)
            reached.set()
            await asyncio.sleep(wait)
            wait = min(wait * 2, _LONGEST_WAIT)
    metrics.database_up.set(1)
    _log.info("postgresql reached", database=settings.postgresql_db_name)
    reached.set()
    while True:
        was_done = await tidy()
        await asyncio.sleep(ROUND_SECONDS if was_done else AFTER_FAILURE_SECONDS)


async def tidy() -> bool:
    """One round: partitions made a year ahead, tombstones dropped that no proxy needs. False: to be tried again."""
    try:
        async with DB.write():
            made = await Key.raw("SELECT ensure_event_partitions({}) AS made", PARTITIONS_AHEAD)
            await Key.raw("DELETE FROM tombstones WHERE deleted_at < now() - make_interval(days => {})", TOMBSTONE_DAYS)
    except DATABASE_ERRORS as error:
        _log.warning("upkeep failed", error=type(error).__name__)
        return False
    if made[0]["made"]:
        _log.info("event partitions made", partitions=made[0]["made"])
    return True
