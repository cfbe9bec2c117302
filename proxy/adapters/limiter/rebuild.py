"""Set Redis's counters from Postgres: all of an account when Redis has lost them, those of one key when they are wrong.

One worker does it, under a lock; while it does, there is no epoch and so no script counts. Settled markers of the last
minutes come back too, so that settles which the workers publish again do not count twice.
"""

import asyncio
import secrets
from collections import defaultdict
from collections.abc import Sequence
from contextlib import suppress
from typing import Literal, cast

from proxy.adapters.limiter.charges import ChargeSource, ChargeView, counters
from proxy.adapters.limiter.link import Argument, LinkLostError, RedisLink
from proxy.adapters.limiter.scripts import (
    CLAIM,
    CORRECT,
    OPEN,
    RESTORE,
    Epoch,
    Script,
    attempts_key,
    epoch_key,
    lock_key,
)
from proxy.adapters.tasks import Tasks
from proxy.core.holds import Bucket
from proxy.observations import CountersRebuilt
from proxy.ports import Clock, Observer

# Between a rebuild and the first call of a budgeted key: every worker sees the new epoch and publishes what it has.
OPENING_MS = 3_000
# Markers of settles live 10 minutes; clocks may differ by one.
MARKERS_MS = 660_000
_CHUNK = 500

Correction = Literal["corrected", "busy", "gone"]
"""busy: something is under way or moved. gone: there is no such key any more."""

_KEEP_LOCK_SECONDS = 3.0


class LockLostError(Exception):
    """Another worker has taken over the rebuild."""


class Rebuilder:
    """What one worker does to make Redis's copy whole."""

    def __init__(self, link: RedisLink, charges: ChargeSource, tasks: Tasks, observe: Observer, clock: Clock) -> None:
        self._link = link
        self._charges = charges
        self._tasks = tasks
        self._observe = observe
        self._clock = clock

    async def rebuild(self, account_id: str, found: bytes) -> bool:
        """Rebuild every counter of the account and open a new epoch. `found` is the epoch that is no good, or b"".

        False when another worker does it, or did. Raises LinkLostError, hiredis.ReplyError, ChargesUnavailableError.
        """
        started = self._clock.monotonic()
        token = secrets.token_hex(8)
        lock, epoch = lock_key(account_id), epoch_key(account_id)
        if not (await self._run(CLAIM, (lock, epoch), (token, found)))[1]:
            return False
        keeper = self._tasks.spawn(self._keep_lock(lock, token), "keep rebuild lock")
        value = b""
        restored = 0
        try:
            async with self._charges.view(account_id) as view:
                restored, value = await self._restore(view, account_id, lock, token)
        except LockLostError:
            return False
        finally:
            keeper.cancel()
            with suppress(LinkLostError):  # then the lock expires by itself
                await self._run(OPEN, (lock, epoch), (token, value))
        self._observe(CountersRebuilt(account_id, restored, self._clock.monotonic() - started))
        return True

    async def _restore(self, view: ChargeView, account_id: str, lock: str, token: str) -> tuple[int, bytes]:
        # The windows are named after Postgres's snapshot was taken: nothing in it was admitted in a later one.
        now_ms = await self._now_ms()
        found = await counters(view, account_id, None, now_ms)
        for start in range(0, len(found), _CHUNK):
            chunk = found[start : start + _CHUNK]
            arguments: list[Argument] = [token]
            for bucket, value in chunk:
                arguments += [value, bucket.ends_ms]
            if not (await self._run(RESTORE, (lock, *(bucket.name for bucket, _ in chunk)), arguments))[1]:
                raise LockLostError
        has_events = any(value for _, value in found)
        epoch_id = secrets.token_hex(4)
        async for batch in view.recent(now_ms - MARKERS_MS):
            has_events = True
            await self._mark(account_id, epoch_id, batch)
        opens_ms = await self._now_ms() + (OPENING_MS if has_events else 0)
        return len(found), b"%s:%s:%d" % (epoch_id.encode(), self._link.run_id, opens_ms)

    async def _mark(self, account_id: str, epoch_id: str, batch: Sequence[tuple[str, int]]) -> None:
        # The names hold the new epoch's id, so no one else reads or writes them yet.
        marks: defaultdict[str, list[Argument]] = defaultdict(list)
        for attempt_id, nano in batch:
            marks[attempts_key(account_id, epoch_id, attempt_id)] += [attempt_id, nano]
        for key, pairs in marks.items():
            await self._link.ask("HSET", key, *pairs)
            await self._link.ask("PEXPIRE", key, MARKERS_MS)

    async def correct(self, account_id: str, key_id: str, epoch: Epoch) -> Correction:
        """Set the current counters of one key, unless something is under way or one moves meanwhile.

        Raises as `rebuild` does.
        """
        now_ms = await self._now_ms()
        async with self._charges.view(account_id) as view:
            buckets = [bucket for bucket, _ in await counters(view, account_id, (key_id,), now_ms)]
        if not buckets:
            return "gone"
        holds = [f"{bucket.name}:holds" for bucket in buckets if bucket.resource == "cost"]
        if await self._link.ask("EXISTS", *holds):
            return "busy"
        # Redis is read before the snapshot that Postgres answers from: a settle that comes between moves a counter.
        expected = await read_counters(self._link, buckets)
        async with self._charges.view(account_id) as view:
            told = dict(await counters(view, account_id, (key_id,), now_ms))
        if list(told) != buckets:
            return "busy"
        arguments: list[Argument] = [epoch.value]
        for bucket, value in zip(buckets, expected, strict=True):
            arguments += [value, told[bucket], bucket.ends_ms]
        reply = await self._run(CORRECT, (epoch_key(account_id), *(bucket.name for bucket in buckets)), arguments)
        return "corrected" if len(reply) == 2 and reply[1] == 1 else "busy"

    async def _keep_lock(self, lock: str, token: str) -> None:
        with suppress(LinkLostError):
            while True:
                await asyncio.sleep(_KEEP_LOCK_SECONDS)
                await self._run(RESTORE, (lock,), (token,))

    async def _now_ms(self) -> int:
        reply = cast("list[bytes]", await self._link.ask("TIME"))
        return int(reply[0]) * 1000 + int(reply[1]) // 1000

    async def _run(self, script: Script, keys: Sequence[str], arguments: Sequence[Argument]) -> list[int]:
        return cast("list[int]", await self._link.ask("EVALSHA", script.sha, len(keys), *keys, *arguments))


async def read_counters(link: RedisLink, buckets: Sequence[Bucket]) -> list[int]:
    """What the counters say; 0 for one that does not exist. Raises LinkLostError, hiredis.ReplyError."""
    replies = cast("list[bytes | None]", await link.ask("MGET", *(bucket.name for bucket in buckets)))
    return [int(reply or 0) for reply in replies]
