"""The journal a worker writes: what a killed process leaves, what a full disk does, when segments go."""

import asyncio
import fcntl
import os
import random
import time
from pathlib import Path

import pytest

from proxy.adapters.clock import SystemClock
from proxy.adapters.journal import DiskJournal
from proxy.adapters.segments import (
    READ_BYTES,
    create_folder,
    guards,
    read_blocks,
    remove_folder,
    segment_paths,
    sibling_folders,
    take_lock,
)
from proxy.core import journal as records
from proxy.observations import EventsLost, Observation
from shared.errors import Refusal
from tests.attempts import ADMITTED_US, make_attempt, make_event, make_order
from tests.journal_rig import ManualClock, Writer, files_limited_to, opened_ids, read_all


class Books:
    """A journal, its clock and what it told."""

    def __init__(self, root: Path, **over: int) -> None:
        self.clock = ManualClock(ADMITTED_US)
        self.observations: list[Observation] = []
        arguments = {"max_bytes": 1 << 30, "segment_bytes": 20_000} | over
        self.journal = DiskJournal(root, "worker-1", self.clock, self.observations.append, **arguments)
        self.folder = self.journal.folder.path

    def lost(self) -> int:
        """Events told as lost."""
        return sum(one.events for one in self.observations if isinstance(one, EventsLost))

    def call(self, is_budgeted: bool = False) -> str:
        """One attempt, opened and closed. Its id."""
        attempt = make_attempt()
        self.journal.open(attempt, is_budgeted)
        self.journal.close(make_event(id=attempt.event.id), attempt.order)
        return attempt.event.id

    def ship_all(self) -> int:
        """Take every batch as if Postgres had it; how many events."""
        count = 0
        while batch := self.journal.backlog.next_batch():
            count += len(batch.documents)
            self.journal.backlog.acknowledge(batch)
        return count


@pytest.fixture
def books(tmp_path: Path) -> Books:
    return Books(tmp_path / "journal")


def test_a_record_is_on_disk_when_the_call_returns(books: Books) -> None:
    """Another process would see it: nothing is buffered here."""
    attempt = make_attempt()

    books.journal.open(attempt)
    opened, _ = read_all(books.folder)
    books.journal.close(make_event(id=attempt.event.id), attempt.order)
    closed, _ = read_all(books.folder)

    assert [frame.kind for frame in opened] == [records.OPEN]
    assert [frame.kind for frame in closed] == [records.OPEN, records.CLOSE]
    assert segment_paths(books.folder)[0].stat().st_mode & 0o777 == 0o600
    assert books.folder.stat().st_mode & 0o777 == 0o700


def test_kill_9_loses_nothing(tmp_path: Path) -> None:
    """Whatever the moment: every record that the worker knew to be written is there, whole."""
    dice = random.Random(9)
    opened_in_all = 0
    writers = [Writer(tmp_path, f"worker-{number}", 1_000_000) for number in range(2)]
    for round_ in range(12):
        writer = writers.pop(0)
        writer.wait_for("open")
        time.sleep(dice.uniform(0, 0.1))
        opened, closed = writer.kill()
        frames, rests = read_all(writer.folder)
        found = opened_ids(writer.folder)

        assert opened <= found
        assert len(found - opened) <= 1  # written, but not yet said
        assert closed <= {records.attempt_of(frame.payload) for frame in frames if frame.kind == records.CLOSE}
        # The kernel may stop a write that nobody was told of yet in its middle, at the very end of the last segment.
        assert rests in ([], ["cut"])
        opened_in_all += len(opened)
        if round_ < 10:
            writers.append(Writer(tmp_path, f"worker-{round_ + 2}", 1_000_000))
    assert opened_in_all > 1000


