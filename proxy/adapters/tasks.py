"""The only place that creates tasks: keeps a reference, names it, reports its failure, drains at shutdown."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from proxy.observations import BugFound
from proxy.ports import Observer

T = TypeVar("T")


class Tasks:
    """The background tasks of one worker."""

    def __init__(self, observe: Observer) -> None:
        self._observe = observe
        self._running: set[asyncio.Task[Any]] = set()

    def __len__(self) -> int:
        return len(self._running)

    def spawn(self, coroutine: Coroutine[Any, Any, T], name: str) -> asyncio.Task[T]:
        """Run `coroutine` in the background. An exception that leaves it is observed, never lost."""
        task = asyncio.get_running_loop().create_task(coroutine, name=name)
        self._running.add(task)
        task.add_done_callback(self._finished)
        return task

    def _finished(self, task: asyncio.Task[Any]) -> None:
        self._running.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._observe(BugFound(where=task.get_name(), error=error))

    async def drain(self, seconds: float) -> None:
        """Wait at most `seconds` for all to end by themselves, then cancel the rest and wait for that."""
        if self._running:
            await asyncio.wait(set(self._running), timeout=seconds)
        rest = set(self._running)
        for task in rest:
            task.cancel()
        if rest:
            await asyncio.wait(rest, timeout=5)
