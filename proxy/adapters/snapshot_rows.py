"""Reads the snapshot's rows from Postgres: one dedicated connection, one transaction per poll.

It decides which rows are asked for and in what steps; what they mean is core's. Rows are found by the transaction that
wrote them: whatever was not visible at the last horizon is new, so no order of commits hides a row, none is read twice,
and a transaction that stays open for hours costs nothing. Rows that name a transaction of the future were restored from
another cluster; a full load has them, and their ids are not compared with ours.
"""

import asyncio
from collections.abc import Callable
from typing import Any

from proxy.adapters.postgres import NOT_OFFERED, Connection, Row, connect
from proxy.core.horizon import Horizon, must_reload
from proxy.core.snapshot import Snapshot, SnapshotBuilder, shard_range
from shared.price_overrides import PriceRecord
from shared.records import KeyRecord, SettingRecord
from shared.secrets import Secrets

CHANNEL = "weir_changed"
ROWS_PER_STEP = 100
"""Rows between two turns of the loop: under 2 ms of it."""

# What names the history that transaction ids belong to. Where a hosted Postgres does not offer one, the rest must do.
# On a standby the second is an error, and so the poll fails: only a primary tells the present.
_SOURCES = (
    "SELECT system_identifier::text FROM pg_control_system()",
    "SELECT substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8)",
    "SELECT oid::text FROM pg_database WHERE datname = current_database()",
)
# Another database may have been restored in place: then the view is another one too.
_HORIZON = "SELECT to_regclass('proxy_keys')::oid::text, pg_current_snapshot()::text"

# JSON that is longer is cut, so it does not decode and the record is rejected instead of holding the loop.
_KEYS = """
    SELECT id, account_id, project_id, digest, is_revoked, expires_at_ms, limits, left(detail, 65536)
    FROM proxy_keys
"""
_SETTINGS = "SELECT id, account_id, provider, sealed, left(detail, 1048576) FROM proxy_settings"
_PRICES = "SELECT provider, model, effective_from_ms, left(entry, 65536) FROM proxy_prices"
_CHANGED = """
    WHERE changed_xid >= pg_snapshot_xmin($1::text::pg_snapshot)
      AND changed_xid < pg_snapshot_xmax(pg_current_snapshot())
      AND NOT pg_visible_in_snapshot(changed_xid, $1::text::pg_snapshot)
"""
_CHANGED_KEYS = _KEYS + _CHANGED
_CHANGED_SETTINGS = _SETTINGS + _CHANGED
_CHANGED_PRICES = _PRICES + _CHANGED
_GONE = "SELECT kind, id, digest FROM tombstones" + _CHANGED  # noqa: S608  constants of this file
_SHARD = _KEYS + "WHERE digest >= $1 AND digest < $2"

# The planner knows no statistics of the moment: an index on changed_xid or digest is always right for what is asked,
# and where everything is asked there is no index to prefer.
_PLANNER = {"enable_seqscan": "off", "plan_cache_mode": "force_custom_plan", "enable_bitmapscan": "off", "jit": "off"}


