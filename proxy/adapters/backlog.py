"""The events that Postgres has not confirmed: a worker's own disk is the queue, memory only what the disk refused.

It decides what is shipped next and from where; how it is shipped is the shipper's, how it was written the journal's.
"""

from collections import deque
from collections.abc import Callable, Iterator

import msgspec

from proxy.adapters.segments import SegmentFolder, read_blocks
from proxy.core import journal as records
from proxy.core.holds import SettleOrder

MEMORY_BYTES = 16 << 20
"""Events kept in memory while the disk takes none; more are lost, and told."""
BATCH_EVENTS = 500
BATCH_BYTES = 1 << 20
_MOST_UNLOADED = 1000

Lose = Callable[[int, str], None]


class Batch(msgspec.Struct):
    """Events to ship."""

    documents: list[bytes]
    end: tuple[int, int] | None
    """Segment number and offset up to which it reaches. None: it is from memory."""


class _Ended(msgspec.Struct):
    ended_at: int


class Backlog:
    """What waits to be shipped, oldest first: the disk before memory."""

    def __init__(self, folder: SegmentFolder, lose: Lose, memory_bytes: int = MEMORY_BYTES) -> None:
        self._folder = folder
        self._lose = lose
        self._most_memory = memory_bytes
        self.depth = 0
        """Events that wait."""
        self._shipped = (1, 0)
        self._memory: deque[bytes] = deque()
        self._memory_bytes = 0
        self._is_memory_in_flight = False

    def remember(self, frame: bytes) -> None:
        """Keep a `close` record that the disk does not take, or lose it where memory is full too."""
        if self._memory_bytes + len(frame) > self._most_memory:
            self._lose(1, f"the journal takes no more: {self._folder.failure or 'JOURNAL_MAX_BYTES'}")
            return
        self._memory.append(frame)
        self._memory_bytes += len(frame)
        self.depth += 1

    def unload(self) -> None:
        """Try to bring to disk what is in memory."""
        if self._is_memory_in_flight:
            return
        for _ in range(min(len(self._memory), _MOST_UNLOADED)):
            if not self._folder.append(self._memory[0]):
                return
            self._memory_bytes -= len(self._memory.popleft())

    def abandon(self) -> None:
        """The worker ends: what is only in memory is lost, and told."""
        if self._memory:
            self._lose(len(self._memory), "the worker ended while neither disk nor Postgres took events")
            self.depth -= len(self._memory)
            self._memory.clear()

    def is_shipped(self, number: int) -> bool:
        """Postgres has every event of the segment."""
        return number < self._shipped[0]

    def next_batch(self) -> Batch | None:
        """The oldest events, at most BATCH_EVENTS of about BATCH_BYTES; the same again until it is acknowledged."""
        documents: list[bytes] = []
        size = 0
        if on_disk := self.depth - len(self._memory):
            end = self._shipped
            for number, frame in self._on_disk():
                documents.append(records.document_of(frame.payload))
                size += len(documents[-1])
                end = (number, frame.end)
                if len(documents) >= BATCH_EVENTS or size >= BATCH_BYTES:
                    break
            if documents:
                return Batch(documents, end)
            self.depth -= on_disk
            self._lose(on_disk, "the journal on disk became unreadable")
        self._shipped = (self._folder.current.number, self._folder.current.size)
        for frame in self._memory:
            documents.append(records.document_of(frame[records.HEAD_BYTES :]))
            size += len(frame)
            if len(documents) >= BATCH_EVENTS or size >= BATCH_BYTES:
                break
        self._is_memory_in_flight = bool(documents)
        return Batch(documents, None) if documents else None

    def acknowledge(self, batch: Batch) -> None:
        """Postgres has the batch."""
        self.depth -= len(batch.documents)
        if batch.end is not None:
            self._shipped = batch.end
            return
        self._is_memory_in_flight = False
        for _ in batch.documents:
            self._memory_bytes -= len(self._memory.popleft())

    def give_back(self, batch: Batch) -> None:
        """Postgres has not taken the batch: it waits on."""
        if batch.end is None:
            self._is_memory_in_flight = False

    def orders(self) -> Iterator[tuple[SettleOrder, int | None]]:
        """What settles the events that wait, with their costs. Read from disk as it is consumed."""
        for payload in self._payloads():
            closed = records.decode_close(payload)
            if closed.order is not None:
                yield closed.order, closed.cost_nano

    def oldest_us(self) -> int | None:
        """When the oldest event that waits had ended, Unix microseconds. Reads the disk: for a scrape."""
        payload = next(self._payloads(), None) if self.depth else None
        return None if payload is None else msgspec.json.decode(records.document_of(payload), type=_Ended).ended_at

    def _payloads(self) -> Iterator[bytes]:
        for _, frame in self._on_disk():
            yield frame.payload
        for kept in list(self._memory):
            yield kept[records.HEAD_BYTES :]

    def _on_disk(self) -> Iterator[tuple[int, records.Frame]]:
        """Every `close` on disk behind what is shipped, with its segment's number."""
        number, start = self._shipped
        for segment in list(self._folder.segments):
            if segment.number < number:
                continue
            try:
                for block in read_blocks(segment.path, start if segment.number == number else 0, records.CLOSE):
                    for frame in block.frames:
                        yield segment.number, frame
            except OSError:
                continue  # deleted since, or unreadable: `next_batch` notices what is missing
