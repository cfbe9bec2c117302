"""Keeps the current view of keys and provider settings: polls Postgres, swaps one reference (design §5).

The poll is the truth: NOTIFY only wakes it early. A poll that fails changes nothing but the view's age, so Postgres
away never looks like "no keys". What a row means is core's business; what is read when, and in steps that never hold
the loop, is decided here.
"""

import asyncio
import math
import random
from typing import Any

from proxy.adapters.postgres import POSTGRES_ERRORS, describe, fault_of
from proxy.adapters.snapshot_rows import SnapshotRows
from proxy.adapters.tasks import Tasks
from proxy.core.horizon import Horizon
from proxy.core.snapshot import SHARDS, Shard, Snapshot, SnapshotBuilder
from proxy.observations import BugFound, RecordRejected, SnapshotFailed, SnapshotSwapped
from proxy.ports import Clock, Observer
from shared.secrets import Secrets

MAX_WAITERS = 256
_MIN_PAUSE_SECONDS = 0.02
_PAUSE_PER_POLL = 4
_MAX_PAUSE_SECONDS = 0.5
_FIRST_RETRY_SECONDS = 0.05
_LAST_RETRY_SECONDS = 1.0
_MAX_TOLD_REJECTIONS = 100
_SHARDS_LET_GO = 16


class PolledSnapshots:
    """ports.Snapshots from Postgres. One dedicated connection, one background task."""

    def __init__(
        self,
        options: dict[str, Any],
        secrets: Secrets,
        clock: Clock,
        observe: Observer,
        tasks: Tasks,
        interval_seconds: float,
    ) -> None:
        """`options` are `postgres.connect_options`."""
        self._secrets = secrets
        self._clock = clock
        self._observe = observe
        self._tasks = tasks
        self._interval = interval_seconds
        self._current = Snapshot()
        self._horizon: Horizon | None = None
        self._confirmed_at = -math.inf
        self._next_shard = random.randrange(SHARDS)  # noqa: S311  workers take turns
        self._verified_at = -math.inf
        self.fault = ""
        """Why the last poll failed: the kind of the error, which anybody may read; empty when it did not."""
        self._waiters: set[asyncio.Future[bool]] = set()
        self._wake = asyncio.Event()
        self._rows = SnapshotRows(options, self._wake.set)
        self._loaded = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    @property
    def current(self) -> Snapshot:
        """One immutable view; take it once, at the door. Empty before the first load."""
        return self._current

    @property
    def horizon(self) -> Horizon | None:
        """How far Postgres has been read. None before the first load."""
        return self._horizon

    def age_seconds(self) -> float:
        """Seconds since the last poll that succeeded began; infinite before the first load."""
        return self._clock.monotonic() - self._confirmed_at

    async def changed(self, seconds: float) -> bool:
        """Wait until a newer view is current, at most `seconds`. Costs no I/O.

        False when none came, when a poll that began after this call found no change, or when 256 already wait.
        """
        if seconds <= 0 or len(self._waiters) >= MAX_WAITERS:
            return False
        waiter: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._waiters.add(waiter)
        try:
            async with asyncio.timeout(seconds):
                return await waiter
        except TimeoutError:
            return False
        finally:
            self._waiters.discard(waiter)

    async def start(self, patience_seconds: float) -> bool:
        """Start polling, and wait at most so long for the first view. False: none yet, but it is tried on and on."""
        self._task = self._tasks.spawn(self._poll_forever(), "snapshot poll")
        try:
            async with asyncio.timeout(patience_seconds):
                return await self._loaded.wait()
        except TimeoutError:
            return False

    async def stop(self) -> None:
        """Stop polling; the view stays."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})
        self._rows.drop()

    async def _poll_forever(self) -> None:
        failures = 0
        while True:
            self._wake.clear()
            began = self._clock.monotonic()
            try:
                replaced = await self._poll(began)
            except Exception as error:  # noqa: BLE001  whatever it is, the view must go on being renewed
                if not isinstance(error, POSTGRES_ERRORS):
                    self._observe(BugFound(where="snapshot poll", error=error))
                self._observe(SnapshotFailed(error=describe(error), age_seconds=self.age_seconds()))
                self.fault = fault_of(error)
                pause = min(_LAST_RETRY_SECONDS, _FIRST_RETRY_SECONDS * 2**failures)
                failures = min(failures + 1, 10)
                await asyncio.sleep(pause * random.uniform(0.5, 1))  # noqa: S311  jitter
            else:
                failures, self.fault = 0, ""
                await _let_go(replaced)
                await self._rest(began)

    async def _rest(self, began: float) -> None:
        """Until the next poll is due, or NOTIFY wakes us; a burst of those leaves most of the CPU to requests."""
        took = self._clock.monotonic() - began
        await asyncio.sleep(max(_MIN_PAUSE_SECONDS, min(took * _PAUSE_PER_POLL, _MAX_PAUSE_SECONDS)))
        try:
            async with asyncio.timeout(max(0, began + self._interval - self._clock.monotonic())):
                await self._wake.wait()
        except TimeoutError:
            pass

    async def _poll(self, began: float) -> list[Shard]:
        """Read and swap. What a full reload replaced is returned, for the caller to let go of."""
        waiting = set(self._waiters)
        is_due = began - self._verified_at >= self._interval
        horizon, builder = await self._rows.read(
            self._current, self._horizon, self._secrets, self._next_shard if is_due else None
        )
        if is_due:
            self._verified_at = began
            self._next_shard = (self._next_shard + 1) % SHARDS
        former, self._current = self._current, builder.build()
        self._horizon, self._confirmed_at = horizon, began
        self._loaded.set()
        is_new = former is not self._current
        self._tell(builder, is_new, began)
        for waiter in self._waiters if is_new else waiting:
            if not waiter.done():
                waiter.set_result(is_new)
        return list(former.shards) if builder.is_full and is_new else []

    def _tell(self, builder: SnapshotBuilder, is_new: bool, began: float) -> None:
        for kind, id_, error in builder.rejections[:_MAX_TOLD_REJECTIONS]:
            self._observe(RecordRejected(kind=kind, id=id_, error=error))
        if is_new or builder.is_full:
            self._observe(
                SnapshotSwapped(
                    changed_rows=builder.changed_rows,
                    rejected_rows=len(builder.rejections),
                    keys=self._current.keys,
                    is_full=builder.is_full,
                    seconds=self._clock.monotonic() - began,
                )
            )


async def _let_go(shards: list[Shard]) -> None:
    """Free a large replaced view bit by bit: a million keys at once would hold the loop for a tenth of a second."""
    while shards:
        del shards[-_SHARDS_LET_GO:]
        await asyncio.sleep(0)
