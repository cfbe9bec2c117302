"""ChargeSource on PostgreSQL: whole hours from the rollup, the rest of an hour from the charges themselves.

Reads only what weir_proxy may: proxy_keys, spend_hours, spend_carried, proxy_charges.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

from proxy.adapters.limiter.charges import ChargesUnavailableError, ChargeView, Spend
from proxy.adapters.postgres import POSTGRES_ERRORS, Connection, Pool, describe
from shared.records import Limit, limits_decoder

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_ACQUIRE_SECONDS = 2
_BATCH = 2_000
# An attempt that ended lately began at most so long ago; only partitions of that time are read.
_LONGEST_ATTEMPT = timedelta(hours=2)

_LIMITS = """
SELECT id, limits FROM proxy_keys
WHERE account_id = $1 AND ($2::text[] IS NULL OR id = ANY ($2))
"""
_LIFETIME = """
SELECT key_id, sum(nano)::bigint FROM (
    SELECT key_id, charged_cost_nano AS nano FROM spend_hours
    WHERE account_id = $1 AND ($2::text[] IS NULL OR key_id = ANY ($2))
    UNION ALL
    SELECT key_id, charged_cost_nano FROM spend_carried
    WHERE account_id = $1 AND ($2::text[] IS NULL OR key_id = ANY ($2))
) AS parts GROUP BY key_id
"""
_ACTIVE = "SELECT DISTINCT key_id FROM spend_hours WHERE account_id = $1 AND hour >= date_trunc('hour', $2, 'UTC')"
_SINCE = """
SELECT coalesce(whole.requests, 0) + coalesce(part.requests, 0), coalesce(whole.nano, 0) + coalesce(part.nano, 0)
FROM unnest($1::text[], $2::timestamptz[]) WITH ORDINALITY AS asked (key_id, since, n)
CROSS JOIN LATERAL (
    SELECT date_trunc('hour', since + interval '1 hour' - interval '1 microsecond', 'UTC') AS hour
) AS next
LEFT JOIN LATERAL (
    SELECT sum(s.requests)::bigint AS requests, sum(s.charged_cost_nano)::bigint AS nano
    FROM spend_hours AS s WHERE s.key_id = asked.key_id AND s.hour >= next.hour
) AS whole ON true
LEFT JOIN LATERAL (
    SELECT count(*) FILTER (WHERE c.is_final) AS requests, sum(c.charged_cost_nano)::bigint AS nano
    FROM proxy_charges AS c
    WHERE c.key_id = asked.key_id AND c.admitted_at >= since AND c.admitted_at < next.hour
) AS part ON true
ORDER BY n
"""
_RECENT = """
SELECT id, coalesce(charged_cost_nano, 0) FROM proxy_charges
WHERE account_id = $1 AND admitted_at >= $2 AND ended_at >= $3
"""


def _moment(unix_ms: int) -> datetime:
    return _EPOCH + timedelta(milliseconds=unix_ms)


class PostgresCharges:
    """ChargeSource on the proxy's pool."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    @asynccontextmanager
    async def view(self, account_id: str) -> AsyncGenerator[ChargeView]:
        """See ChargeSource."""
        try:
            async with self._pool.acquire(timeout=_ACQUIRE_SECONDS) as connection:
                transaction = connection.transaction(isolation="repeatable_read", readonly=True)
                await transaction.start()
                await connection.fetchval("SELECT 1 FROM spend_carried LIMIT 1")  # this takes the snapshot
                try:
                    yield _View(connection, account_id)
                    await transaction.commit()
                except BaseException:
                    connection.terminate()
                    raise
        except POSTGRES_ERRORS as error:
            raise ChargesUnavailableError(describe(error)) from error


class _View:
    def __init__(self, connection: Connection, account_id: str) -> None:
        self._connection = connection
        self._account_id = account_id

    async def limits(self, key_ids: Sequence[str] | None) -> dict[str, tuple[Limit, ...]]:
        rows = await self._connection.fetch(_LIMITS, self._account_id, key_ids)
        return {key_id: limits_decoder.decode(limits) for key_id, limits in rows}

    async def lifetime(self, key_ids: Sequence[str] | None) -> dict[str, int]:
        rows = await self._connection.fetch(_LIFETIME, self._account_id, key_ids)
        return {key_id: int(nano) for key_id, nano in rows}

    async def since(self, asked: Sequence[tuple[str, int]]) -> list[Spend]:
        if not asked:
            return []
        oldest = _moment(min(since_ms for _, since_ms in asked))
        active = {row[0] for row in await self._connection.fetch(_ACTIVE, self._account_id, oldest)}
        found = [Spend(0, 0)] * len(asked)
        places = [place for place, (key_id, _) in enumerate(asked) if key_id in active]
        for start in range(0, len(places), _BATCH):
            part = places[start : start + _BATCH]
            keys = [asked[place][0] for place in part]
            moments = [_moment(asked[place][1]) for place in part]
            rows = await self._connection.fetch(_SINCE, keys, moments)
            for place, (requests, nano) in zip(part, rows, strict=True):
                found[place] = Spend(int(requests), int(nano))
        return found

    async def recent(self, since_ms: int) -> AsyncIterator[list[tuple[str, int]]]:
        since = _moment(since_ms)
        cursor = await self._connection.cursor(_RECENT, self._account_id, since - _LONGEST_ATTEMPT, since)
        while rows := await cursor.fetch(_BATCH):
            yield [(attempt_id, int(nano)) for attempt_id, nano in rows]
