"""The shipper: brings events from the journal to Postgres, in batches, for as long as it takes (design §7).

The journal on disk is its queue, so a Postgres that is away for hours costs no memory. A batch that Postgres refuses
for what is in it is halved until the one event is found; that one is tried in a tamer form, then put aside in a file
and told. Nothing is ever dropped in silence.
"""

import asyncio
import os
from pathlib import Path
from time import perf_counter

import msgspec

from proxy.adapters.event_store import BatchRefused, EventStore, StoreUnavailable
from proxy.adapters.journal import DiskJournal
from proxy.adapters.tasks import Tasks
from proxy.core.journal import LONGEST_TEXT, tame
from proxy.observations import EventsLost, EventsShipped, ShippingFailed
from proxy.ports import Observer
from shared.events import event_decoder, event_encoder

INTERVAL_SECONDS = 0.2
FIRST_BACKOFF_SECONDS = 0.1
LONGEST_BACKOFF_SECONDS = 5.0
REJECTED_FILE = "rejected.jsonl"


class Shipper:
    """Ships one worker's events; its heirs' work goes through `deliver` too."""

    def __init__(self, journal: DiskJournal, store: EventStore, observe: Observer, tasks: Tasks) -> None:
        self._journal = journal
        self._store = store
        self._observe = observe
        self._tasks = tasks
        self._rejected = journal.root / REJECTED_FILE
        self._ending = asyncio.Event()
        self._shipping: asyncio.Task[None] | None = None
        self._keeping: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to ship, and to keep the journal's house."""
        self._shipping = self._tasks.spawn(self._ship_for_life(), "ship events")
        self._keeping = self._tasks.spawn(self._journal.keep(), "keep the journal")

    async def close_down(self, seconds: float) -> None:
        """Ship what is left and wait for its settles, at most `seconds`; then give up the journal's folder.

        What is not done by then stays on disk for an heir. Call it when nothing is appended any more, and while the
        limiter's store is still told of settles.
        """
        deadline = asyncio.get_running_loop().time() + seconds
        self._journal.flush_refusals()
        self._ending.set()
        if self._shipping is not None:
            await asyncio.wait({self._shipping}, timeout=seconds)
            self._shipping.cancel()
            await asyncio.wait({self._shipping})
        while self._journal.unsettled and asyncio.get_running_loop().time() < deadline:  # noqa: ASYNC110 - a counter
            await asyncio.sleep(0.02)
        self._journal.stop_keeping()
        if self._keeping is not None:
            await asyncio.wait({self._keeping})
        await self._journal.release()
        self._store.close()

    async def _ship_for_life(self) -> None:
        pause = INTERVAL_SECONDS
        while True:
            try:
                await self.ship_waiting()
                pause = INTERVAL_SECONDS
            except StoreUnavailable as error:
                self._observe(ShippingFailed(error=str(error), waiting_events=self._journal.depth))
                pause = FIRST_BACKOFF_SECONDS if pause == INTERVAL_SECONDS else min(pause * 2, LONGEST_BACKOFF_SECONDS)
            if self._ending.is_set():
                if not self._journal.depth:
                    return
                await asyncio.sleep(min(pause, 0.5))
                continue
            try:
                async with asyncio.timeout(pause):
                    await self._ending.wait()
            except TimeoutError:
                continue

    async def ship_waiting(self) -> None:
        """Ship until nothing waits. Raises StoreUnavailable; what was not shipped then waits on."""
        backlog = self._journal.backlog
        while batch := backlog.next_batch():
            try:
                await self.deliver(batch.documents)
            except BaseException:
                backlog.give_back(batch)
                raise
            backlog.acknowledge(batch)

    async def deliver(self, documents: list[bytes]) -> None:
        """Bring these events to Postgres, or put aside those that it will never take. Raises StoreUnavailable."""
        started = perf_counter()
        fresh = await self._ingest(documents)
        self._observe(EventsShipped(events=len(documents), fresh=fresh, seconds=perf_counter() - started))

    async def _ingest(self, documents: list[bytes]) -> int:
        try:
            return await self._store.ingest(documents)
        except BatchRefused as refused:
            if len(documents) == 1:
                return await self._ingest_tamed(documents[0], refused)
        middle = len(documents) // 2
        return await self._ingest(documents[:middle]) + await self._ingest(documents[middle:])

    async def _ingest_tamed(self, document: bytes, refused: BatchRefused) -> int:
        """One event that Postgres refused: what it costs counts more than the end of a long text."""
        try:
            event = event_decoder.decode(document)
            return await self._store.ingest([event_encoder.encode(tame(event, LONGEST_TEXT))])
        except (BatchRefused, msgspec.MsgspecError):
            kept = _put_aside(self._rejected, document)
            where = f"it is in {REJECTED_FILE}" if kept else f"{REJECTED_FILE} could not be written either"
            self._journal.lost += 1
            self._observe(EventsLost(events=1, why=f"Postgres refuses an event ({refused}); {where}"))
            return 0


def _put_aside(path: Path, document: bytes) -> bool:
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            return os.write(descriptor, document + b"\n") == len(document) + 1
        finally:
            os.close(descriptor)
    except OSError:
        return False
