"""Redis against Postgres, all the time: keys that were settled here and are quiet now must agree to the nano-USD.

A difference that stays is told, and the key's counters are set from Postgres. Settles that were too old to be counted
safely, or that could not be kept in memory, end here too.
"""

from collections.abc import Iterable, Set

import hiredis

from proxy.adapters.limiter.charges import ChargeSource, ChargesUnavailableError
from proxy.adapters.limiter.epochs import Epochs
from proxy.adapters.limiter.link import LinkLostError, RedisLink
from proxy.adapters.limiter.rebuild import Rebuilder, read_counters
from proxy.core.holds import SettleOrder
from proxy.core.limits import lifetime_bucket
from proxy.observations import DriftFound
from proxy.ports import Observer

RECONCILE_SECONDS = 60.0
_MOST_KEYS = 1_000
_MOST_TOUCHED = 100_000


class Reconciler:
    """What is to be compared, and what differed the last time."""

    def __init__(
        self,
        link: RedisLink,
        epochs: Epochs,
        charges: ChargeSource,
        rebuilder: Rebuilder,
        observe: Observer,
    ) -> None:
        self._link = link
        self._epochs = epochs
        self._charges = charges
        self._rebuilder = rebuilder
        self._observe = observe
        self._touched: dict[tuple[str, str], None] = {}
        self._differing: dict[tuple[str, str], tuple[int, int]] = {}

    def touch(self, order: SettleOrder) -> None:
        """The key's spend changed, or should have."""
        if len(self._touched) < _MOST_TOUCHED:
            self._touched[order.account_id, order.key_id] = None

    async def run(self, busy: Set[str]) -> None:
        """Compare once, less the `busy` keys. A store that cannot be asked leaves it for the next time."""
        wanted: dict[str, list[str]] = {}
        for place in [name for name in self._touched if name[1] not in busy][:_MOST_KEYS]:
            wanted.setdefault(place[0], []).append(place[1])
        for account_id, key_ids in wanted.items():
            try:
                await self._compare(account_id, key_ids)
            except (LinkLostError, hiredis.ReplyError, ChargesUnavailableError):
                continue

    async def _compare(self, account_id: str, key_ids: Iterable[str]) -> None:
        epoch = self._epochs.current(account_id)
        if epoch is None:
            return
        keys = list(key_ids)
        in_redis = await read_counters(self._link, [lifetime_bucket(account_id, key_id) for key_id in keys])
        async with self._charges.view(account_id) as view:
            in_postgres = await view.lifetime(keys)
        for key_id, redis_nano in zip(keys, in_redis, strict=True):
            name = account_id, key_id
            del self._touched[name]
            before = self._differing.pop(name, None)
            now = redis_nano, in_postgres.get(key_id, 0)
            if now[0] == now[1]:
                continue
            # Another worker may have something on its way. What is the same a minute later is not on its way.
            done = await self._rebuilder.correct(account_id, key_id, epoch) if before == now else "busy"
            if done == "busy":
                self._touched[name] = None  # behind all the others
                self._differing[name] = now
            elif done == "corrected":
                self._observe(DriftFound(key_id, *now))
