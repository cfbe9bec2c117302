"""Which setting an upstream object was made with, if the asking account made it: nobody else's object is ever found.

Objects are told to Redis as they are made, off the path, and kept for 32 days; this worker knows its own at once. A
look-up asks Redis and never Postgres. Where Redis has lost its past, Postgres tells it again in the background
(object_store/restore.py), and until that is done an object that is not found is not known to be nobody's.
"""

import asyncio
from typing import cast

import hiredis

from proxy.adapters.limiter.link import LinkLostError, RedisAddress, RedisLink, Reply, pack
from proxy.adapters.limiter.store import Store
from proxy.adapters.object_store.marks import MARK_SECONDS, TOUCH, TOUCH_SECONDS, Mark, mark_key
from proxy.adapters.object_store.names import ObjectName, is_object_id
from proxy.adapters.object_store.postgres_objects import ObjectSource, ObjectsUnavailableError
from proxy.adapters.object_store.restore import ObjectRestorer
from proxy.adapters.object_store.waiting import Pending, Waiting
from proxy.adapters.tasks import Tasks
from proxy.observations import ObjectsUnrestored
from proxy.ports import Clock, Observer
from shared.errors import Refusal
from shared.records import DEFAULT_ACCOUNT

MOST_REMEMBERED = 50_000
"""Objects in this worker's memory, some 400 bytes each."""
MOST_ACCOUNTS = 5_000
PULSE_SECONDS = 1.0
ASK_SECONDS = 1.0
"""Longest wait of a look-up: for Redis, and while it is being told what it had lost."""
_STEP_SECONDS = 0.05
_RETRY_SECONDS = 2.0
_MARKS_AT_ONCE = 500
_MOST_RESTORING = 2


