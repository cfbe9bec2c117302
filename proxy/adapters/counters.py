"""ports.Counters on Redis: reserve before a call, settle after, one round trip for all of a loop's tick.

What is decided is in core/limits.py and, in one atomic step, in limiter/reserve.lua. This file carries attempts to that
step and its answers back; it knows when Redis cannot be asked and who is served all the same.
"""

import asyncio
from collections.abc import Callable

from proxy.adapters.limiter.attempts import OpenAttempts
from proxy.adapters.limiter.charges import ChargeSource
from proxy.adapters.limiter.epochs import Epochs
from proxy.adapters.limiter.link import RedisAddress, RedisLink
from proxy.adapters.limiter.memory import LocalRates, RememberedRefusals
from proxy.adapters.limiter.rebuild import MARKERS_MS, Rebuilder
from proxy.adapters.limiter.reconcile import Reconciler
from proxy.adapters.limiter.reserves import Answer, Plan, Plans, Reserves, Waiting
from proxy.adapters.limiter.scripts import ADMITTED_KINDS, HELD, KNOWN_ATTEMPT, SOURCES, STALE_WINDOW
from proxy.adapters.limiter.settles import VOID, Settles
from proxy.adapters.limiter.store import Store
from proxy.adapters.limiter.upkeep import Unshipped, Upkeep
from proxy.adapters.tasks import Tasks
from proxy.core.holds import Bounds, BucketState, Hold, SettleOrder
from proxy.core.limits import Denial, Naming, demand, refusal_for
from proxy.core.snapshot import CompiledKey
from proxy.ports import Clock, Observer
from shared.errors import Refusal
from shared.records import DEFAULT_ACCOUNT

_MOST_TRIES = 3
_START_SECONDS = 6.0


