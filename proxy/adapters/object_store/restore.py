"""Tell Redis again what Postgres knows of an account's objects: all of it when Redis is empty, else what it may lack.

One worker does it, under a lock; what is found meanwhile is true, only "there is no such object" has to wait.
"""

import secrets
from contextlib import suppress
from typing import cast

import hiredis

from proxy.adapters.limiter.link import LinkLostError, RedisLink, Reply, pack
from proxy.adapters.object_store.marks import FINISH, LOCK_MS, MARK_SECONDS, OPENING_MS, Mark, lock_key, mark_key
from proxy.adapters.object_store.names import KEPT_SECONDS, ObjectName, is_object_id
from proxy.adapters.object_store.postgres_objects import KnownObject, ObjectSource
from proxy.observations import ObjectsRestored
from proxy.ports import Clock, Observer

# An event is in Postgres seconds after its call ended, and a call may take so long; it is filed under its beginning.
_LONGEST_CALL_MS = 2 * 3_600_000


class ObjectRestorer:
    """What one worker does to make Redis's objects whole."""

    def __init__(self, link: RedisLink, source: ObjectSource, observe: Observer, clock: Clock) -> None:
        self._link = link
        self._source = source
        self._observe = observe
        self._clock = clock

    async def restore(self, account_id: str, found: Mark | None) -> bool:
        """Tell Redis, and mark it. `found` is the mark that is no good any more.

        False when another worker does it. Raises LinkLostError, hiredis.ReplyError, ObjectsUnavailableError.
        """
        started = self._clock.monotonic()
        lock, token = lock_key(account_id), secrets.token_hex(8)
        if await self._link.ask("SET", lock, token, "NX", "PX", LOCK_MS) is None:
            return False
        value = ""
        count = 0
        try:
            now_ms = await self._now_ms()
            since_ms = now_ms - KEPT_SECONDS * 1000
            if found is not None:
                since_ms = max(since_ms, found.touched_ms - _LONGEST_CALL_MS)
            async for page in self._source.pages(account_id, since_ms):
                await self._put(account_id, page, now_ms)
                count += len(page)
                await self._link.ask("PEXPIRE", lock, LOCK_MS)
            # Where nothing was ever made, no worker can have anything to tell.
            has_past = count > 0 or found is not None
            now_ms = await self._now_ms()
            value = Mark.new(self._link.run_id, now_ms + OPENING_MS if has_past else now_ms, now_ms).value
        finally:
            with suppress(LinkLostError, hiredis.ReplyError):  # then the lock expires by itself
                keys = (lock, mark_key(account_id))
                is_marked = await self._link.ask("EVAL", FINISH, 2, *keys, token, value, MARK_SECONDS) == 1
                if is_marked and value:
                    self._observe(ObjectsRestored(account_id, count, self._clock.monotonic() - started))
        return True

    async def _put(self, account_id: str, page: list[KnownObject], now_ms: int) -> None:
        """All of a page, pipelined. What Redis has stays: it was told by who made it."""
        failed: list[Exception] = []

        def answered(reply: Reply) -> None:
            if isinstance(reply, Exception):
                failed.append(reply)

        for known in page:
            left = KEPT_SECONDS - (now_ms - known.made_ms) // 1000
            if left > 0 and is_object_id(known.object_id):
                key = ObjectName(account_id, known.provider, known.object_id).key
                self._link.send(pack(("SET", key, known.setting_id, "NX", "EX", left)), answered)
        await self._link.ask("PING")  # it is answered after them
        if failed:
            raise failed[0]

    async def _now_ms(self) -> int:
        reply = cast("list[bytes]", await self._link.ask("TIME"))
        return int(reply[0]) * 1000 + int(reply[1]) // 1000
