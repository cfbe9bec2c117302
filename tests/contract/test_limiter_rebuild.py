"""Redis loses its counters: they come back from Postgres and from the workers, to the nano-USD (design §6)."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest_asyncio

from proxy.adapters.clock import SystemClock
from proxy.adapters.counters import RedisCounters
from proxy.adapters.limiter.epochs import Epochs
from proxy.adapters.limiter.link import RedisAddress, RedisLink
from proxy.adapters.limiter.postgres_charges import PostgresCharges
from proxy.adapters.limiter.rebuild import Rebuilder
from proxy.adapters.limiter.reconcile import Reconciler
from proxy.adapters.limiter.scripts import SOURCES
from proxy.adapters.limiter.store import Store
from proxy.adapters.postgres import Pool, open_pool
from proxy.core.holds import Bounds, Hold, SettleOrder
from proxy.core.limits import compile_limits
from proxy.core.snapshot import CompiledKey
from proxy.observations import CountersRebuilt, DriftFound, LimiterChanged
from shared.events import Event, event_encoder
from shared.ids import uuid7_text
from shared.records import Limit
from tests.attempts import make_event
from tests.limiter_rig import Away, Limiters, kinds, make_key, make_limit, try_reserve, wait_until
from tests.servers import Database, ValkeyServer

WORST = Bounds(1_000, 1, None)


class Ledger:
    """Keys and events in Postgres, written as the planes write them."""

    def __init__(self, admin: asyncpg.Connection, proxy: asyncpg.Connection, owner: asyncpg.Connection) -> None:
        self._admin, self._proxy, self.owner = admin, proxy, owner

    async def add_key(self, *limits: Limit, account_id: str = "default") -> CompiledKey:
        key = make_key(*limits, account_id=account_id)
        await self._admin.execute(
            "INSERT INTO keys (id, account_id, name, digest, digest_version, mask) VALUES ($1, $2, '', $3, '', '')",
            key.id, account_id, key.id.encode(),
        )  # fmt: skip
        for limit in limits:
            await self._admin.execute(
                "INSERT INTO limits (id, scope, scope_id, resource, window_unit, amount, reset_at)"
                " VALUES ($1, 'key', $2, $3, $4, $5, to_timestamp($6::bigint / 1000.0))",
                limit.id, key.id, limit.resource, limit.window, limit.amount, limit.reset_at_ms,
            )  # fmt: skip
        return key

    async def ship(self, *events: Event) -> None:
        await self._proxy.execute("SELECT ingest_events($1::jsonb)", event_encoder.encode(events).decode())

    async def charge(self, key: CompiledKey, admitted: datetime, nano: int | None, **over: Any) -> Event:
        admitted_us = int(admitted.timestamp() * 1_000_000)
        event = make_event(
            key_id=key.id, account_id=key.account_id, admitted_at=admitted_us, ended_at=admitted_us + 1_000_000,
            list_cost_nano=nano, charged_cost_nano=nano, **over,
        )  # fmt: skip
        await self.ship(event)
        return event


def event_of(order: SettleOrder, nano: int) -> Event:
    admitted_us = order.admitted_ms * 1000
    return make_event(
        id=order.attempt_id, key_id=order.key_id, account_id=order.account_id, admitted_at=admitted_us,
        ended_at=admitted_us + 1_000, list_cost_nano=nano, charged_cost_nano=nano,
    )  # fmt: skip


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def ledger(database: Database) -> AsyncIterator[Ledger]:
    connections = [await asyncpg.connect(**role) for role in (database.admin, database.proxy, database.owner)]
    yield Ledger(*connections)
    for connection in connections:
        await connection.close()


@pytest_asyncio.fixture
async def limiters(valkey: ValkeyServer, pool: Pool) -> AsyncIterator[Limiters]:
    server = valkey.fresh()
    limiters = Limiters(server, PostgresCharges(pool))
    yield limiters
    await limiters.close()
    server.stop()


async def lose_everything(limiters: Limiters) -> None:
    """Redis comes back empty; wait until one worker has rebuilt it."""

    async def rebuilds() -> int:
        return sum(isinstance(seen, CountersRebuilt) for seen in limiters.told)

    before = await rebuilds()
    await limiters.redis.flushall()
    await wait_until(rebuilds, before + 1)


async def open_again(counters: RedisCounters) -> None:
    async def is_ready() -> bool:
        return counters.is_ready

    await wait_until(is_ready, True)


async def test_counters_come_back_from_postgres(limiters: Limiters, ledger: Ledger) -> None:
    """Every window and the lifetime, whole hours and parts of one, what retention carried, since the limit's reset."""
    now = datetime.now(UTC)
    reset_at = now - timedelta(minutes=90)
    limits = (
        make_limit("requests", "m", 10**6),
        make_limit("requests", "h", 10**6),
        make_limit("requests", "d", 10**6),
        make_limit("cost", "h", 10**15),
        make_limit("cost", "d", 10**15, reset_at_ms=int(reset_at.timestamp() * 1000)),
        make_limit("cost", "mo", 10**15),
        make_limit("cost", "total", 10**15),
    )
    key = await ledger.add_key(*limits)
    stranger = await ledger.add_key(make_limit("cost", "d", 100), account_id="other")
    charges: list[tuple[datetime, int | None]] = []
    for number, ago in enumerate((0.0, 0.01, 0.2, 0.7, 1.4, 1.6, 5, 30, 24 * 8, 24 * 40)):
        for cost in (10**number, None if number % 2 else 5):
            charges.append((now - timedelta(hours=ago), cost))
            await ledger.charge(key, charges[-1][0], cost)
    await ledger.charge(key, now, 10**12, outcome="refused")
    await ledger.charge(stranger, now, 77)
    await ledger.owner.execute(
        "INSERT INTO spend_carried (key_id, account_id, requests, charged_cost_nano) VALUES ($1, 'default', 3, 3e12)",
        key.id,
    )

    def expected(start_ms: int, limit: Limit) -> int:
        since = max(start_ms, limit.reset_at_ms) if limit.window != "total" else 0
        counted = [cost for at, cost in charges if int(at.timestamp() * 1000) >= since]
        spent = sum(cost or 0 for cost in counted) + (3 * 10**12 if limit.window == "total" else 0)
        return spent if limit.resource == "cost" else len(counted)

    await limiters.start()
    seconds, _ = await limiters.redis.time()
    naming = compile_limits("default", key.id, limits).name(seconds * 1000)
    for limit, bucket in zip(limits, naming.buckets, strict=True):
        start_ms = int(bucket.name.rpartition(":")[2]) if limit.window != "total" else 0
        assert int(await limiters.redis.get(bucket.name) or 0) == expected(start_ms, limit), limit
        ttl = await limiters.redis.pexpiretime(bucket.name)
        assert ttl in (-2, bucket.ends_ms + 3_600_000 if bucket.ends_ms else -1)
    assert await limiters.redis.keys(f"*{stranger.id}*") == []


