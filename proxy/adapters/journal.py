"""The journal a worker writes (ports.Journal): what outlives the process, in a locked folder of its own.

Every record is with the kernel before the call returns, so kill -9 loses nothing; a thread makes it safe from the
machine's death ten times a second. It decides when a segment may go: shipped, settled, and no attempt under way has
its `open` in it.
"""

import asyncio
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Protocol

import msgspec

from proxy.adapters.backlog import MEMORY_BYTES, Backlog
from proxy.adapters.segments import SEGMENT_BYTES, Segment, SegmentFolder
from proxy.core import journal as records
from proxy.core.holds import SettleOrder
from proxy.core.refusal_rows import RefusalRows
from proxy.observations import BugFound, EventsLost
from proxy.ports import Clock, Observer
from shared.errors import Refusal
from shared.events import Event, without_bodies

TICK_SECONDS = 0.1
PROGRESS_US = 1_000_000
_MOST_PER_TICK = 1000


class Awaited(Protocol):
    """Whatever counts settles that the limiter's store has not confirmed."""

    unsettled: int


class _Running(msgspec.Struct, gc=False):
    segment: Segment
    end: int
    """Offset behind its `open` record."""
    size: int
    written_us: int
    tokens: int = 0
    written: int = 0
    is_settled: bool = False


