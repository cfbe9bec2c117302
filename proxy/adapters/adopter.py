"""The adopter: a dead worker's journal is taken over by whoever gets its lock first (design §7).

Its closes are shipped and settled again; its opens without a close are billed at prompt bound + progress. All of it
may be repeated by the next heir if this one dies half way: Postgres keeps the first event of an attempt, and Redis is
settled with what Postgres has. The folder goes when everything in it is shipped and settled.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path
from typing import TypeVar

import msgspec

from proxy.adapters.backlog import BATCH_BYTES, BATCH_EVENTS
from proxy.adapters.event_store import EventStore, StoreUnavailable
from proxy.adapters.journal import DiskJournal
from proxy.adapters.segments import bytes_in, read_blocks, remove_folder, segment_paths, sibling_folders, take_lock
from proxy.adapters.shipper import FIRST_BACKOFF_SECONDS, LONGEST_BACKOFF_SECONDS, Shipper
from proxy.adapters.tasks import Tasks
from proxy.core import journal as records
from proxy.core.holds import SettleOrder
from proxy.core.recovery import Recovery
from proxy.observations import EventsLost, JournalAdopted, ShippingFailed
from proxy.ports import Observer
from shared.events import Event, event_encoder

SCAN_SECONDS = 5.0
_MOST_UNSETTLED = 10_000
"""With more settles of an adopted journal under way, the next batch waits for them, for some seconds at most."""

Settle = Callable[[SettleOrder, int | None], None]
T = TypeVar("T")


class _Awaited(msgspec.Struct):
    unsettled: int = 0


class Adopter:
    """Looks for dead siblings at start and every few seconds."""

    def __init__(
        self,
        journal: DiskJournal,
        shipper: Shipper,
        store: EventStore,
        settle: Settle,
        observe: Observer,
        tasks: Tasks,
    ) -> None:
        self._journal = journal
        self._shipper = shipper
        self._store = store
        self._settle = settle
        self._observe = observe
        self._tasks = tasks
        self._looking: asyncio.Task[None] | None = None
        self._adopting: dict[str, asyncio.Task[None]] = {}

    def start(self) -> None:
        """Begin to look."""
        self._looking = self._tasks.spawn(self._look_for_life(), "look for dead workers")

    async def close_down(self) -> None:
        """Stop; what is not done is left to the next heir."""
        tasks = [*self._adopting.values(), *([self._looking] if self._looking else [])]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    async def _look_for_life(self) -> None:
        while True:
            try:
                self.scan()
            except OSError as error:
                self._fail(f"the journal's folder cannot be searched: {error}", 0)
            await asyncio.sleep(SCAN_SECONDS)

    def scan(self) -> None:
        """Take over every folder whose owner is dead, each in a task of its own. Raises OSError."""
        total = 0
        for folder in sibling_folders(self._journal.root, self._journal.folder.path):
            total += bytes_in(folder)
            if folder.name in self._adopting:
                continue
            lock = take_lock(folder)
            if lock is not None:
                self._begin(folder, lock)
        self._journal.other_bytes = total

    def _begin(self, folder: Path, lock: int) -> None:
        def end(_: asyncio.Task[None]) -> None:
            os.close(lock)
            del self._adopting[folder.name]

        task = self._tasks.spawn(self._adopt(folder), f"adopt {folder.name}")
        self._adopting[folder.name] = task
        task.add_done_callback(end)

    async def _adopt(self, folder: Path) -> None:
        awaited = _Awaited()
        recovered = await self._recover(folder)
        # Opens first: their holds expire within seconds, and then nothing but this stands for their money.
        for start in range(0, len(recovered), BATCH_EVENTS):
            await self._bring_recovered(recovered[start : start + BATCH_EVENTS], awaited)
        closed = 0
        async for batch in _closed_batches(folder):
            await self._bring(batch, awaited)
            await self._settle_all(batch, awaited)
            closed += len(batch)
        while awaited.unsettled:  # noqa: ASYNC110 - a counter that others lower, and nobody is in a hurry
            await asyncio.sleep(0.1)
        remove_folder(folder)
        if recovered or closed:
            self._observe(JournalAdopted(worker=folder.name, recovered=len(recovered), closed=closed))

    async def _recover(self, folder: Path) -> list[tuple[SettleOrder, Event]]:
        """Read all of it, telling what cannot be read. The events of what was under way."""
        recovery = Recovery()
        for path in segment_paths(folder):
            for block in read_blocks(path):
                for frame in block.frames:
                    try:
                        recovery.feed(frame)
                    except msgspec.MsgspecError as error:
                        self._lose(folder, 1, f"a record cannot be read: {error}")
                await asyncio.sleep(0)
                if block.rest != "none":
                    # Half a record: its writer was never told that it was written.
                    self._lose(folder, 0, f"{path.stat().st_size - block.end} bytes end {path.name} and are no record")
        return recovery.events()

    async def _bring_recovered(self, recovered: Sequence[tuple[SettleOrder, Event]], awaited: _Awaited) -> None:
        events = [event for _, event in recovered]
        batch = [
            records.Closed(event_encoder.encode(event), order, event.charged_cost_nano) for order, event in recovered
        ]
        await self._bring(batch, awaited)
        # An attempt whose event got there before (its close was never on disk) is settled with what was written.
        charges = await self._until_available(lambda: self._store.charges(events), len(events))
        batch = [
            records.Closed(b"", order, charges.get(event.id, event.charged_cost_nano)) for order, event in recovered
        ]
        await self._settle_all(batch, awaited)

    async def _bring(self, batch: list[records.Closed], awaited: _Awaited) -> None:
        """Ship the batch. Where Postgres is away it is settled at once: budgets must not wait for Postgres."""
        documents = [closed.document for closed in batch]
        try:
            await self._shipper.deliver(documents)
        except StoreUnavailable as error:
            self._fail(str(error), len(batch))
            await self._settle_all(batch, awaited)
            await self._until_available(lambda: self._shipper.deliver(documents), len(batch))

    async def _settle_all(self, batch: list[records.Closed], awaited: _Awaited) -> None:
        for _ in range(50):
            if awaited.unsettled < _MOST_UNSETTLED:
                break
            await asyncio.sleep(0.1)
        for closed in batch:
            if closed.order is not None:
                self._journal.await_settled(closed.order.attempt_id, awaited)
                self._settle(closed.order, closed.cost_nano)

    async def _until_available(self, ask: Callable[[], Awaitable[T]], waiting: int) -> T:
        pause = FIRST_BACKOFF_SECONDS
        while True:
            try:
                return await ask()
            except StoreUnavailable as error:
                self._fail(str(error), waiting)
            await asyncio.sleep(pause)
            pause = min(pause * 2, LONGEST_BACKOFF_SECONDS)

    def _fail(self, error: str, waiting: int) -> None:
        self._observe(ShippingFailed(error=error, waiting_events=waiting))

    def _lose(self, folder: Path, events: int, why: str) -> None:
        self._journal.lost += events
        self._observe(EventsLost(events=events, why=f"journal of {folder.name}: {why}"))


async def _closed_batches(folder: Path) -> AsyncIterator[list[records.Closed]]:
    batch: list[records.Closed] = []
    size = 0
    for path in segment_paths(folder):
        for block in read_blocks(path, only=records.CLOSE):
            for frame in block.frames:
                try:
                    batch.append(records.decode_close(frame.payload))
                except msgspec.MsgspecError:
                    continue  # told when it was read first
                size += len(frame.payload)
                if len(batch) >= BATCH_EVENTS or size >= BATCH_BYTES:
                    yield batch
                    batch, size = [], 0
            await asyncio.sleep(0)
    if batch:
        yield batch