async def test_progress_is_written_once_a_second(books: Books) -> None:
    """However often it is told; the record has the latest figure and its time."""
    attempt = make_attempt()
    books.journal.open(attempt)

    for step in range(1, 35):
        books.clock.us = ADMITTED_US + step * 100_000
        for chunk in range(100):
            books.journal.progress(attempt.event.id, step * 100 + chunk)
        await books.journal.tick()
    books.journal.progress("nobody", 7)

    frames, _ = read_all(books.folder)
    told = [records.decode_progress(frame.payload) for frame in frames if frame.kind == records.PROGRESS]
    assert [one.at_us - ADMITTED_US for one in told] == [1_000_000, 2_000_000, 3_000_000]
    assert [one.output_tokens for one in told] == [1099, 2099, 3099]


async def test_a_segment_goes_when_it_is_shipped_and_settled(books: Books) -> None:
    """Neither alone suffices, and only from the front: a close never goes before its open."""
    ids = [books.call() for _ in range(90)]
    total = len(segment_paths(books.folder))
    assert total > 2

    await books.journal.tick()
    assert len(segment_paths(books.folder)) == total
    assert books.ship_all() == 90
    await books.journal.tick()
    assert len(segment_paths(books.folder)) == total
    books.journal.settled(ids[1:])
    await books.journal.tick()
    assert len(segment_paths(books.folder)) == total
    books.journal.settled(ids[:1])
    await books.journal.tick()

    assert len(segment_paths(books.folder)) == 1
    assert (books.journal.depth, books.journal.unsettled, books.lost()) == (0, 0, 0)
    assert books.journal.bytes_on_disk == sum(path.stat().st_size for path in segment_paths(books.folder))


async def test_a_settle_confirmed_before_the_close_counts(books: Books) -> None:
    """The limiter may be faster than the journal."""
    attempt = make_attempt()
    books.journal.open(attempt)

    books.journal.settled([attempt.event.id, "nobody"])
    books.journal.close(make_event(id=attempt.event.id), attempt.order)

    assert books.journal.unsettled == 0


async def test_a_long_attempt_outlives_its_segments(books: Books) -> None:
    """Its open and its progress are written again, so old segments go; and its record stays the same."""
    long = make_attempt()
    books.journal.open(long)
    books.journal.progress(long.event.id, 77)
    books.clock.us += 5_000_000
    await books.journal.tick()

    for _ in range(10):
        books.journal.settled([books.call() for _ in range(30)])
        books.ship_all()
        await books.journal.tick()
        books.clock.us += 100_000

    frames, _ = read_all(books.folder)
    assert len(segment_paths(books.folder)) <= 3
    assert long.event.id in opened_ids(books.folder)
    told = {records.decode_progress(frame.payload) for frame in frames if frame.kind == records.PROGRESS}
    assert told == {records.Progress(long.event.id, 77, ADMITTED_US + 5_000_000)}
    books.journal.close(make_event(id=long.event.id), None)
    books.ship_all()
    await books.journal.release()
    assert not books.folder.exists()


async def test_an_open_that_cannot_be_moved_keeps_its_segment(books: Books) -> None:
    """The disk is full: better no room than an attempt that nobody would bill."""
    long = make_attempt()
    books.journal.open(long)
    books.journal.settled([books.call() for _ in range(30)])
    books.ship_all()

    with files_limited_to(books.journal.folder.current.size):
        await books.journal.tick()
        assert long.event.id in opened_ids(books.folder)
        assert len(segment_paths(books.folder)) > 1
    await books.journal.tick()

    assert long.event.id in opened_ids(books.folder)
    assert len(segment_paths(books.folder)) == 1


async def test_a_quiet_workers_segment_ends_after_a_minute(books: Books) -> None:
    """So what is shipped is deleted, and an heir has little to repeat."""
    books.journal.settled([books.call()])
    books.ship_all()
    await books.journal.tick()
    assert len(read_all(books.folder)[0]) == 2

    books.clock.us += 61_000_000
    await books.journal.tick()
    books.ship_all()
    await books.journal.tick()

    assert read_all(books.folder) == ([], [])
    assert books.journal.bytes_on_disk == 0


