"""What Postgres knows of upstream objects: the port that Redis is restored from, and the same on asyncpg.

Events say which setting an object was made with. Reads only what weir_proxy may: proxy_objects.
"""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import NamedTuple, Protocol

from proxy.adapters.postgres import POSTGRES_ERRORS, Pool, describe

# Telling Redis of a page takes the loop 3 ms.
PAGE = 500
_ACQUIRE_SECONDS = 2
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LAST_ID = "ffffffff-ffff-ffff-ffff-ffffffffffff"

# The newest first: they are asked for most. Each page is a query of its own, so that no transaction lasts. The index
# events_objects has all that it asks for.
_PAGE = """
SELECT o.provider, o.object_id, o.setting_id, o.admitted_at, o.id::text FROM proxy_objects AS o
WHERE o.account_id = $1 AND o.admitted_at >= $2 AND (o.admitted_at, o.id) < ($3, $4::text::uuid)
ORDER BY o.admitted_at DESC, o.id DESC LIMIT $5
"""


class ObjectsUnavailableError(Exception):
    """Postgres cannot be asked now."""


class KnownObject(NamedTuple):
    """An object that a call has made."""

    provider: str
    object_id: str
    setting_id: str
    made_ms: int


class ObjectSource(Protocol):
    """Where facts about objects come from."""

    def pages(self, account_id: str, since_ms: int) -> AsyncIterator[list[KnownObject]]:
        """All objects that the account's calls have made since then. Raises ObjectsUnavailableError."""
        ...


class PostgresObjects:
    """ObjectSource on the proxy's pool."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def pages(self, account_id: str, since_ms: int) -> AsyncIterator[list[KnownObject]]:
        """See ObjectSource."""
        since = _EPOCH + timedelta(milliseconds=since_ms)
        before, last_id = datetime.max.replace(tzinfo=UTC), _LAST_ID
        try:
            while True:
                async with self._pool.acquire(timeout=_ACQUIRE_SECONDS) as connection:
                    rows = await connection.fetch(_PAGE, account_id, since, before, last_id, PAGE)
                yield [
                    KnownObject(provider, object_id, setting_id, (admitted_at - _EPOCH) // timedelta(milliseconds=1))
                    for provider, object_id, setting_id, admitted_at, _ in rows
                ]
                if len(rows) < PAGE:
                    return
                before, last_id = rows[-1][3], rows[-1][4]
        except POSTGRES_ERRORS as error:
            raise ObjectsUnavailableError(describe(error)) from error
