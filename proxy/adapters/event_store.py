"""The one door through which the proxy writes to Postgres: `ingest_events` (design §7).

One connection of its own, made again after any failure, so that a Postgres that hangs costs a timeout and nothing
else. It tells a batch that Postgres will never take from a Postgres that is not there.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

from proxy.adapters.postgres import POSTGRES_ERRORS, Connection, connect, describe
from proxy.core.journal import join_documents
from shared.events import Event

T = TypeVar("T")

_REFUSING_CLASSES = ("22", "23", "54")
"""SQLSTATE classes that speak of the data: data exception, integrity violation, program limit exceeded."""

_CHARGES = """
SELECT c.id, c.charged_cost_nano
FROM unnest($1::bigint[], $2::text[]) AS wanted(admitted_at, id)
JOIN proxy_charges c ON c.id = wanted.id
    AND c.admitted_at = 'epoch'::timestamptz + wanted.admitted_at * interval '1 microsecond'
"""


class BatchRefused(Exception):  # noqa: N818 - an answer, not a fault
    """Postgres will never take this batch as it is. The message names no content."""


class StoreUnavailable(Exception):  # noqa: N818 - theirs, not ours
    """Postgres did not answer, or not as it should; the same batch may well do later."""


class EventStore:
    """Writes batches of events."""

    def __init__(self, options: dict[str, Any]) -> None:
        """`options`: see postgres.connect_options; its time limit bounds every batch, here and at the server."""
        self._options = options
        self._connection: Connection | None = None
        self._lock = asyncio.Lock()

    async def ingest(self, documents: Sequence[bytes]) -> int:
        """Write the events; how many were new. Repeating it changes nothing.

        Raises BatchRefused, StoreUnavailable.
        """
        batch = join_documents(documents).decode()
        return await self._run(lambda connection: connection.fetchval("SELECT ingest_events($1::jsonb)", batch))

    async def charges(self, events: Sequence[Event]) -> dict[str, int | None]:
        """What Postgres says these events were charged, by id, as far as it has them. Raises StoreUnavailable."""
        times, ids = [event.admitted_at for event in events], [event.id for event in events]
        try:
            rows = await self._run(lambda connection: connection.fetch(_CHARGES, times, ids))
        except BatchRefused as error:
            raise StoreUnavailable(str(error)) from error
        return {row[0]: row[1] for row in rows}

    async def _run(self, query: Callable[[Connection], Awaitable[T]]) -> T:
        async with self._lock:
            try:
                if self._connection is None or self._connection.is_closed():
                    self._connection = await connect(self._options)
                return await query(self._connection)
            except POSTGRES_ERRORS as error:
                sqlstate: str = getattr(error, "sqlstate", None) or ""
                if sqlstate[:2] in _REFUSING_CLASSES:
                    # Not the server's own words: they quote the data.
                    raise BatchRefused(f"{sqlstate} {type(error).__name__}") from error
                self.close()
                raise StoreUnavailable(describe(error)) from error
            except BaseException:
                self.close()
                raise

    def close(self) -> None:
        """Hang up; the next batch connects again."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.terminate()
