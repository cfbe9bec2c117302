"""The journal on disk: one folder per worker, locked for the worker's life, with numbered segments of records.

    <root>/<worker>/lock            held by flock while the worker lives; who can take it inherits
    <root>/<worker>/00000001.seg    records, appended; deleted only from the front

It knows files, offsets and locks; what the records say is proxy/core/journal's.
"""

import asyncio
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

import msgspec

from proxy.core.journal import LARGEST_RECORD, Frames, split_frames
from proxy.ports import Clock

SEGMENT_BYTES = 8 << 20
SEGMENT_SECONDS = 60.0
"""A quiet worker's segment ends after this, so that what is shipped can be deleted."""
READ_BYTES = 256 << 10

_LOCK = "lock"
_SUFFIX = ".seg"
_ABSENT = -1
_sync_content = getattr(os, "fdatasync", os.fsync)  # macOS has only the latter


class Segment(msgspec.Struct, gc=False):
    """One file, and why it may not be deleted yet."""

    number: int
    path: Path
    started_at: float
    size: int = 0
    opens: int = 0
    """Attempts under way whose `open` record is here."""
    unsettled: int = 0
    """Attempts closed here that the limiter's store has not confirmed."""


def take_lock(folder: Path) -> int | None:
    """Lock the folder. The descriptor that holds the lock, or None: its owner lives, or the folder is gone."""
    # A folder that lost its lock but not its segments was touched by hand: it gets a new one.
    flags = os.O_RDWR | os.O_CLOEXEC | (os.O_CREAT if segment_paths(folder) else 0)
    try:
        descriptor = os.open(folder / _LOCK, flags, 0o600)
    except FileNotFoundError:
        remove_empty(folder)
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    if guards(folder, descriptor):
        return descriptor
    os.close(descriptor)
    return None