class DiskJournal:
    """One worker's journal. All calls on the loop's thread."""

    def __init__(
        self,
        root: Path,
        worker: str,
        clock: Clock,
        observe: Observer,
        max_bytes: int,
        *,
        segment_bytes: int = SEGMENT_BYTES,
        memory_bytes: int = MEMORY_BYTES,
    ) -> None:
        """Lock a new folder below `root`. Raises OSError: without a place for its journal a worker does not start."""
        self._clock = clock
        self._observe = observe
        self._max_bytes = max_bytes
        self.root = root
        self.folder = SegmentFolder(root, worker, clock, segment_bytes)
        self.backlog = Backlog(self.folder, self._lose, memory_bytes)
        self.other_bytes = 0
        """What the other folders of the journal take; the adopter keeps it up to date."""
        self.lost = 0
        """Events lost since the start."""
        self.unjournaled = 0
        """Attempts since the start that went upstream without an `open` record, because the disk took none."""
        self._running: dict[str, _Running] = {}
        self._unsettled: dict[str, Awaited] = {}
        self._refusals = RefusalRows()
        self._untold_losses: dict[str, int] = {}
        self._is_failure_told = False
        self._is_kept = True

    # ---- the request's path

    def open(self, attempt: records.OpenAttempt, is_budgeted: bool = True) -> None:
        """See ports.Journal."""
        frame = records.encode_open(attempt)
        if not self._is_full and self.folder.append(frame):
            segment = self.folder.current
            segment.opens += 1
            event = attempt.event
            self._running[event.id] = _Running(segment, segment.size, len(frame), event.admitted_at)
        elif is_budgeted:
            raise Refusal("journal_unavailable", "the gateway cannot record this call at the moment", retry_after=5)
        else:
            self.unjournaled += 1

    def progress(self, attempt_id: str, output_tokens: int) -> None:
        """See ports.Journal. Only noted here, and written within a second or so."""
        running = self._running.get(attempt_id)
        if running is not None:
            running.tokens = output_tokens

    def close(self, event: Event, order: SettleOrder | None) -> None:
        """See ports.Journal."""
        running = self._running.pop(event.id, None)
        if running is not None:
            running.segment.opens -= 1
        may_append = running is not None or not self._is_full
        try:
            if (event.request or event.response) and self._is_filling:
                event = without_bodies(event)
            frame = records.encode_close(event, order)
            is_appended = may_append and self.folder.append(frame)
            if not is_appended and (event.request or event.response):
                # What calls cost is kept before what they said.
                frame = records.encode_close(without_bodies(event), order)
                is_appended = may_append and self.folder.append(frame)
        except Exception as error:  # noqa: BLE001 - the call must not fail for its event
            self._observe(BugFound(where="journal", error=error))
            self._lose(1, "an event could not be encoded")
            return
        if not is_appended:
            self.backlog.remember(frame)
            return
        self.backlog.depth += 1
        if order is not None and not (running is not None and running.is_settled):
            self.await_settled(order.attempt_id, self.folder.current)

    def record_refusal(self, event: Event) -> None:
        """See ports.Journal."""
        for row in self._refusals.add(event):
            self.close(row, None)

    # ---- what the counters tell and ask

    def await_settled(self, attempt_id: str, awaited: Awaited) -> None:
        """Count the attempt in `awaited.unsettled` until `settled` is called for it."""
        if attempt_id not in self._unsettled:
            self._unsettled[attempt_id] = awaited
            awaited.unsettled += 1

    def settled(self, attempt_ids: Iterable[str]) -> None:
        """The limiter's store has these attempts' settles (or voids). Unknown ids are ignored."""
        for attempt_id in attempt_ids:
            awaited = self._unsettled.pop(attempt_id, None)
            if awaited is not None:
                awaited.unsettled -= 1
            elif (running := self._running.get(attempt_id)) is not None:
                running.is_settled = True

    def unshipped(self) -> Iterator[tuple[SettleOrder, int | None]]:
        """Orders and costs of closed attempts that Postgres has not confirmed, to publish again after Redis was lost.

        Read from disk as it is consumed. Consume it before Postgres is read: what is shipped meanwhile is left out.
        """
        return self.backlog.orders()

    # ---- what the gauges show

    @property
    def depth(self) -> int:
        """Closed events that Postgres has not confirmed."""
        return self.backlog.depth

    @property
    def unsettled(self) -> int:
        """Attempts closed in this worker's segments whose settles are not confirmed."""
        return sum(segment.unsettled for segment in self.folder.segments)

    @property
    def bytes_on_disk(self) -> int:
        """What this worker's segments take."""
        return self.folder.bytes

    def oldest_seconds(self) -> float:
        """Age of the oldest event that waits for Postgres; 0 when none does. Reads the disk: for a scrape."""
        oldest = self.backlog.oldest_us()
        return 0.0 if oldest is None else max(0.0, (self._clock.now_us() - oldest) / 1e6)

    # ---- keeping house

    async def keep(self) -> None:
        """Sync, write progress, delete what is done: until `stop_keeping`."""
        while self._is_kept:
            await self.tick()
            await asyncio.sleep(TICK_SECONDS)

    def stop_keeping(self) -> None:
        """End `keep` after its round: cancelled, it might leave a thread with a file that is closed meanwhile."""
        self._is_kept = False

    async def tick(self) -> None:
        """One round of `keep`."""
        for row in self._refusals.due(self._clock.now_us()):
            self.close(row, None)
        self._write_progress()
        if not self._is_full:
            self.backlog.unload()
        self.folder.rotate_old()
        try:
            self._move_opens()
            # What is deletable is decided before the sync: only then is what replaces it safe when it goes.
            done = self._deletable()
            if await self.folder.sync():
                for _ in range(done):
                    self.folder.delete_oldest()
        except OSError as error:
            self.folder.failure = error
        self._tell()

    def flush_refusals(self) -> None:
        """Write every counted refusal, at shutdown."""
        for row in self._refusals.rest():
            self.close(row, None)

    async def release(self) -> None:
        """Give up the folder: deleted if everything in it is shipped and settled, else left to an heir."""
        self.backlog.abandon()
        is_synced = await self.folder.sync()
        self._tell()
        is_done = not self.depth and not self._running and not self.unsettled
        self.folder.release(is_done and is_synced)

    @property
    def _is_full(self) -> bool:
        return self.folder.bytes + self.other_bytes >= self._max_bytes

    @property
    def _is_filling(self) -> bool:
        """Half full: Postgres has been away for long. The rest is for events, so that no body turns calls away."""
        return self.folder.bytes + self.other_bytes >= self._max_bytes // 2

    def _write_progress(self) -> None:
        now = self._clock.now_us()
        due: list[_Running] = []
        frames: list[bytes] = []
        for attempt_id, running in self._running.items():
            if running.tokens != running.written and now - running.written_us >= PROGRESS_US:
                due.append(running)
                frames.append(records.encode_progress(records.Progress(attempt_id, running.tokens, now)))
                if len(due) >= _MOST_PER_TICK:
                    break
        if frames and self.folder.append(b"".join(frames)):
            for running in due:
                running.written, running.written_us = running.tokens, now

    def _deletable(self) -> int:
        """How many segments at the front are done. Only the front: a `close` must not go before its `open`."""
        count = 0
        for segment in self.folder.segments[:-1]:
            # What Postgres has is safe; past the cap, room for new events is worth more than a second settle.
            is_settled = not segment.unsettled or self._is_full
            if not self.backlog.is_shipped(segment.number) or segment.opens or not is_settled:
                break
            count += 1
        return count

    def _move_opens(self) -> None:
        """Write the opens of long attempts again where they alone keep the segment at the front from going."""
        if not self._running:
            return
        for segment in self.folder.segments[:-1]:
            if not self.backlog.is_shipped(segment.number) or (segment.unsettled and not self._is_full):
                return
            if segment.opens:
                self._move_opens_of(segment)
                return

    def _move_opens_of(self, segment: Segment) -> None:
        moving = [(name, running) for name, running in self._running.items() if running.segment is segment]
        content = segment.path.read_bytes()
        for attempt_id, running in moving[:_MOST_PER_TICK]:
            frame = content[running.end - running.size : running.end]
            progress = b""
            if running.written:
                told = records.Progress(attempt_id, running.written, running.written_us)
                progress = records.encode_progress(told)
            if not self.folder.append(frame + progress):
                return
            segment.opens -= 1
            running.segment = self.folder.current
            running.segment.opens += 1
            running.end = running.segment.size - len(progress)

    def _lose(self, events: int, why: str) -> None:
        self.lost += events
        self._untold_losses[why] = self._untold_losses.get(why, 0) + events

    def _tell(self) -> None:
        failure = self.folder.failure
        if failure is not None and not self._is_failure_told:
            self._observe(EventsLost(events=0, why=f"the journal cannot be written, budgeted calls get 503: {failure}"))
        self._is_failure_told = failure is not None
        losses, self._untold_losses = self._untold_losses, {}
        for why, events in losses.items():
            self._observe(EventsLost(events=events, why=why))
