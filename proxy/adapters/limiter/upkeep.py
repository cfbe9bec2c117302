"""What goes on by itself: holds renewed, settles repeated, and everything published again when Redis lost its past."""

import asyncio
import math
from collections.abc import Callable, Iterable
from typing import cast

from proxy.adapters.limiter.attempts import RENEW_SECONDS, OpenAttempts
from proxy.adapters.limiter.epochs import Epochs
from proxy.adapters.limiter.link import Reply
from proxy.adapters.limiter.reconcile import RECONCILE_SECONDS, Reconciler
from proxy.adapters.limiter.settles import Settles
from proxy.adapters.limiter.store import Store
from proxy.adapters.tasks import Tasks
from proxy.core.holds import SettleOrder
from proxy.observations import BugFound
from proxy.ports import Clock, Observer

Unshipped = Callable[[], Iterable[tuple[SettleOrder, int | None]]]
"""Closed attempts whose events Postgres has not confirmed, with what they cost. May read from disk as it goes."""

_UNSHIPPED_A_TURN = 200


class Upkeep:
    """The limiter's housekeeping in one worker; `Epochs` calls it twice a second while Redis answers."""

    def __init__(
        self,
        *,
        store: Store,
        epochs: Epochs,
        settles: Settles,
        open_attempts: OpenAttempts,
        reconciler: Reconciler,
        unshipped: Unshipped,
        tasks: Tasks,
        observe: Observer,
        clock: Clock,
    ) -> None:
        self._store = store
        self._epochs = epochs
        self._settles = settles
        self._open = open_attempts
        self._reconciler = reconciler
        self._unshipped = unshipped
        self._tasks = tasks
        self._observe = observe
        self._clock = clock
        self._renewed_at = 0.0
        self.on_lost_past: Callable[[], None] = lambda: None
        """Called when counters are others than before."""
        self.on_whole: Callable[[], None] = lambda: None
        """Called when Redis answers in time and has its counters."""
        epochs.on_new = self._publish_again
        epochs.on_pulse = self._pulsed

    def _pulsed(self) -> None:
        self._settles.pump()
        if self._store.is_usable:
            self.on_whole()
        now = self._clock.monotonic()
        if now - self._renewed_at >= RENEW_SECONDS:
            self._renewed_at = now
            for account_id in self._epochs.accounts:
                self._renew(account_id, now - RENEW_SECONDS)

    def _renew(self, account_id: str, since_before: float) -> None:
        epoch = self._epochs.current(account_id)
        if epoch is not None:
            for command in self._open.runs(account_id, epoch, since_before):
                self._store.link.send(command, lambda reply: self._renewed(account_id, reply))

    def _renewed(self, account_id: str, reply: Reply) -> None:
        if isinstance(reply, Exception):
            if self._store.is_poison(reply):
                self._observe(BugFound(where="limiter.renew", error=reply))
        elif len(cast("list[object]", reply)) > 1:
            self._epochs.doubt(account_id)

    def _publish_again(self, account_id: str) -> None:
        self.on_lost_past()
        self._renew(account_id, math.inf)
        self._settles.put_again(account_id)
        self._tasks.spawn(self._publish_unshipped(account_id), "publish unshipped settles")

    async def _publish_unshipped(self, account_id: str) -> None:
        for number, (order, cost_nano) in enumerate(self._unshipped(), 1):
            if order.account_id == account_id:
                self._settles.put(order, str(cost_nano or 0))
            if number % _UNSHIPPED_A_TURN == 0:
                self._settles.pump()
                await asyncio.sleep(0)
        self._settles.pump()

    async def reconcile(self) -> None:
        """Compare Redis and Postgres, once a minute, forever."""
        while True:
            await asyncio.sleep(RECONCILE_SECONDS)
            unshipped = {order.key_id for order, _ in self._unshipped()}
            await self._reconciler.run(unshipped | self._open.key_ids() | self._settles.key_ids())
