"""Redis frozen, gone or absent: budgeted keys are told so at once, all others flow, nothing counts twice or is lost."""

import asyncio
import socket
import time
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from proxy.adapters.counters import RedisCounters
from proxy.adapters.limiter.link import RedisAddress
from proxy.adapters.limiter.postgres_charges import PostgresCharges
from proxy.adapters.postgres import Pool
from proxy.core.holds import Bounds, Hold
from proxy.observations import LimiterChanged
from shared.errors import Refusal
from shared.ids import uuid7_text
from tests.limiter_rig import Limiters, kinds, make_key, make_limit, try_reserve, wait_until
from tests.servers import ValkeyServer

LIMITER_TIMEOUT = 0.05
WORST = Bounds(1_000, 1, None)
UNAVAILABLE = {("limiter_unavailable", 1)}


@pytest_asyncio.fixture
async def limiters(valkey: ValkeyServer, pool: Pool) -> AsyncIterator[Limiters]:
    server = valkey.fresh()
    limiters = Limiters(server, PostgresCharges(pool))
    yield limiters
    limiters.thaw()
    await limiters.close()
    server.stop()


@pytest.fixture
def unused_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


async def ready(counters: RedisCounters) -> None:
    async def is_ready() -> bool:
        return counters.is_ready

    await wait_until(is_ready, True)


async def test_a_frozen_redis_costs_three_calls_their_timeout_and_the_rest_nothing(limiters: Limiters) -> None:
    """The breaker opens after the third; what was sent meanwhile is voided; a thaw is noticed within 2 s."""
    counters = await limiters.start(timeout_seconds=LIMITER_TIMEOUT)
    key = make_key(make_limit("requests", "d", 100), make_limit("cost", "d", 1_000_000))
    await ready(counters)
    kept = await counters.reserve(key, uuid7_text(), WORST)
    limiters.freeze()
    took: list[float] = []
    for _ in range(20):
        started = time.perf_counter()
        assert kinds([await try_reserve(counters, key, WORST)]) == UNAVAILABLE
        took.append(time.perf_counter() - started)
    assert max(took) < 10 * LIMITER_TIMEOUT, "a busy machine is no excuse for more"
    assert sum(seconds > LIMITER_TIMEOUT / 2 for seconds in took) <= 3
    assert counters.waiting_settles >= 1
    limiters.thaw()
    thawed = time.perf_counter()
    await ready(counters)
    assert time.perf_counter() - thawed < 4
    assert await counters.flush(5) == 0
    later = await counters.reserve(key, uuid7_text(), WORST)
    assert [(state.spent, state.held) for state in later.states] == [(1, 0), (0, 1_000)]
    counters.settle(kept.order, 10)
    counters.settle(later.order, 20)
    assert await counters.flush(5) == 0
    assert await limiters.spent(key) == 30
    assert await limiters.holds(key) == []


async def test_settles_wait_for_redis_in_order_and_arrive_once(limiters: Limiters) -> None:
    """Those sent before the freeze and repeated after it count once; the journal hears of each."""
    settled: list[str] = []
    counters = await limiters.start(timeout_seconds=LIMITER_TIMEOUT, on_settled=settled.extend)
    key, free = make_key(make_limit("cost", "d", 1_000_000)), make_key()
    await ready(counters)
    holds = [await counters.reserve(key, uuid7_text(), Bounds(100, 1, None)) for _ in range(100)]
    limiters.freeze()
    for number, hold in enumerate(holds):
        counters.settle(hold.order, 10)
        if number % 25 == 0:
            await asyncio.sleep(0.01)
    for _ in range(50):
        hold = await counters.reserve(free, uuid7_text(), None)
        holds.append(hold)
        counters.settle(hold.order, 1)
    await asyncio.sleep(1.5)  # longer than the pulse is waited for: the connection is given up
    assert counters.waiting_settles == 150
    assert settled == []
    limiters.thaw()
    await ready(counters)
    assert await counters.flush(10) == 0
    assert sorted(settled) == sorted(hold.order.attempt_id for hold in holds)
    assert await limiters.spent(key) == 1_000
    assert await limiters.spent(free) == 50
    assert await limiters.holds(key) == []


async def test_without_redis_requests_are_counted_here_each_worker_its_share(limiters: Limiters) -> None:
    """10 a day over 2 workers: 5 here. When Redis is there, it hears of them too."""
    counters = await limiters.start(timeout_seconds=LIMITER_TIMEOUT, workers=2)
    limiters.server.kill()
    limit = make_limit("requests", "d", 10)
    key = make_key(limit)
    outcomes = [await try_reserve(counters, key) for _ in range(8)]
    assert [isinstance(outcome, Hold) for outcome in outcomes] == [True] * 5 + [False] * 3
    (kind, retry_after), *others = kinds(outcomes)
    assert (kind, others) == ("rate_limited", [])
    assert retry_after is not None
    budgeted = make_key(make_limit("cost", "mo", 10_000), make_limit("requests", "d", 10))
    assert kinds([await try_reserve(counters, budgeted, WORST)]) == UNAVAILABLE
    assert isinstance(await try_reserve(counters, make_key()), Hold)

    limiters.server.start()
    await ready(counters)
    for outcome in outcomes[:5]:
        assert isinstance(outcome, Hold)
        counters.settle(outcome.order, 3)
    assert await counters.flush(5) == 0
    hold = await try_reserve(counters, key)
    assert isinstance(hold, Hold)
    assert hold.states[0].spent == 5
    assert await limiters.spent(key) == 15