class RedisCounters:
    """The limiter of one worker."""

    def __init__(
        self,
        *,
        address: RedisAddress,
        timeout_seconds: float,
        charges: ChargeSource,
        workers: int,
        clock: Clock,
        tasks: Tasks,
        observe: Observer,
        unshipped: Unshipped = tuple,
        on_settled: Callable[[list[str]], None] = lambda _attempt_ids: None,
    ) -> None:
        self._clock = clock
        self._tasks = tasks
        link = RedisLink(address, SOURCES)
        self._store = Store(link, clock, timeout_seconds)
        rebuilder = Rebuilder(link, charges, tasks, observe, clock)
        self._epochs = Epochs(self._store, rebuilder, tasks, observe, clock)
        self._reconciler = Reconciler(link, self._epochs, charges, rebuilder, observe)
        self._settles = Settles(self._store, self._epochs, observe, on_settled, self._reconciler.touch)
        self._reserves = Reserves(self._store, self._epochs, self._settles.pump)
        self._plans = Plans()
        self._open = OpenAttempts()
        self._refusals = RememberedRefusals()
        self._local = LocalRates(workers)
        self._upkeep = Upkeep(
            store=self._store,
            epochs=self._epochs,
            settles=self._settles,
            open_attempts=self._open,
            reconciler=self._reconciler,
            unshipped=unshipped,
            tasks=tasks,
            observe=observe,
            clock=clock,
        )
        self._upkeep.on_lost_past = self._refusals.clear
        self._upkeep.on_whole = self._local.clear
        self._background: list[asyncio.Task[None]] = []

    # ports.Counters

    def refuse_remembered(self, key: CompiledKey) -> None:
        """See ports.Counters."""
        if key.id in self._refusals:
            self._refusals.refuse(key.id, key.limits, self._store.now_ms())

    async def reserve(self, key: CompiledKey, attempt_id: str, bounds: Bounds | None) -> Hold:
        """See ports.Counters."""
        if not key.is_limited:
            now_ms = self._clock.now_ms()
            self._open.add_unlimited(attempt_id)
            plan = self._plans.at(key, now_ms)
            return Hold(
                SettleOrder(attempt_id, key.account_id, key.id, now_ms, plan.naming.order_buckets), "none", 0, ()
            )
        plan = self._plans.at(key, self._store.now_ms())
        until = self._clock.monotonic() + self._store.timeout_seconds
        for attempt in range(_MOST_TRIES):
            # After a rebuild money waits until every worker has published what it has; requests need not.
            epochs = self._epochs
            epoch = epochs.open_epoch(key.account_id) if key.has_cost_limit else epochs.current(key.account_id)
            if epoch is None or not self._store.is_usable:
                break
            waiting = Waiting(plan, epoch, attempt_id, bounds)
            self._reserves.add(waiting)
            if attempt:
                self._reserves.expire(waiting, until - self._clock.monotonic())
            try:
                answer = await waiting.answer
            except asyncio.CancelledError:
                self._void_unknown(key, waiting)
                raise
            if answer is None:
                try:
                    return self._reserve_alone(key, plan, attempt_id)
                except Refusal:
                    self._void_unknown(key, waiting)
                    raise
            if answer[0] >= 0:
                return self._admitted(key, waiting, answer, bounds)
            if answer[0] != STALE_WINDOW:
                raise self._denied(key, waiting, answer)
            self._store.heard(waiting.now_ms, is_exact=True)
            plan = plan.at(self._store.now_ms())
        return self._reserve_alone(key, plan, attempt_id)

    def settle(self, order: SettleOrder, cost_nano: int | None) -> None:
        """See ports.Counters. An unknown cost counts the request only."""
        whose = self._open.take(order.attempt_id)
        is_replay = whose == "unknown" and self._store.now_ms() - order.admitted_ms > MARKERS_MS
        self._settles.put(order, str(cost_nano or 0), is_replay)
        self._settles.pump_soon(whose == "limited")
        self._reconciler.touch(order)

    def void(self, order: SettleOrder) -> None:
        """See ports.Counters."""
        whose = self._open.take(order.attempt_id)
        self._settles.put(order, VOID)
        self._settles.pump_soon(whose != "unlimited")
        self._refusals.forget(order.key_id)

    # the worker's life

    async def start(self) -> None:
        """Connect and watch. Waits for the counters to be there and open, never fails when they are not."""
        until = self._clock.monotonic() + _START_SECONDS
        self._epochs.current(DEFAULT_ACCOUNT)
        self._background += [
            self._tasks.spawn(self._epochs.watch(), "watch limiter"),
            self._tasks.spawn(self._upkeep.reconcile(), "reconcile counters"),
        ]
        while self._is_coming() and self._clock.monotonic() < until:  # noqa: ASYNC110
            await asyncio.sleep(0.01)

    def _is_coming(self) -> bool:
        """Budgeted keys cannot be admitted yet, but soon: counters are being rebuilt, or not yet open."""
        if self._epochs.is_unsettled(DEFAULT_ACCOUNT):
            return True
        return self._epochs.current(DEFAULT_ACCOUNT) is not None and not self.is_ready

    async def flush(self, timeout_seconds: float) -> int:
        """Wait until Redis has every settle, at most so long. How many it still lacks."""
        until = self._clock.monotonic() + timeout_seconds
        self._settles.pump()
        while len(self._settles) and self._clock.monotonic() < until:  # noqa: ASYNC110
            await asyncio.sleep(0.005)
        return len(self._settles)

    async def close(self) -> None:
        """Stop. What is not flushed is in the journal."""
        for task in self._background:
            task.cancel()
        await asyncio.gather(*self._background, return_exceptions=True)
        self._store.link.drop()

    @property
    def waiting_settles(self) -> int:
        """Settles and voids that Redis has not confirmed."""
        return len(self._settles)

    @property
    def open_holds(self) -> int:
        """Attempts of limited keys under way here."""
        return len(self._open)

    @property
    def is_ready(self) -> bool:
        """Budgeted keys can be admitted."""
        return self._store.is_usable and self._epochs.open_epoch(DEFAULT_ACCOUNT) is not None

    @property
    def fault(self) -> str:
        """Why Redis cannot be reached, in kinds of errors that anybody may read; empty when it could be last time."""
        return self._store.link.fault

    # reserve's outcomes

    def _admitted(self, key: CompiledKey, waiting: Waiting, answer: Answer, bounds: Bounds | None) -> Hold:
        states: list[BucketState] = []
        room: int | None = None
        place = 2
        for limit, bucket in zip(key.limits, waiting.naming.buckets, strict=True):
            spent, held = answer[place], answer[place + 1]
            place += 2
            states.append(BucketState(limit, bucket, spent, held))
            if limit.resource == "cost":
                available = limit.amount - spent - held
                room = available if room is None or available < room else room
        order = _order(key, waiting.naming, waiting.attempt_id, waiting.now_ms)
        if room is None or bounds is None:
            hold = Hold(order, "none", 0, tuple(states))
        else:
            # Backed: the worst case fits. Clamped: all the room. In the lane: whichever is less. (limits.decide)
            kind = ADMITTED_KINDS[answer[0]]
            held_nano = room if kind == "clamped" else min(demand(bounds).worst_nano, room)
            hold = Hold(order, kind, held_nano, tuple(states))
        self._open.add(hold, bounds, self._clock.monotonic())
        return hold

    def _denied(self, key: CompiledKey, waiting: Waiting, answer: Answer) -> Refusal:
        if answer[0] == KNOWN_ATTEMPT:
            return _unavailable()
        place = answer[1] - 1
        denial = Denial(key.limits[place], waiting.naming.buckets[place], answer[0] == HELD)
        self._refusals.remember(key.id, denial, answer[2 + 2 * place], waiting.now_ms)
        return refusal_for(denial, waiting.now_ms)

    def _reserve_alone(self, key: CompiledKey, plan: Plan, attempt_id: str) -> Hold:
        """Without Redis nobody may spend from a budget; requests are counted here, each worker its share."""
        if key.has_cost_limit:
            raise _unavailable()
        now_ms = self._store.now_ms()
        denial = self._local.admit(plan.limits, plan.naming)
        if denial is not None:
            raise refusal_for(denial, now_ms)
        hold = Hold(_order(key, plan.naming, attempt_id, now_ms), "none", 0, ())
        self._open.add(hold, None, self._clock.monotonic())
        return hold

    def _void_unknown(self, key: CompiledKey, waiting: Waiting) -> None:
        self.void(_order(key, waiting.naming, waiting.attempt_id, self._store.now_ms()))


def _order(key: CompiledKey, naming: Naming, attempt_id: str, admitted_ms: int) -> SettleOrder:
    return SettleOrder(attempt_id, key.account_id, key.id, admitted_ms, naming.order_buckets)


def _unavailable() -> Refusal:
    return Refusal("limiter_unavailable", "the limiter is not available at the moment", retry_after=1)