async def test_the_first_start_of_all_opens_at_once(valkey: ValkeyServer, postgres: Any) -> None:
    """Nothing was ever spent, so nobody has anything to publish: no call waits."""
    empty = await postgres.create_database(migrated=True)
    pool = await open_pool(empty.proxy, 1)
    limiters = Limiters(valkey.fresh(), PostgresCharges(pool))
    counters = await limiters.start()
    assert counters.is_ready
    await limiters.close()
    pool.terminate()


async def test_what_is_under_way_is_published_again(limiters: Limiters, ledger: Ledger) -> None:
    """Open holds, settles that Postgres has not, and none that it has, twice; then budgeted keys are admitted again."""
    key = await ledger.add_key(make_limit("requests", "d", 100), make_limit("cost", "mo", 10_000))
    rated = await ledger.add_key(make_limit("requests", "d", 1_000))
    unshipped: list[tuple[SettleOrder, int | None]] = []
    counters = await limiters.start(unshipped=lambda: unshipped)
    idle = await limiters.start()
    await open_again(counters)
    shipped, late, lagging, running = [await counters.reserve(key, uuid7_text(), WORST) for _ in range(4)]
    for hold, nano in ((shipped, 100), (late, 20), (lagging, 3)):
        counters.settle(hold.order, nano)
    await ledger.ship(event_of(shipped.order, 100))
    unshipped.append((lagging.order, 3))
    assert await counters.flush(5) == 0
    assert await limiters.spent(key) == 123

    await lose_everything(limiters)
    assert kinds([await try_reserve(idle, key, WORST)]) == {("limiter_unavailable", 1)}
    assert isinstance(await try_reserve(idle, rated), Hold)
    assert isinstance(await try_reserve(idle, make_key()), Hold)
    await open_again(counters)
    await open_again(idle)
    assert await limiters.spent(key) == 123
    hold = await idle.reserve(key, uuid7_text(), WORST)
    assert [(state.spent, state.held) for state in hold.states] == [(4, 0), (123, 1_000)]
    counters.settle(running.order, 7)
    idle.settle(hold.order, 70)
    assert (await counters.flush(5), await idle.flush(5)) == (0, 0)
    assert await limiters.spent(key) == 200
    assert await limiters.holds(key) == []
    assert sum(isinstance(seen, CountersRebuilt) for seen in limiters.told) == 2