async def test_what_is_unshipped_can_be_settled_again(books: Books) -> None:
    """After Redis was lost: orders and costs of what Postgres does not have yet, and nothing else."""
    books.call()
    books.ship_all()
    ids = [books.call() for _ in range(3)]
    books.journal.close(make_event(outcome="refused"), None)

    found = list(books.journal.unshipped())

    assert [(order.attempt_id, cost) for order, cost in found] == [(one, 2_000_000) for one in ids]
    assert books.journal.oldest_seconds() == 0.0
    books.clock.us = ADMITTED_US + 60_250_000
    assert books.journal.oldest_seconds() == 60.0


async def test_past_its_cap_budgeted_calls_are_refused_and_others_kept_in_memory(tmp_path: Path) -> None:
    """503 with retry-after 5 for the first; the second lose nothing as long as memory lasts, then are told."""
    books = Books(tmp_path, max_bytes=100_000, segment_bytes=1 << 20, memory_bytes=20_000)
    running = make_attempt()
    books.journal.open(running)
    while books.journal.bytes_on_disk < 100_000:
        books.call()
    on_disk = books.journal.depth

    with pytest.raises(Refusal) as refused:
        books.call(is_budgeted=True)
    for _ in range(100):
        books.call(is_budgeted=False)
    books.journal.close(make_event(id=running.event.id), running.order)
    await books.journal.tick()

    assert (refused.value.kind, refused.value.retry_after) == ("journal_unavailable", 5)
    in_memory = books.journal.depth - on_disk - 1
    assert in_memory > 10
    assert in_memory + books.lost() == 100
    assert books.journal.unjournaled == 100
    assert books.ship_all() == on_disk + in_memory + 1  # what was open when it filled up is closed on disk


async def test_a_full_disk_is_survived(tmp_path: Path) -> None:
    """The system takes half a record, then nothing: what is there stays readable, and nothing goes in silence."""
    books = Books(tmp_path, segment_bytes=1 << 20)
    running = make_attempt()
    with files_limited_to(50_000):
        books.journal.open(running, is_budgeted=True)
        while not books.journal.unjournaled:
            books.call(is_budgeted=False)
        with pytest.raises(Refusal, match="journal_unavailable"):
            books.call(is_budgeted=True)
        books.journal.close(make_event(id=running.event.id), running.order)
        closed = books.journal.depth
        await books.journal.tick()
        frames, rests = read_all(books.folder)

    on_disk = sum(frame.kind == records.CLOSE for frame in frames)
    assert 10 < on_disk < closed
    assert rests == []
    assert [one.events for one in books.observations if isinstance(one, EventsLost)] == [0]
    await books.journal.tick()
    frames, rests = read_all(books.folder)
    assert (sum(frame.kind == records.CLOSE for frame in frames), rests) == (closed, [])
    assert (books.ship_all(), books.lost()) == (closed, 0)
    books.call(is_budgeted=True)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a small disk")
async def test_a_small_disk_that_is_really_full(tmp_path: Path) -> None:
    """ENOSPC on a tmpfs of 256 KiB: lost + landed = admitted; freed space makes it well."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounting = await asyncio.create_subprocess_exec("mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(disk))
    if await mounting.wait():
        pytest.skip("mounting is not allowed here")
    try:
        books = Books(disk, segment_bytes=60_000, memory_bytes=50_000)
        admitted = [books.call() for _ in range(1000)]
        await books.journal.tick()

        with pytest.raises(Refusal, match="journal_unavailable"):
            books.call(is_budgeted=True)
        assert books.lost() > 100
        assert books.journal.depth + books.lost() == len(admitted)
        books.journal.settled(admitted)
        assert books.ship_all() + books.lost() == len(admitted)
        await books.journal.tick()
        assert books.journal.bytes_on_disk < 61_000
        books.call(is_budgeted=True)
        await books.journal.release()
    finally:
        unmounting = await asyncio.create_subprocess_exec("umount", "-l", str(disk))
        await unmounting.wait()


async def test_past_the_cap_shipped_segments_go_unsettled(tmp_path: Path) -> None:
    """While the limiter's store is away for long, Postgres has the facts: room for new events is worth more."""
    books = Books(tmp_path, max_bytes=100_000)
    while books.journal.bytes_on_disk < 100_000:
        books.call()
    books.ship_all()

    await books.journal.tick()

    assert books.journal.bytes_on_disk < 100_000
    books.call(is_budgeted=True)


