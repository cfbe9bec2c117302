"""The only place of the admin plane that creates tasks: keeps a reference, names it, tells its failure."""

import asyncio
from collections.abc import Awaitable
from typing import Any, TypeVar

import structlog

T = TypeVar("T")
_log = structlog.get_logger()


class Background:
    """The background tasks of one app."""

    def __init__(self) -> None:
        self._running: set[asyncio.Task[Any]] = set()

    def spawn(self, coroutine: Awaitable[T], name: str) -> asyncio.Task[T]:
        """Run `coroutine` in the background. An exception that nobody awaits is logged, never lost."""
        task = asyncio.get_running_loop().create_task(_awaited(coroutine), name=name)
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return task

    def spawn_forever(self, coroutine: Awaitable[None], name: str) -> None:
        """The same for what should never end by itself."""
        self.spawn(coroutine, name).add_done_callback(_tell)

    async def cancel(self, seconds: float) -> None:
        """Cancel all and wait at most `seconds` for them to end."""
        rest = set(self._running)
        for task in rest:
            task.cancel()
        if rest:
            await asyncio.wait(rest, timeout=seconds)


async def _awaited(awaitable: Awaitable[T]) -> T:
    return await awaitable


def _tell(task: "asyncio.Task[None]") -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        _log.error("background task died", task=task.get_name(), exc_info=error)
