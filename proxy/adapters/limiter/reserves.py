"""Reservations on their way: those of one tick of the loop share a round trip, at most 32 in one script.

An answer comes within the limiter's timeout or not at all; then its outcome is not known.
"""

import asyncio
from collections.abc import Callable
from typing import cast

from proxy.adapters.limiter.epochs import Epochs
from proxy.adapters.limiter.link import Reply
from proxy.adapters.limiter.scripts import RESERVE, Epoch, Layout, Run, bulk, reserve_layout
from proxy.adapters.limiter.store import Store
from proxy.core.holds import Bounds
from proxy.core.limits import KeyLimits, Naming, compile_limits, demand
from proxy.core.snapshot import CompiledKey

BATCH = 32
_GRACE_SECONDS = 0.001
_MOST_PLANS = 20_000

_FLAGS = (bulk(0), bulk(1))

Answer = list[int]
"""As reserve.lua gives it."""


class Plan:
    """A key's limits as the scripts take them, named for the windows that were current last."""

    __slots__ = ("key", "layout", "limits", "naming")

    def __init__(self, key: CompiledKey, now_ms: int) -> None:
        self.key = key
        self.limits: KeyLimits = compile_limits(key.account_id, key.id, key.limits)
        self._name(now_ms)

    def _name(self, now_ms: int) -> None:
        self.naming: Naming = self.limits.name(now_ms)
        self.layout: Layout = reserve_layout(self.limits.limits, self.naming)

    def at(self, now_ms: int) -> "Plan":
        """Itself, with the buckets that are current now."""
        if not self.naming.from_ms <= now_ms < self.naming.until_ms:
            self._name(now_ms)
        return self


class Plans:
    """The plans of the keys that were used last."""

    def __init__(self) -> None:
        self._plans: dict[str, Plan] = {}

    def at(self, key: CompiledKey, now_ms: int) -> Plan:
        """The key's plan, named for this moment. Raises Refusal key_closed."""
        plan = self._plans.get(key.id)
        if plan is None or plan.key is not key:
            if plan is not None and plan.key.limits == key.limits and plan.key.account_id == key.account_id:
                plan.key = key  # compiled anew by a newer snapshot
            else:
                if len(self._plans) >= _MOST_PLANS:
                    del self._plans[next(iter(self._plans))]
                plan = self._plans[key.id] = Plan(key, now_ms)
        return plan.at(now_ms)


class Waiting:
    """A reservation and the future of its answer; None for one whose outcome is not known."""

    __slots__ = ("account_id", "answer", "attempt_id", "epoch", "layout", "naming", "now_ms", "own")

    def __init__(self, plan: Plan, epoch: Epoch, attempt_id: str, bounds: Bounds | None) -> None:
        asked = demand(bounds)
        worst, least = str(asked.worst_nano), str(asked.least_nano)
        clamp = "-1" if asked.clamp_nano is None else str(asked.clamp_nano)
        self.own = (
            f"${len(worst)}\r\n{worst}\r\n${len(least)}\r\n{least}\r\n${len(clamp)}\r\n{clamp}\r\n"
            f"{_FLAGS[asked.is_unbounded]}"
        )
        """Its packed arguments: scripts.bulk of each, written out for speed."""
        self.account_id = plan.key.account_id
        self.epoch = epoch
        self.attempt_id = attempt_id
        self.naming = plan.naming
        self.layout = plan.layout
        self.answer: asyncio.Future[Answer | None] = asyncio.get_running_loop().create_future()
        self.now_ms = 0
        """Redis's clock at the answer."""


class Reserves:
    """What this tick of the loop has gathered, and what is on its way."""

    def __init__(self, store: Store, epochs: Epochs, before_sending: Callable[[], None]) -> None:
        self._store = store
        self._epochs = epochs
        self._before_sending = before_sending
        self._gathered: list[Waiting] = []

    def add(self, waiting: Waiting) -> None:
        """Send it with the others of this tick."""
        if not self._gathered:
            asyncio.get_running_loop().call_soon(self._send)
        self._gathered.append(waiting)

    def expire(self, waiting: Waiting, seconds: float) -> None:
        """Give up on this one earlier than the others of its batch: it has waited before."""
        asyncio.get_running_loop().call_later(max(seconds, 0.0), _give_up, [waiting])

    def _send(self) -> None:
        # What this worker has settled goes first: a caller's next call finds its last one settled.
        self._before_sending()
        gathered, self._gathered = self._gathered, []
        by_account: dict[str, list[Waiting]] = {}
        for waiting in gathered:
            if not waiting.answer.done():
                by_account.setdefault(waiting.account_id, []).append(waiting)
        for account_id, batch in by_account.items():
            for start in range(0, len(batch), BATCH):
                self._send_batch(account_id, batch[start : start + BATCH])

    def _send_batch(self, account_id: str, batch: list[Waiting]) -> None:
        epoch = self._epochs.current(account_id)
        if epoch is None or any(waiting.epoch is not epoch for waiting in batch):
            _give_up(batch)
            return
        run = Run(RESERVE, account_id, epoch, own_count=4)
        for waiting in batch:
            run.add(waiting.attempt_id, waiting.own, waiting.layout)
        timer = asyncio.get_running_loop().call_later(self._store.timeout_seconds, self._late, batch)

        def answered(reply: Reply) -> None:
            timer.cancel()
            self._answered(account_id, batch, reply)

        self._store.link.send(run.packed(), answered)

    def _late(self, batch: list[Waiting]) -> None:
        # A loop that was kept busy runs its timers before it reads: give an answer that is here its chance.
        asyncio.get_running_loop().call_later(_GRACE_SECONDS, self._too_late, batch)

    def _too_late(self, batch: list[Waiting]) -> None:
        if any(not waiting.answer.done() for waiting in batch):
            self._store.failed()
            _give_up(batch)

    def _answered(self, account_id: str, batch: list[Waiting], reply: Reply) -> None:
        if isinstance(reply, Exception):
            if self._store.is_poison(reply):
                self._store.failed()
            _give_up(batch)
            return
        answers = cast("list[int | bytes | Answer]", reply)
        now_ms = cast("int", answers[0])
        self._store.heard(now_ms)
        if answers[1] == b"epoch":
            self._epochs.doubt(account_id)
            _give_up(batch)
            return
        is_late = False
        for waiting, answer in zip(batch, answers[1:], strict=True):
            if waiting.answer.done():
                is_late = True
            else:
                waiting.now_ms = now_ms
                waiting.answer.set_result(cast("Answer", answer))
        if not is_late:
            self._store.succeeded()


def _give_up(batch: list[Waiting]) -> None:
    for waiting in batch:
        if not waiting.answer.done():
            waiting.answer.set_result(None)
