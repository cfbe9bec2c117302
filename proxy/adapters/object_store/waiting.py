"""What Redis does not have yet of the objects made here: in order, each command repeated until Redis has done it.

Bounded: beyond MOST_WAITING the oldest are let go, which `dropped` says, for Postgres has them too.
"""

import asyncio
from collections import deque

import msgspec

from proxy.adapters.limiter.link import Argument, LinkLostError, Reply, pack
from proxy.adapters.limiter.store import Store
from proxy.adapters.object_store.names import KEPT_SECONDS, ObjectName
from proxy.observations import BugFound
from proxy.ports import Clock, Observer

MOST_WAITING = 100_000
"""Twice what a worker remembers: all of that is queued when Redis has lost it, and must not push itself out."""
_MOST_AT_ONCE = 1_000


class Pending(msgspec.Struct, gc=False):
    """One thing to tell Redis."""

    name: ObjectName
    setting_id: str
    """Empty: forget the object."""
    made_ms: int
    waiter: asyncio.Future[bool] | None = None
    """Told whether the first try did it."""


class Waiting:
    """The queue."""

    def __init__(self, store: Store, observe: Observer, clock: Clock) -> None:
        self.dropped: set[str] = set()
        """Accounts of which something was let go."""
        self._store = store
        self._observe = observe
        self._clock = clock
        self._queue: deque[Pending] = deque()
        self._returned: list[Pending] = []
        self._in_flight = 0
        self._is_pump_due = False

    def __len__(self) -> int:
        """Not yet confirmed by Redis."""
        return len(self._queue) + len(self._returned) + self._in_flight

    def put(self, pending: Pending) -> None:
        """Queue it; what is queued in a turn of the loop goes out together at its end."""
        self._queue.append(pending)
        if len(self) > MOST_WAITING and self._queue:
            oldest = self._queue.popleft()
            self.dropped.add(oldest.name.account_id)
            _tell(oldest, False)
        if not self._is_pump_due:
            self._is_pump_due = True
            asyncio.get_running_loop().call_soon(self.pump)

    def pump(self) -> None:
        """Send what waits, if Redis is there."""
        self._is_pump_due = False
        if not self._store.link.is_up:
            return
        self._queue.extendleft(reversed(self._returned))
        self._returned.clear()
        while self._queue and self._in_flight < _MOST_AT_ONCE and self._store.link.is_up:
            pending = self._queue.popleft()
            self._in_flight += 1
            self._store.link.send(
                pack(self._command(pending)), lambda reply, pending=pending: self._done(pending, reply)
            )

    def _command(self, pending: Pending) -> tuple[Argument, ...]:
        if not pending.setting_id:
            return ("DEL", pending.name.key)
        seconds = max(KEPT_SECONDS - (self._clock.now_ms() - pending.made_ms) // 1000, 1)
        return ("SET", pending.name.key, pending.setting_id, "EX", seconds)

    def _done(self, pending: Pending, reply: Reply) -> None:
        self._in_flight -= 1
        if isinstance(reply, LinkLostError):
            self._returned.append(pending)  # replies come in order, and so do losses
            _tell(pending, False)
        elif not isinstance(reply, Exception):
            _tell(pending, True)
            if not self._in_flight and self._queue:
                self.pump()
        elif self._store.is_poison(reply):
            self._observe(BugFound(where="objects", error=reply))
            _tell(pending, False)
        else:
            self._returned.append(pending)
            _tell(pending, False)


def _tell(pending: Pending, is_done: bool) -> None:
    if pending.waiter is not None and not pending.waiter.done():
        pending.waiter.set_result(is_done)
