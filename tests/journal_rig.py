"""A worker's journal with all that belongs to it, in front of a real Postgres; and a limiter that only remembers."""

import asyncio
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import asyncpg

from proxy.adapters.adopter import Adopter
from proxy.adapters.clock import SystemClock
from proxy.adapters.event_store import EventStore
from proxy.adapters.journal import DiskJournal
from proxy.adapters.segments import read_blocks, segment_paths
from proxy.adapters.shipper import Shipper
from proxy.adapters.tasks import Tasks
from proxy.core import journal as records
from proxy.core.holds import SettleOrder
from proxy.observations import Observation
from tests.attempts import make_attempt, make_event

T = TypeVar("T")

# A worker in a process of its own: opens attempts, closes every second one, and says what it did after it did it.
WRITER = """
import sys
from pathlib import Path
from proxy.adapters.clock import SystemClock
from proxy.adapters.journal import DiskJournal
from tests.attempts import make_attempt, make_event, make_order

journal = DiskJournal(Path(sys.argv[1]), sys.argv[2], SystemClock(), print, 1 << 30, segment_bytes=1 << 18)
most = int(sys.argv[3])
for number in range(most):
    attempt = make_attempt(worker=sys.argv[2], key_id=sys.argv[2])
    event = attempt.event
    journal.open(attempt)
    sys.stdout.write(f"open {event.id}\\n")
    if number % 2:
        closing = make_event(id=event.id, worker=sys.argv[2], key_id=sys.argv[2])
        journal.close(closing, make_order(event))
        sys.stdout.write(f"close {event.id}\\n")
    sys.stdout.flush()
print("done", flush=True)
sys.stdin.read()
"""


class ManualClock:
    """ports.Clock that its test moves."""

    def __init__(self, now_us: int) -> None:
        self.us = now_us

    def now_ms(self) -> int:
        return self.us // 1000

    def now_us(self) -> int:
        return self.us

    def monotonic(self) -> float:
        return self.us / 1e6


class Rig:
    """One worker's journal, shipper and adopter. `settled` is what its limiter was told, by attempt."""

    def __init__(self, root: Path, options: dict[str, Any], worker: str = "worker-1", **over: Any) -> None:
        self.observations: list[Observation] = []
        self.settled: dict[str, int | None] = {}
        self.settles = 0
        self.is_limiter_away = False
        self._is_closed = False
        self.tasks = Tasks(self.observations.append)
        arguments = {"clock": SystemClock(), "max_bytes": 1 << 30} | over
        self.journal = DiskJournal(root, worker, observe=self.observations.append, **arguments)
        self.store = EventStore(options)
        self.shipper = Shipper(self.journal, self.store, self.observations.append, self.tasks)
        self.adopter = Adopter(
            self.journal, self.shipper, self.store, self.settle, self.observations.append, self.tasks
        )

    def settle(self, order: SettleOrder, cost_nano: int | None) -> None:
        """What a limiter does: takes the amount now, and tells the journal a moment later."""
        self.settles += 1
        self.settled[order.attempt_id] = cost_nano
        if not self.is_limiter_away:
            asyncio.get_running_loop().call_soon(self.journal.settled, [order.attempt_id])

    def told(self, kind: type[T]) -> list[T]:
        """The observations of one kind."""
        return [one for one in self.observations if isinstance(one, kind)]

    def make_calls(self, count: int, **over: Any) -> list[str]:
        """So many calls, opened, closed and settled. Their ids."""
        ids: list[str] = []
        for _ in range(count):
            attempt = make_attempt(**over)
            self.journal.open(attempt)
            self.journal.close(make_event(id=attempt.event.id, **over), attempt.order)
            self.settle(attempt.order, 2_000_000)
            ids.append(attempt.event.id)
        return ids

    async def close(self, seconds: float = 10) -> None:
        """What a worker does at its end. Safe to call again."""
        if self._is_closed:
            return
        self._is_closed = True
        await self.adopter.close_down()
        await self.shipper.close_down(seconds)
        await self.tasks.drain(1)


