"""Settles and voids on their way to Redis: in order, batched, repeated until Redis has them.

Memory is bounded: beyond MOST_WAITING the oldest are let go, and their keys are handed to the reconciler, which puts
the counters right from Postgres. Nothing here knows what a settle means; settle.lua does, by attempt id.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Literal, cast

import msgspec

from proxy.adapters.limiter.epochs import Epochs
from proxy.adapters.limiter.link import Reply
from proxy.adapters.limiter.rebuild import MARKERS_MS
from proxy.adapters.limiter.scripts import SETTLE, Epoch, Layout, Run, bulk, settle_layout
from proxy.adapters.limiter.store import Store
from proxy.core.holds import Bucket, SettleOrder
from proxy.observations import BugFound
from proxy.ports import Observer

BATCH = 64
MOST_WAITING = 200_000
# What Redis has confirmed is kept for a while: when Redis loses it, it may not have been in Postgres when the counters
# were read from there, and no longer be in the journal when they are open again.
KEPT_MS = 30_000
MOST_KEPT = 20_000
_MOST_LAYOUTS = 20_000
_PUMP_SECONDS = 0.005
VOID: Literal["v"] = "v"
_FLAGS = (bulk(0), bulk(1))


class Settlement(msgspec.Struct, gc=False):
    """One order and what becomes of it."""

    number: int
    order: SettleOrder
    verb: str
    """Its cost in nano-USD, or VOID."""
    is_replay: bool
    """So old, and not admitted here, that Redis may have forgotten that it knows it."""
    tried_ms: int = 0
    """When it was first sent without a reply."""


class Settles:
    """The queue, one for each account."""

    def __init__(
        self,
        store: Store,
        epochs: Epochs,
        observe: Observer,
        on_settled: Callable[[list[str]], None],
        on_given_up: Callable[[SettleOrder], None],
    ) -> None:
        self._store = store
        self._epochs = epochs
        self._observe = observe
        self._on_settled = on_settled
        self._on_given_up = on_given_up
        self._queues: dict[str, deque[Settlement]] = {}
        self._layouts: dict[int, tuple[tuple[Bucket, ...], Layout]] = {}
        self._done: deque[tuple[int, list[Settlement]]] = deque()
        self._done_count = 0
        self._made = 0
        self._queued = 0
        self._in_flight = 0
        self._batch = BATCH
        self._is_pump_due = self._is_pump_planned = False

    def __len__(self) -> int:
        """Not yet confirmed by Redis."""
        return self._queued + self._in_flight

    def key_ids(self) -> set[str]:
        """Keys with something that waits."""
        return {settlement.order.key_id for queue in self._queues.values() for settlement in queue}

    def put(self, order: SettleOrder, verb: str, is_replay: bool = False) -> None:
        """Queue it. `pump` sends it."""
        self._made += 1
        self._queued += 1
        queue = self._queues.get(order.account_id)
        if queue is None:
            queue = self._queues[order.account_id] = deque()
        queue.append(Settlement(self._made, order, verb, is_replay))
        if self._queued > MOST_WAITING:
            self._queued -= 1
            self._give_up(max(self._queues.values(), key=len).popleft().order)

    def put_again(self, account_id: str) -> None:
        """Queue what Redis had confirmed lately: it has lost its past, and Postgres may not have known these yet."""
        done, self._done, self._done_count = self._done, deque(), 0
        for moment, batch in done:
            if batch[0].order.account_id != account_id:
                self._keep(moment, batch)
                continue
            for settlement in batch:
                if settlement.verb != VOID:
                    self.put(settlement.order, settlement.verb)

    def pump_soon(self, is_limited: bool) -> None:
        """Send at the end of this turn if it is a limited key's: its next call should find this one settled.

        The spend of others only has to arrive.
        """
        if is_limited:
            if not self._is_pump_due:
                self._is_pump_due = True
                asyncio.get_running_loop().call_soon(self.pump)
        elif not self._is_pump_planned:
            self._is_pump_planned = True
            asyncio.get_running_loop().call_later(_PUMP_SECONDS, self.pump)

    def pump(self) -> None:
        """Send what waits, as far as Redis is there and its counters are whole."""
        self._is_pump_due = self._is_pump_planned = False
        if not self._queued or not self._store.link.is_up:
            return
        for account_id, queue in self._queues.items():
            while queue and (epoch := self._epochs.current(account_id)) is not None:
                batch = [queue.popleft() for _ in range(min(len(queue), self._batch))]
                self._queued -= len(batch)
                self._in_flight += len(batch)
                self._store.link.send(
                    self._packed(account_id, epoch, batch), lambda reply, batch=batch: self._answered(batch, reply)
                )
                if self._batch < BATCH:
                    break  # looking for the one that fails

    def _packed(self, account_id: str, epoch: Epoch, batch: list[Settlement]) -> bytes:
        run = Run(SETTLE, account_id, epoch, own_count=2)
        for settlement in batch:
            order = settlement.order
            own = f"{bulk(settlement.verb)}{_FLAGS[settlement.is_replay]}"
            run.add(order.attempt_id, own, self._layout(order.buckets))
        return run.packed()

    def _layout(self, buckets: tuple[Bucket, ...]) -> Layout:
        # Orders of one key and window share one tuple, so its identity finds the layout without hashing its parts.
        known = self._layouts.get(id(buckets))
        if known is None or known[0] is not buckets:
            if len(self._layouts) >= _MOST_LAYOUTS:
                self._layouts.clear()
            known = self._layouts[id(buckets)] = (buckets, settle_layout(buckets))
        return known[1]

    def _answered(self, batch: list[Settlement], reply: Reply) -> None:
        self._in_flight -= len(batch)
        if isinstance(reply, Exception):
            self._failed(batch, reply)
            return
        answer = cast("list[int | bytes]", reply)
        if len(answer) == 3 and answer[1] == b"epoch":
            self._put_back(batch)
            self._epochs.doubt(batch[0].order.account_id)
            return
        for index in answer[1:]:
            self._on_given_up(batch[int(index) - 1].order)
        self._batch = min(self._batch * 2, BATCH)
        self._keep(self._store.now_ms(), batch)
        self._on_settled([settlement.order.attempt_id for settlement in batch])
        if self._queued:
            self.pump()

    def _keep(self, now_ms: int, batch: list[Settlement]) -> None:
        self._done.append((now_ms, batch))
        self._done_count += len(batch)
        while self._done and (self._done_count > MOST_KEPT or self._done[0][0] < now_ms - KEPT_MS):
            self._done_count -= len(self._done.popleft()[1])

    def _failed(self, batch: list[Settlement], error: Exception) -> None:
        if not self._store.is_poison(error):
            now_ms = self._store.now_ms()
            for settlement in batch:
                settlement.tried_ms = settlement.tried_ms or now_ms
                settlement.is_replay = settlement.is_replay or now_ms - settlement.tried_ms > MARKERS_MS
            self._put_back(batch)
            return
        if len(batch) > 1:  # one of them is the cause: one by one from here
            self._batch = 1
            self._put_back(batch)
        else:
            self._observe(BugFound(where="limiter.settle", error=error))
            self._give_up(batch[0].order)
        self.pump()

    def _give_up(self, order: SettleOrder) -> None:
        self._on_given_up(order)
        self._on_settled([order.attempt_id])

    def _put_back(self, batch: list[Settlement]) -> None:
        self._queued += len(batch)
        queue = self._queues[batch[0].order.account_id]
        if queue and queue[0].number < batch[-1].number:
            rest = sorted([*batch, *queue], key=lambda settlement: settlement.number)
            queue.clear()
            queue.extend(rest)
        else:
            queue.extendleft(reversed(batch))
