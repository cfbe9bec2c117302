"""Windows on a real Valkey: whose clock counts, when they end, what is remembered of them."""

import asyncio
import time

import pytest

from proxy.core.holds import Bounds, Hold
from proxy.core.limits import tightest_rate
from shared.errors import Refusal
from shared.ids import uuid7_text
from shared.records import Limit
from tests.limiter_rig import Limiters, kinds, make_key, make_limit, try_reserve


async def test_a_rate_of_two_refuses_the_third_until_its_window_ends(limiters: Limiters) -> None:
    """Retry-after is the rest of the window; afterwards, calls are admitted again; a refusal counts for nothing."""
    counters = await limiters.start()
    minute = make_limit("requests", "m", 2)
    key = make_key(minute)
    before = await limiters.redis.time()
    outcomes = [await try_reserve(counters, key) for _ in range(4)]
    if (await limiters.redis.time())[0] // 60 == before[0] // 60:
        first, second, third, fourth = outcomes
        assert isinstance(first, Hold)
        assert isinstance(second, Hold)
        rate = tightest_rate(second.states, before[0] * 1000)
        assert rate is not None
        assert (rate.limit, rate.remaining, rate.reset_epoch_seconds) == (2, 0, (before[0] // 60 + 1) * 60)
        for refusal in (third, fourth):
            assert isinstance(refusal, Refusal)
            assert refusal.retry_after is not None
            assert refusal.kind == "rate_limited"
            assert abs(refusal.retry_after - (60 - before[0] % 60)) <= 1

    each_second = make_key(make_limit("requests", "s", 2))
    await limiters.wait_for_second(0.8)
    outcomes = [await try_reserve(counters, each_second) for _ in range(5)]
    assert [isinstance(outcome, Hold) for outcome in outcomes] == [True, True, False, False, False]
    assert kinds(outcomes) == {("rate_limited", 1)}
    await asyncio.sleep(1)
    assert isinstance(await try_reserve(counters, each_second), Hold)


async def test_a_settle_lands_in_the_window_that_admitted_it(limiters: Limiters) -> None:
    """Also when that window has ended meanwhile; its counter then vanishes an hour later."""
    counters = await limiters.start()
    key = make_key(make_limit("requests", "s", 5), make_limit("cost", "s", 1_000))
    hold = await counters.reserve(key, uuid7_text(), Bounds(10, 1, None))
    await asyncio.sleep(1.1)
    counters.settle(hold.order, 7)
    assert await counters.flush(5) == 0
    for bucket, said in zip(hold.order.buckets, ("1", "7", "7"), strict=True):
        assert await limiters.redis.get(bucket.name) == said
        expires = await limiters.redis.pexpiretime(bucket.name)
        assert expires == (bucket.ends_ms + 3_600_000 if bucket.ends_ms else -1)
    later = await counters.reserve(key, uuid7_text(), Bounds(10, 1, None))
    assert [state.spent for state in later.states] == [0, 0]


async def test_a_used_up_window_is_remembered_until_the_limit_changes(limiters: Limiters) -> None:
    """The next refusal needs no Redis; another generation of the limit is another counter."""
    counters = await limiters.start()
    limit = make_limit("requests", "d", 1)
    key = make_key(limit)
    counters.refuse_remembered(key)
    await counters.reserve(key, uuid7_text(), None)
    counters.refuse_remembered(key)
    refusal = await try_reserve(counters, key)
    assert isinstance(refusal, Refusal)
    with pytest.raises(Refusal) as remembered:
        counters.refuse_remembered(key)
    assert (remembered.value.kind, remembered.value.message) == (refusal.kind, refusal.message)
    patched = make_key(Limit(limit.id, "requests", "d", 1, 2, 0), key_id=key.id)
    counters.refuse_remembered(patched)
    assert isinstance(await try_reserve(counters, patched), Hold)


async def test_money_that_is_left_is_never_remembered_as_gone(limiters: Limiters) -> None:
    """A call too dear for what is left does not close the key for cheaper ones."""
    counters = await limiters.start()
    key = make_key(make_limit("cost", "d", 100))
    hold = await counters.reserve(key, uuid7_text(), Bounds(95, 95, None))
    counters.settle(hold.order, 95)
    assert {kind for kind, _ in kinds([await try_reserve(counters, key, Bounds(20, 10, None))])} == {"cost_limited"}
    counters.refuse_remembered(key)
    assert isinstance(await try_reserve(counters, key, Bounds(5, 5, None)), Hold)


class SteppingClock:
    """A worker's clock that its test moves."""

    def __init__(self) -> None:
        self.step = 0.0

    def now_ms(self) -> int:
        return int((time.time() + self.step) * 1000)

    def now_us(self) -> int:
        return self.now_ms() * 1000

    def monotonic(self) -> float:
        return time.monotonic() + self.step


@pytest.mark.parametrize("step", [90.0, 86_400.0, -90.0, -86_400.0])
async def test_windows_are_redis_not_the_workers(limiters: Limiters, step: float) -> None:
    """A worker whose clock steps names another window; the script refuses it, and nobody notices."""
    clock = SteppingClock()
    counters = await limiters.start(clock)
    key = make_key(make_limit("requests", "m", 1_000), make_limit("cost", "m", 10**12))
    await counters.reserve(key, uuid7_text(), Bounds(10, 1, None))
    clock.step = step
    hold = await counters.reserve(key, uuid7_text(), Bounds(10, 1, None))
    now_s, _ = await limiters.redis.time()
    assert abs(hold.order.admitted_ms - now_s * 1000) < 5_000
    assert hold.order.buckets[0].ends_ms - now_s * 1000 <= 60_999