def guards(folder: Path, descriptor: int) -> bool:
    """The open lock file is the folder's: a former owner may have deleted it between our opening and our locking."""
    try:
        return os.path.samestat(os.stat(folder / _LOCK), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def create_folder(root: Path, worker: str) -> tuple[Path, int]:
    """A new locked folder for `worker`, with a suffix when a dead namesake's is still there. Raises OSError."""
    root.mkdir(mode=0o700, parents=True, exist_ok=True)
    hidden = root / f".{worker}-{os.getpid()}"
    hidden.mkdir(mode=0o700, exist_ok=True)
    descriptor = os.open(hidden / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    # Renamed into place when it is locked already: no heir ever sees a live worker's folder unlocked.
    for turn in range(1, 1000):
        folder = root / (worker if turn == 1 else f"{worker}.{turn}")
        try:
            hidden.rename(folder)
        except OSError:
            if not folder.exists():
                raise
        else:
            _sync_names(root)
            return folder, descriptor
    raise FileExistsError(f"{root}: too many folders of {worker}")


def sibling_folders(root: Path, own: Path) -> list[Path]:
    """Every other worker's folder, dead or alive."""
    return [path for path in sorted(root.iterdir()) if path.is_dir() and path != own and not path.name.startswith(".")]


def segment_paths(folder: Path) -> list[Path]:
    """The folder's segments, oldest first."""
    try:
        return sorted(path for path in folder.iterdir() if path.suffix == _SUFFIX)
    except FileNotFoundError:
        return []


def bytes_in(folder: Path) -> int:
    """What the folder's segments take."""
    total = 0
    for path in segment_paths(folder):
        try:
            total += path.stat().st_size
        except FileNotFoundError:
            continue
    return total


def remove_folder(folder: Path) -> None:
    """Delete a folder whose lock the caller holds. From the front: a `close` never goes before its `open`."""
    for path in segment_paths(folder):
        path.unlink(missing_ok=True)
    (folder / _LOCK).unlink(missing_ok=True)
    remove_empty(folder)


def remove_empty(folder: Path) -> None:
    """Delete the folder if nothing is in it."""
    try:
        folder.rmdir()
    except OSError:
        return  # somebody is using it, or was faster


def read_blocks(path: Path, start: int = 0, only: int | None = None) -> Iterator[Frames]:
    """The records from offset `start` on, in blocks. Only the last can have a rest: bytes that are no record.

    `only`: see core.journal.split_frames. Raises FileNotFoundError when the segment has been deleted.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        size = READ_BYTES
        while data := os.pread(descriptor, size, start):
            block = split_frames(data, start, only)
            is_end = len(data) < size or block.rest == "damaged"
            yield block if is_end else block._replace(rest="none")
            if is_end:
                return
            # Not one whole record: it is longer than what was read.
            size = READ_BYTES if block.end > start else min(size * 4, LARGEST_RECORD * 2)
            start = block.end
    finally:
        os.close(descriptor)


class SegmentFolder:
    """A living worker's folder: appends, rotates, syncs and deletes."""

    def __init__(self, root: Path, worker: str, clock: Clock, segment_bytes: int = SEGMENT_BYTES) -> None:
        self._clock = clock
        self._segment_bytes = segment_bytes
        self.path, self._lock = create_folder(root, worker)
        self.segments: list[Segment] = []
        """Oldest first; the last is being written."""
        self.bytes = 0
        self.failure: OSError | None = None
        """Why the last append failed; None when it did not."""
        self._retired: list[int] = []
        self._is_dirty = False
        self._is_spoiled = False
        self._has_new_name = False
        self._descriptor = _ABSENT
        self._begin(1)

    @property
    def current(self) -> Segment:
        """The segment being written."""
        return self.segments[-1]

    def _begin(self, number: int) -> None:
        path = self.path / f"{number:08d}{_SUFFIX}"
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o600)
        if self._descriptor != _ABSENT:
            self._retired.append(self._descriptor)
        self._descriptor = descriptor
        self._is_spoiled = False
        self._has_new_name = True
        self.segments.append(Segment(number, path, self._clock.monotonic()))

    def append(self, frames: bytes) -> bool:
        """Write whole records, in one system call. False: none of it is there, and `failure` says why."""
        segment = self.segments[-1]
        if segment.size >= self._segment_bytes or self._is_spoiled:
            self.rotate()
            segment = self.segments[-1]
        try:
            written = os.write(self._descriptor, frames)
        except OSError as error:
            self._undo(segment, error)
            return False
        if written != len(frames):
            self._undo(segment, OSError(f"the disk took {written} of {len(frames)} bytes"))
            return False
        segment.size += written
        self.bytes += written
        self._is_dirty = True
        self.failure = None
        return True

    def _undo(self, segment: Segment, error: OSError) -> None:
        """Cut half a record off again, else what follows it would be lost to a reader."""
        self.failure = error
        try:
            os.ftruncate(self._descriptor, segment.size)
        except OSError:
            self._is_spoiled = True

    def rotate(self) -> None:
        """Go on in a new segment, or in the same where none can be made."""
        try:
            self._begin(self.current.number + 1)
        except OSError as error:
            self.failure = error

    def rotate_old(self) -> None:
        """Rotate when the current segment has been written to for long enough."""
        if self.current.size and self._clock.monotonic() - self.current.started_at >= SEGMENT_SECONDS:
            self.rotate()

    async def sync(self) -> bool:
        """Make what was appended so far outlive the machine, in a thread. False: the disk failed, see `failure`."""
        if not self._is_dirty and not self._retired:
            return True
        retired, self._retired = self._retired, []
        folder = self.path if self._has_new_name else None
        self._is_dirty = self._has_new_name = False
        try:
            await asyncio.to_thread(_sync, retired, self._descriptor, folder)
        except OSError as error:
            # After a failed sync nobody knows what of this file is on disk: go on in another.
            self.failure, self._is_spoiled = error, True
            return False
        return True

    def delete_oldest(self) -> None:
        """Delete the segment at the front. Raises OSError."""
        segment = self.segments[0]
        segment.path.unlink(missing_ok=True)
        del self.segments[0]
        self.bytes -= segment.size

    def release(self, is_done: bool) -> None:
        """Give up the lock; the folder goes too if nothing in it is needed (`is_done`)."""
        for descriptor in (*self._retired, self._descriptor):
            os.close(descriptor)
        self._retired, self._descriptor = [], _ABSENT
        if is_done:
            remove_folder(self.path)
        os.close(self._lock)


def _sync(retired: list[int], current: int, folder: Path | None) -> None:
    try:
        for descriptor in (*retired, current):
            _sync_content(descriptor)
        if folder is not None:
            _sync_names(folder)
    finally:
        for descriptor in retired:
            os.close(descriptor)


def _sync_names(folder: Path) -> None:
    """A new file outlives the machine only when its folder does."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
