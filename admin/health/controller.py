"""Health: is the process there, and apart from that, can it work."""

import asyncio
from typing import Any

import asyncpg
from litestar import Controller, Request, Response, get

from admin.answers import answer
from admin.database import DB, fault_of
from admin.errors import Problem, unavailable
from admin.health.schemas import HealthAnswer
from admin.migrate import is_migrated

READY_SECONDS = 2


class HealthController(Controller):
    """What probes ask, without the admin key."""

    path = "/api/health"

    @get()
    async def alive(self, request: Request[Any, Any, Any]) -> Response[bytes]:
        """The process serves; nothing else is looked at."""
        return answer(HealthAnswer("ok"))

    @get("/ready")
    async def ready(self, request: Request[Any, Any, Any]) -> Response[bytes]:
        """PostgreSQL answers and has every migration. Raises Problem (503)."""
        if not DB.is_open:
            why = f" ({DB.fault})" if DB.fault else ""
            raise unavailable(f"PostgreSQL was not reached yet{why}; Weir keeps trying")
        try:
            async with asyncio.timeout(READY_SECONDS):
                migrated = await is_migrated()
        except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            raise unavailable(f"PostgreSQL does not answer ({fault_of(error)})") from None
        if not migrated:
            raise Problem(503, "not-migrated", "the schema is not up to date", "run `python -m admin migrate`")
        return answer(HealthAnswer("ready"))