async def test_a_restarted_server_is_not_trusted(limiters: Limiters, ledger: Ledger) -> None:
    """Its file may lack the last second: the counters are rebuilt although they are there."""
    key = await ledger.add_key(make_limit("cost", "total", 10_000))
    counters = await limiters.start()
    await open_again(counters)
    hold = await counters.reserve(key, uuid7_text(), WORST)
    counters.settle(hold.order, 11)
    assert await counters.flush(5) == 0
    await ledger.ship(event_of(hold.order, 11))
    await limiters.redis.set(f"weir:{{default}}:key:{key.id}:cost:total", 4_000)  # as if the file were another's
    limiters.server.kill()
    assert kinds([await try_reserve(counters, key, WORST)]) == {("limiter_unavailable", 1)}
    limiters.server.start()
    await open_again(counters)
    later = await counters.reserve(key, uuid7_text(), WORST)
    assert (later.states[0].spent, later.states[0].held) == (11, 0)


async def test_without_postgres_what_is_lost_stays_closed(valkey: ValkeyServer) -> None:
    """Money is not guessed: budgeted keys wait for the facts, the others never notice."""
    limiters = Limiters(valkey.fresh(), Away())
    counters = await limiters.start()
    assert not counters.is_ready
    assert kinds([await try_reserve(counters, make_key(make_limit("cost", "d", 100)), WORST)]) == {
        ("limiter_unavailable", 1)
    }
    for key in (make_key(), make_key(make_limit("requests", "d", 100))):
        hold = await try_reserve(counters, key)
        assert isinstance(hold, Hold)
        counters.settle(hold.order, 5)
    assert counters.waiting_settles == 2
    await asyncio.sleep(1.2)
    changes = [seen.state for seen in limiters.told if isinstance(seen, LimiterChanged)]
    assert changes == ["rebuilding", "unrestored"]
    await limiters.close()


class Reconciling:
    """A reconciler with all it needs, on a connection of its own."""

    def __init__(self, limiters: Limiters, charges: PostgresCharges) -> None:
        self._link = RedisLink(RedisAddress((limiters.server.socket_path,)), SOURCES)
        self._store = Store(self._link, SystemClock(), 1.0)
        told = limiters.told.append
        rebuilder = Rebuilder(self._link, charges, limiters.tasks, told, SystemClock())
        self._epochs = Epochs(self._store, rebuilder, limiters.tasks, told, SystemClock())
        self.reconciler = Reconciler(self._link, self._epochs, charges, rebuilder, told)

    async def __aenter__(self) -> Reconciler:
        self._epochs.current("default")
        await self._epochs.pulse()
        return self.reconciler

    async def __aexit__(self, *_: object) -> None:
        self._link.drop()


