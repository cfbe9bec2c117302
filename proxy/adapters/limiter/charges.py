"""What Postgres knows of spend: the port that counters are rebuilt from, and how its facts become counters.

Spend is a fact in Postgres; Redis is a fast copy (design §6). This file does not know how Postgres is asked.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager
from typing import NamedTuple, Protocol

from proxy.core.holds import Bucket
from proxy.core.limits import WINDOWS, compile_limits, is_lifetime, lifetime_bucket
from shared.errors import Refusal
from shared.records import Limit

_KEYS_A_TURN = 200


class ChargesUnavailableError(Exception):
    """Postgres cannot be asked now."""


class Spend(NamedTuple):
    """What a key used in some time."""

    requests: int
    cost_nano: int


class ChargeView(Protocol):
    """One account's spend at one moment: every answer is of the same snapshot. All raise ChargesUnavailableError."""

    async def limits(self, key_ids: Sequence[str] | None) -> dict[str, tuple[Limit, ...]]:
        """Limits by key: of these keys, or of all. A key without limits is there too."""
        ...

    async def lifetime(self, key_ids: Sequence[str] | None) -> dict[str, int]:
        """Nano-USD ever spent by key. Keys that spent nothing may be missing."""
        ...

    async def since(self, asked: Sequence[tuple[str, int]]) -> list[Spend]:
        """What a key used since a moment (Unix milliseconds, included), for each (key, moment)."""
        ...

    def recent(self, since_ms: int) -> AsyncIterator[list[tuple[str, int]]]:
        """(attempt, nano-USD) of all attempts that ended since then, in batches. An unknown cost is 0."""
        ...


class ChargeSource(Protocol):
    """Where views come from."""

    def view(self, account_id: str) -> AbstractAsyncContextManager[ChargeView]:
        """A view as of now. Raises ChargesUnavailableError."""
        ...


async def counters(
    view: ChargeView, account_id: str, key_ids: Sequence[str] | None, now_ms: int
) -> list[tuple[Bucket, int]]:
    """Every counter that is current at `now_ms`, with what it should say, zeros included.

    A limit counts from its `reset_at`, the lifetime cost from the beginning.
    """
    limits_by_key = await view.limits(key_ids)
    lifetime = await view.lifetime(key_ids)
    found = [(lifetime_bucket(account_id, key_id), lifetime.get(key_id, 0)) for key_id in limits_by_key]
    windowed: list[Bucket] = []
    asked: list[tuple[str, int]] = []
    for place, (key_id, limits) in enumerate(limits_by_key.items()):
        if place % _KEYS_A_TURN == 0:
            await asyncio.sleep(0)
        try:
            naming = compile_limits(account_id, key_id, limits).name(now_ms)
        except Refusal:
            continue  # a limit that is not enforced here: the key is closed, so nothing counts
        for limit, bucket in zip(limits, naming.buckets, strict=True):
            if not is_lifetime(limit):
                windowed.append(bucket)
                asked.append((key_id, max(WINDOWS[limit.window](now_ms)[0], limit.reset_at_ms)))
    for bucket, spend in zip(windowed, await view.since(asked), strict=True):
        found.append((bucket, spend.cost_nano if bucket.resource == "cost" else spend.requests))
    return found