async def eventually(ask: Callable[[], Awaitable[T]], expected: T, seconds: float = 15) -> None:
    """Wait until the answer is what is expected; fail with the difference when it never is."""
    deadline = time.monotonic() + seconds
    while (found := await ask()) != expected:
        if time.monotonic() > deadline:
            raise AssertionError(f"still {found!r} after {seconds} s, expected {expected!r}")
        await asyncio.sleep(0.05)


class Ledger:
    """What Postgres has, as its owner sees it."""

    def __init__(self, options: dict[str, Any]) -> None:
        self._options = options

    async def rows(self, key_id: str) -> dict[str, tuple[str, int | None]]:
        """Outcome and charge of every event of a key, by id."""
        found = await self._fetch("SELECT id::text, outcome, charged_cost_nano FROM events WHERE key_id = $1", key_id)
        return {row[0]: (row[1], row[2]) for row in found}

    async def sums(self, key_id: str) -> tuple[int, int, int, int]:
        """Events and charges, once from the events and once from the rollup."""
        (row,) = await self._fetch(
            "SELECT (SELECT count(*) FROM events WHERE key_id = $1),"
            " (SELECT coalesce(sum(charged_cost_nano), 0) FROM events WHERE key_id = $1)::bigint,"
            " (SELECT coalesce(sum(requests), 0) FROM spend_hours WHERE key_id = $1)::bigint,"
            " (SELECT coalesce(sum(charged_cost_nano), 0) FROM spend_hours WHERE key_id = $1)::bigint",
            key_id,
        )
        return tuple(row)

    async def _fetch(self, query: str, *arguments: object) -> list[Any]:
        connection = await asyncpg.connect(**self._options)
        try:
            return await connection.fetch(query, *arguments)
        finally:
            await connection.close()


def read_all(folder: Path) -> tuple[list[records.Frame], list[str]]:
    """Every record of a folder, and the rests that are none."""
    blocks = [block for path in segment_paths(folder) for block in read_blocks(path)]
    return [frame for block in blocks for frame in block.frames], [b.rest for b in blocks if b.rest != "none"]


def opened_ids(folder: Path) -> set[str]:
    """The attempts whose opens are in the folder."""
    frames, _ = read_all(folder)
    return {records.decode_open(frame.payload).event.id for frame in frames if frame.kind == records.OPEN}


class Writer:
    """A worker process of WRITER. What it says goes to a file, so that nothing slows it down."""

    def __init__(self, root: Path, worker: str, calls: int) -> None:
        self.folder = root / worker
        self._said = root / f"{worker}.said"
        with self._said.open("w") as said:
            self._process = subprocess.Popen(
                [sys.executable, "-c", WRITER, str(root), worker, str(calls)], stdin=subprocess.PIPE, stdout=said
            )

    def wait_for(self, word: str) -> None:
        """Wait until it has said so."""
        deadline = time.monotonic() + 20
        while word not in self._said.read_text():
            assert self._process.poll() is None, "the writer ended by itself"
            assert time.monotonic() < deadline, f"the writer never said {word}"
            time.sleep(0.005)

    def kill(self) -> tuple[set[str], set[str]]:
        """Kill -9, and read what it had said: attempts opened, attempts closed."""
        self._process.send_signal(signal.SIGKILL)
        self._process.communicate()
        # The last line may be half a line.
        lines = [line.split() for line in self._said.read_text().splitlines() if len(line) == len(line.split()[0]) + 37]
        return {line[1] for line in lines if line[0] == "open"}, {line[1] for line in lines if line[0] == "close"}


@contextmanager
def files_limited_to(most_bytes: int) -> Iterator[None]:
    """As if the disk were full: this process can write no file beyond so many bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@contextmanager
def frozen(pid: int) -> Iterator[None]:
    """A server that hangs: the process and its children stand still."""
    pids = [pid, *map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())]
    for one in pids:
        os.kill(one, signal.SIGSTOP)
    try:
        yield
    finally:
        for one in pids:
            try:
                os.kill(one, signal.SIGCONT)
            except ProcessLookupError:
                continue