class Objects:
    """Who owns upstream objects, as one worker knows it. No object's id is trusted, wherever it comes from."""

    def __init__(
        self,
        *,
        address: RedisAddress,
        timeout_seconds: float,
        source: ObjectSource,
        clock: Clock,
        tasks: Tasks,
        observe: Observer,
    ) -> None:
        self._clock = clock
        self._tasks = tasks
        self._observe = observe
        self._timeout_seconds = timeout_seconds
        self._link = RedisLink(address, ())
        self._store = Store(self._link, clock, timeout_seconds)
        self._restorer = ObjectRestorer(self._link, source, observe, clock)
        self._waiting = Waiting(self._store, observe, clock)
        # In the order of use. Made here: the moment, for Redis may have to be told again; looked up: 0.
        self._memory: dict[ObjectName, tuple[str, int]] = {}
        self._marks: dict[str, Mark | None] = {DEFAULT_ACCOUNT: None}
        self._restoring: set[str] = set()
        self._retry_at: dict[str, float] = {}
        self._told = False
        self._touched_at = 0.0
        self._watching: asyncio.Task[None] | None = None

    # what the gateway uses

    def remember(self, account_id: str, provider: str, object_id: str, setting_id: str) -> None:
        """The account has made an object. Known here at once, in Redis soon. Never waits, never raises."""
        self._remember(account_id, provider, object_id, setting_id)

    async def remember_now(self, account_id: str, provider: str, object_id: str, setting_id: str) -> bool:
        """The same, and wait for Redis, which another worker asks, at most LIMITER_TIMEOUT. False: not there yet."""
        waiter: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        if not self._remember(account_id, provider, object_id, setting_id, waiter) or not self._store.is_usable:
            return False
        try:
            async with asyncio.timeout(self._timeout_seconds):
                return await waiter
        except TimeoutError:
            self._store.failed()
            return False

    def forget(self, account_id: str, provider: str, object_id: str) -> None:
        """The object was deleted. Never waits, never raises."""
        if is_object_id(object_id):
            name = ObjectName(account_id, provider, object_id)
            self._memory.pop(name, None)
            self._waiting.put(Pending(name, "", 0))

    async def owner(self, account_id: str, provider: str, object_id: str) -> str | None:
        """The setting that the account made the object with; None: the account has no such object.

        Raises Refusal limiter_unavailable when nobody can tell at the moment.
        """
        if not is_object_id(object_id):
            return None
        name = ObjectName(account_id, provider, object_id)
        known = self._memory.pop(name, None)
        if known is not None:
            self._memory[name] = known
            return known[0]
        self._note_account(account_id)
        until = self._clock.monotonic() + ASK_SECONDS
        while self._store.is_usable:
            found, is_whole = await self._look_up(name)
            if found:
                self._keep(name, found, 0)
                return found
            if is_whole:
                return None
            self._store.wake.set()
            if self._clock.monotonic() >= until:
                break
            await asyncio.sleep(_STEP_SECONDS)
        raise Refusal("limiter_unavailable", "whose object this is cannot be told at the moment", retry_after=1)

    # the worker's life

    async def start(self) -> None:
        """Connect and watch, in the background."""
        self._watching = self._tasks.spawn(self._watch(), "watch objects")

    async def flush(self, timeout_seconds: float) -> int:
        """Wait until Redis has been told everything, at most so long. How much it still lacks."""
        until = self._clock.monotonic() + timeout_seconds
        self._waiting.pump()
        while len(self._waiting) and self._clock.monotonic() < until:  # noqa: ASYNC110
            await asyncio.sleep(0.005)
        return len(self._waiting)

    async def close(self) -> None:
        """Stop. What Redis was not told, Postgres will know."""
        if self._watching is not None:
            self._watching.cancel()
            await asyncio.gather(self._watching, return_exceptions=True)
        self._link.drop()

    @property
    def waiting(self) -> int:
        """Objects that Redis has not been told of."""
        return len(self._waiting)

    # memory

    def _remember(
        self,
        account_id: str,
        provider: str,
        object_id: str,
        setting_id: str,
        waiter: asyncio.Future[bool] | None = None,
    ) -> bool:
        if not is_object_id(object_id) or not setting_id:
            return False
        name, now_ms = ObjectName(account_id, provider, object_id), self._clock.now_ms()
        self._note_account(account_id)
        self._keep(name, setting_id, now_ms)
        self._waiting.put(Pending(name, setting_id, now_ms, waiter))
        return True

    def _keep(self, name: ObjectName, setting_id: str, made_ms: int) -> None:
        self._memory.pop(name, None)
        self._memory[name] = (setting_id, made_ms)
        if len(self._memory) > MOST_REMEMBERED:
            del self._memory[next(iter(self._memory))]

    def _note_account(self, account_id: str) -> None:
        """From here on its mark is watched."""
        mark = self._marks.pop(account_id, None)
        self._marks[account_id] = mark
        if len(self._marks) > MOST_ACCOUNTS:
            del self._marks[next(iter(self._marks))]

    # Redis

    async def _look_up(self, name: ObjectName) -> tuple[str, bool]:
        """The setting ("" when Redis has no such object), and whether Redis would have it if there were one.

        Both at one moment: what is being restored is not missing. Raises Refusal.
        """
        try:
            async with asyncio.timeout(self._timeout_seconds):
                value, setting_id = cast(
                    "list[bytes | None]", await self._link.ask("MGET", mark_key(name.account_id), name.key)
                )
        except (LinkLostError, TimeoutError, hiredis.ReplyError) as error:
            if isinstance(error, hiredis.ReplyError):
                self._store.is_poison(error)
            self._store.failed()
            raise Refusal(
                "limiter_unavailable", "whose object this is cannot be told at the moment", retry_after=1
            ) from None
        self._store.succeeded()
        if setting_id:
            return setting_id.decode(), True
        mark = Mark.of(value)
        return "", mark is not None and mark.is_of(self._link.run_id) and self._store.now_ms() >= mark.opens_ms

    async def _watch(self) -> None:
        """The monitor: connects, sees when Redis has lost its past, sends what waits. Runs until it is cancelled."""
        while True:
            self._store.wake.clear()
            await self._pulse()
            try:
                async with asyncio.timeout(PULSE_SECONDS):
                    await self._store.wake.wait()
                await asyncio.sleep(_STEP_SECONDS)  # whoever wakes us again and again must not make us spin
            except TimeoutError:
                pass

    async def _pulse(self) -> None:
        store, link = self._store, self._link
        try:
            if not link.is_up:
                await link.connect()
            async with asyncio.timeout(link.address.answer_seconds):
                await self._look()
        except (LinkLostError, TimeoutError, hiredis.ReplyError):
            link.drop()
            store.failed(is_certain=True)
            store.wake.clear()  # the next try is due at the next pulse
            return
        self._waiting.pump()

    async def _look(self) -> None:
        """Every account's mark."""
        started = self._clock.monotonic()
        time = cast("list[bytes]", await self._link.ask("TIME"))
        self._store.heard(int(time[0]) * 1000 + int(time[1]) // 1000)
        if self._clock.monotonic() - started <= self._timeout_seconds:
            self._store.succeeded()
        for account_id in list(self._waiting.dropped):
            await self._link.ask("DEL", mark_key(account_id))
            self._waiting.dropped.discard(account_id)
        is_touch_due = self._clock.monotonic() - self._touched_at >= TOUCH_SECONDS and not len(self._waiting)
        if is_touch_due:
            self._touched_at = self._clock.monotonic()
        accounts = list(self._marks)
        for start in range(0, len(accounts), _MARKS_AT_ONCE):
            part = accounts[start : start + _MARKS_AT_ONCE]
            for account_id, value in zip(part, await self._ask_marks(part), strict=True):
                self._compare(account_id, Mark.of(value), is_touch_due)

    async def _ask_marks(self, account_ids: list[str]) -> list[bytes | None]:
        return cast("list[bytes | None]", await self._link.ask("MGET", *map(mark_key, account_ids)))

    def _compare(self, account_id: str, mark: Mark | None, is_touch_due: bool) -> None:
        if mark is None or not mark.is_of(self._link.run_id):
            self._marks[account_id] = None
            is_due = self._clock.monotonic() >= self._retry_at.get(account_id, 0.0)
            if is_due and account_id not in self._restoring and len(self._restoring) < _MOST_RESTORING:
                self._restoring.add(account_id)
                self._tasks.spawn(self._restore(account_id, mark), "restore objects")
            return
        known = self._marks.get(account_id)
        if known is None or known.head != mark.head:
            self._marks[account_id] = mark
            self._tell_again(account_id)
        if is_touch_due:
            touch = ("EVAL", TOUCH, 1, mark_key(account_id), mark.head, self._store.now_ms(), MARK_SECONDS)
            self._link.send(pack(touch), _ignore)

    def _tell_again(self, account_id: str) -> None:
        """Redis has a new past: what was made here may have been in the old one only."""
        for name, (setting_id, made_ms) in list(self._memory.items()):
            if made_ms and name.account_id == account_id:
                self._waiting.put(Pending(name, setting_id, made_ms))

    async def _restore(self, account_id: str, found: Mark | None) -> None:
        try:
            if await self._restorer.restore(account_id, found):
                self._told = False
                self._retry_at.pop(account_id, None)
                self._store.wake.set()
        except (LinkLostError, hiredis.ReplyError, ObjectsUnavailableError) as error:
            self._retry_at[account_id] = self._clock.monotonic() + _RETRY_SECONDS
            if not self._told:  # once, not at every attempt
                self._told = True
                self._observe(ObjectsUnrestored(account_id, f"{type(error).__name__}: {error}"))
        finally:
            self._restoring.discard(account_id)


def _ignore(_reply: Reply) -> None:
    """A mark that was not touched only makes a restore read more."""