async def test_a_worker_starts_without_redis(limiters: Limiters) -> None:
    """It does not wait for it, says so once, and connects by itself when it comes."""
    limiters.server.stop()
    started = time.perf_counter()
    counters = await limiters.start(timeout_seconds=LIMITER_TIMEOUT)
    assert time.perf_counter() - started < 1.5
    assert not counters.is_ready
    key = make_key(make_limit("cost", "mo", 10_000))
    assert kinds([await try_reserve(counters, key, WORST)]) == UNAVAILABLE
    await asyncio.sleep(1.2)
    changes = [seen.state for seen in limiters.told if isinstance(seen, LimiterChanged)]
    assert changes == ["unreachable"]
    limiters.server.start()
    await ready(counters)
    assert isinstance(await try_reserve(counters, key, WORST), Hold)


async def test_forgotten_scripts_are_loaded_again(limiters: Limiters) -> None:
    """SCRIPT FLUSH costs a few calls, not the limiter."""
    counters = await limiters.start()
    key = make_key(make_limit("cost", "mo", 10_000))
    await ready(counters)
    hold = await counters.reserve(key, uuid7_text(), WORST)
    await limiters.redis.script_flush()
    counters.settle(hold.order, 5)
    assert await counters.flush(5) == 0
    await ready(counters)
    assert isinstance(await try_reserve(counters, key, WORST), Hold)
    assert await limiters.spent(key) == 5


async def test_hosts_are_tried_in_order(limiters: Limiters) -> None:
    """The first that answers is used."""
    counters = await limiters.start(
        address=RedisAddress(("/nowhere/at/all.sock", ("127.0.0.1", 1), limiters.server.socket_path))
    )
    await ready(counters)


async def test_a_password_a_database_and_tcp(limiters: Limiters, unused_port: int) -> None:
    """The address's user, password and database are used; a wrong password is told without showing it."""
    await limiters.redis.config_set("bind", "127.0.0.1")
    await limiters.redis.config_set("port", str(unused_port))
    await limiters.redis.config_set("requirepass", "s3cret-pass")
    await limiters.redis.execute_command("AUTH", "s3cret-pass")
    right = RedisAddress((("127.0.0.1", unused_port),), username="default", password="s3cret-pass", database=3)
    counters = await limiters.start(address=right)
    await ready(counters)
    assert (await limiters.redis.info("keyspace"))["db3"]["keys"] == 1
    wrong = await limiters.start(address=RedisAddress((("127.0.0.1", unused_port),), password="wr0ng-pass"))
    assert not wrong.is_ready
    (change,) = [seen for seen in limiters.told if isinstance(seen, LimiterChanged) and seen.state == "unreachable"]
    assert "WRONGPASS" in change.detail
    assert "wr0ng" not in change.detail


async def test_a_settle_that_redis_cannot_do_does_not_block_the_others(limiters: Limiters) -> None:
    """It is told as a bug and left to the reconciler; those beside it arrive, and arrive once."""
    settled: list[str] = []
    counters = await limiters.start(on_settled=settled.extend)
    keys = [make_key() for _ in range(9)]
    await limiters.redis.set(f"weir:{{default}}:key:{keys[4].id}:cost:total", "not a number")
    for key in keys:
        hold = await counters.reserve(key, uuid7_text(), None)
        counters.settle(hold.order, 8)
    assert await counters.flush(5) == 0
    assert len(settled) == 9
    assert [await limiters.spent(key) for key in keys if key is not keys[4]] == [8] * 8
    bugs = [seen for seen in limiters.told if type(seen).__name__ == "BugFound"]
    assert len(bugs) == 1
    limiters.told.clear()


async def test_holds_of_long_calls_are_renewed(limiters: Limiters) -> None:
    """A stream of minutes keeps its hold: it is renewed each five seconds once it is five seconds old."""
    counters = await limiters.start()
    key = make_key(make_limit("cost", "d", 10_000))
    await ready(counters)
    hold = await counters.reserve(key, uuid7_text(), WORST)
    holds = f"{hold.order.buckets[0].name}:holds"
    first = await limiters.redis.hget(holds, hold.order.attempt_id)

    async def is_renewed() -> bool:
        return await limiters.redis.hget(holds, hold.order.attempt_id) != first

    await wait_until(is_renewed, True, seconds=13)
    refusal = await try_reserve(counters, key, Bounds(9_001, 9_001, None))
    assert isinstance(refusal, Refusal)
    counters.settle(hold.order, 1)
    assert await counters.flush(5) == 0
    assert await limiters.holds(key) == []