async def test_drift_is_found_told_and_put_right(limiters: Limiters, ledger: Ledger, pool: Pool) -> None:
    """Only where nothing is under way, only when it lasts, and every counter of the key."""
    key = await ledger.add_key(make_limit("requests", "d", 100), make_limit("cost", "total", 10_000))
    counters = await limiters.start()
    await open_again(counters)
    hold = await counters.reserve(key, uuid7_text(), WORST)
    other = await counters.reserve(key, uuid7_text(), WORST)
    counters.settle(hold.order, 40)
    assert await counters.flush(5) == 0
    await ledger.ship(event_of(hold.order, 40))
    await limiters.redis.set(f"weir:{{default}}:key:{key.id}:cost:total", 39)
    drift = DriftFound(key.id, 39, 40)
    async with Reconciling(limiters, PostgresCharges(pool)) as reconciler:
        reconciler.touch(hold.order)
        await reconciler.run({key.id})
        await reconciler.run(set())
        assert drift not in limiters.told
        await reconciler.run(set())
        assert await limiters.spent(key) == 39, "a call is in flight somewhere"
        counters.void(other.order)
        assert await counters.flush(5) == 0
        await reconciler.run(set())
    assert await limiters.spent(key) == 40
    assert limiters.told.count(drift) == 1
    later = await counters.reserve(key, uuid7_text(), WORST)
    assert [state.spent for state in later.states] == [1, 40]


async def test_a_replay_that_is_too_old_is_left_to_postgres(limiters: Limiters, ledger: Ledger, pool: Pool) -> None:
    """Its marker may have expired: counting it could count it twice, so the reconciler asks Postgres."""
    key = await ledger.add_key(make_limit("cost", "total", 10_000))
    settled: list[str] = []
    counters = await limiters.start(on_settled=settled.extend)
    await open_again(counters)
    bucket = compile_limits("default", key.id, key.limits).lifetime
    seconds, _ = await limiters.redis.time()
    old, young = (
        SettleOrder(uuid7_text(), "default", key.id, (seconds - ago) * 1000, (bucket,)) for ago in (1_200, 60)
    )
    counters.settle(old, 5)
    counters.settle(young, 7)
    assert await counters.flush(5) == 0
    assert set(settled) == {old.attempt_id, young.attempt_id}
    assert await limiters.spent(key) == 7
    await ledger.ship(event_of(old, 5), event_of(young, 7))
    async with Reconciling(limiters, PostgresCharges(pool)) as reconciler:
        reconciler.touch(old)
        reconciler.touch(SettleOrder(uuid7_text(), "default", uuid7_text(), 0, ()))  # a key that was deleted
        await reconciler.run(set())
        await reconciler.run(set())
    assert await limiters.spent(key) == 12


async def test_many_keys_come_back(limiters: Limiters, ledger: Ledger) -> None:
    """A rebuild goes in chunks; the loop answers meanwhile."""
    await ledger.owner.execute(
        "INSERT INTO keys (id, name, digest, digest_version, mask)"
        " SELECT gen_random_uuid(), 'many', ('many' || n)::bytea, '', '' FROM generate_series(1, 3000) AS n"
    )
    await ledger.owner.execute(
        "INSERT INTO limits (scope, scope_id, resource, window_unit, amount)"
        " SELECT 'key', id, 'cost', 'd', 1000000 FROM keys WHERE name = 'many'"
    )
    await ledger.owner.execute(
        "INSERT INTO spend_hours (key_id, hour, shard, account_id, requests, charged_cost_nano)"
        " SELECT id::text, date_trunc('hour', now(), 'UTC'), 0, 'default', 1, 321 FROM keys WHERE name = 'many'"
    )
    counters = await limiters.start()
    slowest, last = 0.0, asyncio.get_running_loop().time()
    while not counters.is_ready:
        await asyncio.sleep(0.001)
        slowest, last = max(slowest, asyncio.get_running_loop().time() - last), asyncio.get_running_loop().time()
    values = await limiters.redis.mget(await limiters.redis.keys("weir:{default}:key:*:cost:total"))
    assert values.count("321") == 3000
    assert slowest < 0.5