class SnapshotRows:
    """The rows of one database, read through a connection that is renewed when it failed."""

    def __init__(self, options: dict[str, Any], wake: Callable[[], None]) -> None:
        """`wake` is called when rows have changed or the connection has ended."""
        self._options = {**options, "server_settings": {**options.get("server_settings", {}), **_PLANNER}}
        self._wake = wake
        self._connection: Connection | None = None
        self._source: tuple[str, ...] = ()

    def drop(self) -> None:
        """End the connection without waiting; the next read makes another."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.terminate()

    async def read(
        self, former: Snapshot, last: Horizon | None, secrets: Secrets, shard: int | None
    ) -> tuple[Horizon, SnapshotBuilder]:
        """One consistent view: what changed since `last`, or everything where that cannot be told.

        `shard` is one to read as it really is, in the same view: what no change told of (a TRUNCATE, triggers that
        were off, rows lost in a crash) is put right when its turn comes. Raises one of POSTGRES_ERRORS; the connection
        is gone then, for a server that does not answer would not answer a ROLLBACK either.
        """
        try:
            connection = await self._connected()
            transaction = connection.transaction(isolation="repeatable_read", readonly=True)
            await transaction.start()
            horizon = await self._read_horizon(connection)
            is_full = must_reload(last, horizon)
            builder = SnapshotBuilder(former, secrets, is_full=is_full)
            if last is None or is_full:
                await _read_all(connection, builder)
            else:
                if horizon.snapshot != last.snapshot:
                    await _read_changes(connection, builder, last.snapshot)
                if shard is not None:
                    await _read_shard(connection, builder, shard)
            await transaction.commit()
        except BaseException:
            self.drop()
            raise
        return horizon, builder

    async def _connected(self) -> Connection:
        if self._connection is None or self._connection.is_closed():
            self._connection = None
            connection = await connect(self._options)
            try:
                self._source = await _read_source(connection)
                await connection.add_listener(CHANNEL, lambda *_: self._wake())
            except BaseException:
                connection.terminate()
                raise
            self._connection = connection
            connection.add_termination_listener(self._ended)
        return self._connection

    def _ended(self, connection: Connection) -> None:
        if connection is self._connection:
            self._wake()

    async def _read_horizon(self, connection: Connection) -> Horizon:
        row = await connection.fetchrow(_HORIZON)
        assert row is not None
        view_oid, snapshot = row
        return Horizon((*self._source, view_oid or ""), snapshot)


async def _read_source(connection: Connection) -> tuple[str, ...]:
    found: list[str] = []
    for query in _SOURCES:
        try:
            found.append(await connection.fetchval(query))
        except NOT_OFFERED:
            found.append("")
    return tuple(found)


async def _for_each_row(connection: Connection, put: Callable[[Row], None], query: str, *args: object) -> None:
    """Give every row to `put`, some at a time. Postgres makes the next ones while these are put."""
    cursor = await connection.cursor(query, *args)
    rows = await cursor.fetch(ROWS_PER_STEP)
    while len(rows) == ROWS_PER_STEP:
        rows, _ = await asyncio.gather(cursor.fetch(ROWS_PER_STEP), _put_rows(put, rows))
    await _put_rows(put, rows)


async def _put_rows(put: Callable[[Row], None], rows: list[Row]) -> None:
    await asyncio.sleep(0)  # a turn for the loop, which also sends what was asked meanwhile
    for row in rows:
        put(row)


async def _read_all(connection: Connection, builder: SnapshotBuilder) -> None:
    await _read_settings(connection, builder)
    await _read_prices(connection, builder)
    await _for_each_row(connection, lambda row: builder.put_key(_key_record(row)), _KEYS)


async def _read_settings(connection: Connection, builder: SnapshotBuilder) -> None:
    ids: set[str] = set()

    def put(row: Row) -> None:
        record = _setting_record(row)
        ids.add(record.id)
        builder.put_setting(record)

    await _for_each_row(connection, put, _SETTINGS)
    builder.keep_settings(ids)


async def _read_prices(connection: Connection, builder: SnapshotBuilder) -> None:
    ids: set[str] = set()

    def put(row: Row) -> None:
        record = _price_record(row)
        ids.add(record.id)
        builder.put_price(record)

    await _for_each_row(connection, put, _PRICES)
    builder.keep_prices(ids)


async def _read_changes(connection: Connection, builder: SnapshotBuilder, snapshot: str) -> None:
    # Tombstones first: what was deleted and put back commits in that order, so a row that is there outlives its own.
    def remove(row: Row) -> None:
        kind, row_id, digest = row
        if kind == "key":
            builder.remove_key(digest, row_id)
        elif kind == "provider_setting":
            builder.remove_setting(row_id)
        elif kind == "price":
            builder.remove_price(row_id)

    await _for_each_row(connection, remove, _GONE, snapshot)
    await _for_each_row(connection, lambda row: builder.put_setting(_setting_record(row)), _CHANGED_SETTINGS, snapshot)
    await _for_each_row(connection, lambda row: builder.put_price(_price_record(row)), _CHANGED_PRICES, snapshot)
    await _for_each_row(connection, lambda row: builder.put_key(_key_record(row)), _CHANGED_KEYS, snapshot)


async def _read_shard(connection: Connection, builder: SnapshotBuilder, shard: int) -> None:
    low, high = shard_range(shard)
    rows = await connection.fetch(_SHARD, low, high)
    builder.put_shard(shard, [_key_record(row) for row in rows])
    if shard == 0:
        await _read_settings(connection, builder)
        await _read_prices(connection, builder)


def _key_record(row: Row) -> KeyRecord:
    key_id, account_id, project_id, digest, is_revoked, expires_at_ms, limits, detail = row
    return KeyRecord(
        key_id, account_id, project_id, digest, is_revoked, expires_at_ms, limits.encode(), detail.encode()
    )


def _price_record(row: Row) -> PriceRecord:
    provider, model, effective_from_ms, entry = row
    return PriceRecord(provider, model, effective_from_ms, entry.encode())


def _setting_record(row: Row) -> SettingRecord:
    setting_id, account_id, provider, sealed, detail = row
    return SettingRecord(setting_id, account_id, provider, sealed, detail.encode())