async def test_refusals_are_counted_and_written_at_the_minutes_end(books: Books) -> None:
    """Ten rows, then one for the rest; at shutdown without waiting for the minute."""
    for _ in range(100):
        books.journal.record_refusal(make_event(outcome="refused", error_kind="rate_limited"))
    assert books.journal.depth == 10

    books.clock.us += 60_000_000
    await books.journal.tick()
    assert books.journal.depth == 11
    for _ in range(15):
        books.journal.record_refusal(make_event(outcome="refused", error_kind="path_forbidden"))
    books.journal.flush_refusals()

    batch = books.journal.backlog.next_batch()
    assert batch is not None
    assert [document.count(b'"refusals":90') for document in batch.documents] == [0] * 10 + [1] + [0] * 11
    assert batch.documents[-1].count(b'"refusals":5') == 1


def test_a_namesake_gets_a_folder_of_its_own(tmp_path: Path) -> None:
    """A worker that comes back under a dead one's name leaves that one's records to adoption."""
    first = DiskJournal(tmp_path, "worker", SystemClock(), print, 1 << 30)
    second = DiskJournal(tmp_path, "worker", SystemClock(), print, 1 << 30)

    assert (first.folder.path.name, second.folder.path.name) == ("worker", "worker.2")
    assert sibling_folders(tmp_path, first.folder.path) == [second.folder.path]
    assert take_lock(first.folder.path) is None


def test_a_lock_file_that_was_deleted_guards_nothing(tmp_path: Path) -> None:
    """Who opened the lock before its owner deleted the folder must not believe to hold it."""
    folder, lock = create_folder(tmp_path, "worker")
    late = os.open(folder / "lock", os.O_RDWR)
    assert guards(folder, late)
    remove_folder(folder)
    os.close(lock)

    assert take_lock(folder) is None
    assert not folder.exists()
    assert not guards(folder, late)
    folder, lock = create_folder(tmp_path, "worker")
    fcntl.flock(late, fcntl.LOCK_EX | fcntl.LOCK_NB)  # of the file that is gone

    assert not guards(folder, late)
    assert take_lock(folder) is None
    os.close(lock)
    taken = take_lock(folder)
    assert taken is not None
    os.close(taken)
    os.close(late)


def test_an_unwritable_place_stops_the_start(tmp_path: Path) -> None:
    """Without a place for its journal a worker must not serve."""
    (tmp_path / "journal").write_text("a file, not a folder")

    with pytest.raises(OSError, match="journal"):
        DiskJournal(tmp_path / "journal", "worker", SystemClock(), print, 1 << 30)


async def test_an_order_is_settled_only_when_there_is_one(books: Books) -> None:
    """A close without an order pins nothing."""
    books.journal.close(make_event(), None)
    event = make_event()
    books.journal.close(event, make_order(event))

    assert books.journal.unsettled == 1


def test_records_longer_than_a_read_and_many_short_ones_come_back(tmp_path: Path) -> None:
    """A segment is read in blocks; where they end matters to nobody."""
    path = tmp_path / "00000001.seg"
    sizes = [1, 100, READ_BYTES - 8, READ_BYTES, READ_BYTES * 5, *range(1, 3000)]
    path.write_bytes(b"".join(records.frame(b"O" * size) for size in sizes) + b"torn")

    blocks = list(read_blocks(path))

    assert [len(frame.payload) for block in blocks for frame in block.frames] == sizes
    assert [block.rest for block in blocks if block.rest != "none"] == ["cut"]
    assert blocks[-1].end == path.stat().st_size - 4
