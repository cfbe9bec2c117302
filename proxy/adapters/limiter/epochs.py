"""Is Redis's copy whole? An epoch says so: one past that all counters of an account have in common (design §6).

The monitor asks twice a second, so that idle workers notice too. No epoch, or one that another server process began
(a restart may have lost the last writes), means a rebuild; a new epoch means that this worker publishes again what
it has under way. It also is the breaker's probe, and the one that connects.
"""

import asyncio
from collections.abc import Callable
from typing import cast

import hiredis

from proxy.adapters.limiter.charges import ChargesUnavailableError
from proxy.adapters.limiter.link import LinkLostError
from proxy.adapters.limiter.rebuild import Rebuilder
from proxy.adapters.limiter.scripts import Epoch, epoch_key
from proxy.adapters.limiter.store import Store
from proxy.adapters.tasks import Tasks
from proxy.observations import LimiterChanged
from proxy.ports import Clock, Observer

PULSE_SECONDS = 0.5
_HOPELESS = ("unreachable", "unrestored")


class Epochs:
    """The epochs this worker works under, by account."""

    def __init__(self, store: Store, rebuilder: Rebuilder, tasks: Tasks, observe: Observer, clock: Clock) -> None:
        self._store = store
        self._rebuilder = rebuilder
        self._tasks = tasks
        self._observe = observe
        self._clock = clock
        self._known: dict[str, Epoch | None] = {}
        self._opened: dict[str, Epoch] = {}
        self._rebuilding: dict[str, asyncio.Task[None]] = {}
        self._told = ""
        self.on_new: Callable[[str], None] = lambda _account_id: None
        """Called when a new epoch of an account is there and settles can go out under it."""
        self.on_pulse: Callable[[], None] = lambda: None
        """Called when Redis has answered."""

    @property
    def accounts(self) -> tuple[str, ...]:
        """Accounts that were ever asked for here."""
        return tuple(self._known)

    def is_unsettled(self, account_id: str) -> bool:
        """Neither is there an epoch, nor is it known that there is none to be had."""
        return self.current(account_id) is None and self._told not in _HOPELESS

    def current(self, account_id: str) -> Epoch | None:
        """The epoch that counters can be changed under now, None while there is none."""
        epoch = self._known.get(account_id)
        if epoch is None:
            if account_id not in self._known:
                self._known[account_id] = None
                self._store.wake.set()
            return None
        return epoch if epoch.run_id == self._store.link.run_id else None

    def open_epoch(self, account_id: str) -> Epoch | None:
        """The epoch that budgeted keys can be admitted under now, None while there is none."""
        epoch = self.current(account_id)
        if epoch is None or self._opened.get(account_id) is epoch:
            return epoch
        if self._store.now_ms() < epoch.opens_ms:
            return None
        self._opened[account_id] = epoch  # once open it stays so, whatever the clock
        return epoch

    def doubt(self, account_id: str) -> None:
        """A script was told of another epoch."""
        self._known[account_id] = None
        self._store.wake.set()

    async def watch(self) -> None:
        """The monitor. Runs until it is cancelled."""
        while True:
            self._store.wake.clear()
            await self.pulse()
            try:
                async with asyncio.timeout(PULSE_SECONDS):
                    await self._store.wake.wait()
                await asyncio.sleep(PULSE_SECONDS / 50)  # whoever wakes us again and again must not make us spin
            except TimeoutError:
                pass

    async def pulse(self) -> None:
        """Connect if need be, and look at every account once."""
        store = self._store
        try:
            if not store.link.is_up:
                await store.link.connect()
            for account_id in list(self._known):
                started = self._clock.monotonic()
                async with asyncio.timeout(store.link.address.answer_seconds):
                    value = await self._ask(account_id)
                if self._clock.monotonic() - started <= store.timeout_seconds:
                    store.succeeded()
                self._look(account_id, value)
        except (LinkLostError, TimeoutError, hiredis.ReplyError) as error:
            store.link.drop()
            store.failed(is_certain=True)
            self._tell("unreachable", f"{type(error).__name__}: {error}")
            store.wake.clear()  # we know; the next try is due at the next pulse
            return
        self.on_pulse()

    async def _ask(self, account_id: str) -> bytes:
        answer = self._store.link.ask("GET", epoch_key(account_id))
        value = cast("bytes | None", await answer)
        time = cast("list[bytes]", await self._store.link.ask("TIME"))
        self._store.heard(int(time[0]) * 1000 + int(time[1]) // 1000)
        return value or b""

    def _look(self, account_id: str, value: bytes) -> None:
        epoch = Epoch.of(value)
        if epoch is None or epoch.run_id != self._store.link.run_id:
            self._known[account_id] = None
            if account_id not in self._rebuilding:
                if self._told != "unrestored":  # that is told once, not at every attempt
                    self._tell("rebuilding", "Redis has no counters" if epoch is None else "Redis was started again")
                self._rebuilding[account_id] = self._tasks.spawn(self._rebuild(account_id, value), "rebuild counters")
            return
        self._tell("reachable", "")
        if self._known[account_id] != epoch:
            self._known[account_id] = epoch
            self.on_new(account_id)

    async def _rebuild(self, account_id: str, found: bytes) -> None:
        try:
            if await self._rebuilder.rebuild(account_id, found):
                self._store.wake.set()
        except (LinkLostError, hiredis.ReplyError, ChargesUnavailableError) as error:
            self._tell("unrestored", f"{type(error).__name__}: {error}")
        finally:
            del self._rebuilding[account_id]

    def _tell(self, state: str, detail: str) -> None:
        if state != self._told:
            self._told = state
            self._observe(LimiterChanged(state, detail))
