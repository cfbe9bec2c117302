"""What the admin plane does besides answering, with its own rights."""

from datetime import UTC, datetime
from typing import Any

import asyncpg
import httpx2
import msgspec
import pytest

from admin.upkeep import PARTITIONS_AHEAD, tidy
from tests.admin.conftest import event

PARTITIONS = "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'events'::regclass"


async def partitions(owner: asyncpg.Connection) -> set[str]:
    return {row[0] for row in await owner.fetch(PARTITIONS)}


def months_ahead(count: int) -> set[str]:
    now = datetime.now(UTC)
    index = now.year * 12 + now.month - 1
    return {f"events_{month // 12:04d}_{month % 12 + 1:02d}" for month in range(index, index + count + 1)}


async def test_partitions_are_kept_a_year_ahead(admin: httpx2.AsyncClient, owner: asyncpg.Connection) -> None:
    """One that is missing is made again, with every index; nothing happens when all are there."""
    expected = {*months_ahead(PARTITIONS_AHEAD), "events_default"}
    assert await partitions(owner) == expected
    missing = sorted(expected)[5]
    await owner.execute(f"DROP TABLE {missing}")

    assert await tidy()
    assert await partitions(owner) == expected
    indexes = "SELECT count(*) FROM pg_index WHERE indrelid = $1::text::regclass"
    assert await owner.fetchval(indexes, missing) == await owner.fetchval(indexes, "events_default") >= 5
    assert await tidy()
    assert await partitions(owner) == expected


async def test_a_month_that_already_has_rows_elsewhere_stays_there(
    admin: httpx2.AsyncClient, owner: asyncpg.Connection
) -> None:
    """Its partition cannot be made; the others are, and no row is lost."""
    year_month = sorted(months_ahead(PARTITIONS_AHEAD))[7]
    await owner.execute(f"DROP TABLE {year_month}")
    year, month = (int(part) for part in year_month.split("_")[1:])
    at = int(datetime(year, month, 5, tzinfo=UTC).timestamp()) * 1_000_000
    await owner.fetchval(
        "SELECT ingest_events(jsonb_build_array($1::jsonb))", str_of(event(admitted_at=at, ended_at=at))
    )
    other = sorted(months_ahead(PARTITIONS_AHEAD))[9]
    await owner.execute(f"DROP TABLE {other}")

    assert await tidy()
    assert year_month not in await partitions(owner)
    assert other in await partitions(owner)
    assert await owner.fetchval("SELECT count(*) FROM events_default") == 1


def str_of(value: Any) -> str:
    return msgspec.json.encode(value).decode()


async def test_old_tombstones_are_dropped(admin: httpx2.AsyncClient, owner: asyncpg.Connection) -> None:
    """After 30 days; by then every proxy has reloaded or is closed."""
    await owner.execute(
        "INSERT INTO tombstones (kind, id, deleted_at) VALUES ('key', 'old', now() - interval '31 days'),"
        " ('key', 'recent', now() - interval '29 days')"
    )

    assert await tidy()
    assert [row[0] for row in await owner.fetch("SELECT id FROM tombstones")] == ["recent"]


async def test_a_reader_that_blocks_is_not_queued_behind(admin: httpx2.AsyncClient, owner: asyncpg.Connection) -> None:
    """The lock is given up after 2 s and tried again later; ingestion never waits longer."""
    wanted = sorted(months_ahead(PARTITIONS_AHEAD))[3]
    await owner.execute(f"DROP TABLE {wanted}")
    async with owner.transaction():
        await owner.execute("LOCK TABLE events_default IN ACCESS SHARE MODE")
        assert not await tidy()

    assert await tidy()
    assert wanted in await partitions(owner)


@pytest.mark.parametrize("months", [-1, 121])
async def test_the_privileged_function_is_bounded(
    admin: httpx2.AsyncClient, owner: asyncpg.Connection, months: int
) -> None:
    """Whoever holds the admin role cannot make tables without end."""
    with pytest.raises(asyncpg.RaiseError):
        await owner.fetchval("SELECT ensure_event_partitions($1)", months)
