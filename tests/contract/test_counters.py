"""The limiter on a real Valkey: budgets to the last nano-USD, windows, settles, refusals."""

import asyncio

import pytest
from redis.crc import key_slot

from proxy.core.holds import Bounds, Hold
from proxy.core.snapshot import CompiledKey
from shared.errors import Refusal
from shared.ids import uuid7_text
from tests.limiter_rig import Limiters, kinds, make_key, make_limit, try_reserve

CENTS_10 = 100_000_000
CALL = 2_000_000


@pytest.mark.parametrize(
    ("worst", "clamp", "admitted_at_once"),
    [
        (CALL, None, 50),
        (CALL * 13 // 10, None, 38),
        (CALL * 13 // 10, 1, 38),
        (CALL * 3, None, 17),
        (CALL * 3, 1, 17),
    ],
    ids=["exact", "1.3x lane", "1.3x clamped", "3x lane", "3x clamped"],
)
async def test_a_budget_is_spent_to_the_last_nano_and_not_further(
    limiters: Limiters, worst: int, clamp: int | None, admitted_at_once: int
) -> None:
    """500 calls of $0.002 at once over two workers against $0.10, then one by one: exactly 50 are served."""
    workers = [await limiters.start(), await limiters.start()]
    key = make_key(make_limit("cost", "mo", CENTS_10), make_limit("cost", "total", 10 * CENTS_10))
    bounds = Bounds(worst, CALL, clamp)

    outcomes = await asyncio.gather(*(try_reserve(workers[n % 2], key, bounds) for n in range(500)))
    holds = [outcome for outcome in outcomes if isinstance(outcome, Hold)]
    assert len(holds) == admitted_at_once
    assert kinds(outcomes) == {("cost_held", 1)}
    assert sum(hold.held_nano for hold in holds) <= CENTS_10
    backed = admitted_at_once - (worst == 3 * CALL)  # the last one takes what is left, which is more than the least
    assert [hold.kind for hold in holds].count("backed") == backed
    assert {hold.kind for hold in holds} - {"backed"} <= {"lane" if clamp is None else "clamped"}

    for number, hold in enumerate(holds):
        workers[number % 2].settle(hold.order, CALL)
    served = len(holds)
    for number in range(60):
        assert [await worker.flush(5) for worker in workers] == [0, 0]
        outcome = await try_reserve(workers[number % 2], key, bounds)
        if isinstance(outcome, Refusal):
            assert outcome.kind == "cost_limited"
            break
        workers[number % 2].settle(outcome.order, CALL)
        served += 1
    assert served == 50
    assert await limiters.spent(key) == CENTS_10
    assert await limiters.holds(key) == []


async def test_calls_without_a_bound_go_one_by_one_and_overspend_by_one_at_most(limiters: Limiters) -> None:
    """However dear they turn out, the budget is passed by less than one of them; bounded calls go on beside."""
    workers = [await limiters.start(), await limiters.start()]
    key = make_key(make_limit("cost", "total", 1_000))
    image = Bounds(10, 1, None, is_unbounded=True)
    dearest, spent = 400, 0
    for _ in range(10):
        outcomes = await asyncio.gather(*(try_reserve(workers[n % 2], key, image) for n in range(8)))
        holds = [outcome for outcome in outcomes if isinstance(outcome, Hold)]
        if not holds:
            break
        assert [hold.kind for hold in holds] == ["lane"]
        beside = await try_reserve(workers[0], key, Bounds(20, 1, None))
        assert isinstance(beside, Hold)
        assert beside.kind == "backed"
        workers[0].void(beside.order)
        workers[0].settle(holds[0].order, dearest)
        spent += dearest
        assert await workers[0].flush(5) == 0
    assert kinds(outcomes) == {("key_exhausted", None)}
    assert await limiters.spent(key) == spent == 1_200


async def test_a_callers_next_call_finds_its_last_one_settled(limiters: Limiters) -> None:
    """One call after the other, each holding all the budget: none is refused for money that the last one held."""
    counters = await limiters.start()
    key = make_key(make_limit("cost", "d", 1_000_000))
    for _ in range(100):
        hold = await counters.reserve(key, uuid7_text(), Bounds(1_000_000, 1, 100))
        counters.settle(hold.order, 10)
    assert await counters.flush(5) == 0
    assert await limiters.spent(key) == 1_000


@pytest.mark.parametrize("amount", [100_001 * 10**9, 8_999_999_999_999_999], ids=["$100,001", "$8,999,999.999999999"])
async def test_large_amounts_are_exact(limiters: Limiters, amount: int) -> None:
    """Doubles print such amounts with an exponent: not one nano-USD may go astray in counter, hold or comparison."""
    counters = await limiters.start()
    key = make_key(make_limit("cost", "total", amount), make_limit("cost", "d", amount))
    hold = await counters.reserve(key, uuid7_text(), Bounds(amount, 1, None))
    assert (hold.kind, hold.held_nano) == ("backed", amount)
    assert kinds([await try_reserve(counters, key, Bounds(1, 1, None))]) == {("cost_held", 1)}
    counters.settle(hold.order, amount - 1)
    last = await counters.reserve(key, uuid7_text(), Bounds(2, 1, 1))
    assert (last.kind, last.held_nano) == ("clamped", 1)
    assert [state.spent for state in last.states] == [amount - 1, amount - 1]
    counters.settle(last.order, 1)
    assert await counters.flush(5) == 0
    assert await limiters.redis.get(f"weir:{{default}}:key:{key.id}:cost:total") == str(amount)
    assert kinds([await try_reserve(counters, key, Bounds(1, 1, None))]) == {("key_exhausted", None)}
    assert await limiters.holds(key) == []


async def test_refused_calls_consume_nothing(limiters: Limiters) -> None:
    """All or nothing: a call that one limit refuses is not counted by the others."""
    counters = await limiters.start()
    key = make_key(make_limit("requests", "d", 100), make_limit("cost", "d", 10), make_limit("cost", "total", 1_000))
    hold = await counters.reserve(key, uuid7_text(), Bounds(10, 1, None))
    for _ in range(5):
        assert kinds([await try_reserve(counters, key, Bounds(10, 1, None))]) == {("cost_held", 1)}
    counters.settle(hold.order, 4)
    last = await counters.reserve(key, uuid7_text(), Bounds(6, 1, None))
    assert [(state.spent, state.held) for state in last.states] == [(1, 0), (4, 0), (4, 0)]


def requests_of(hold: Hold) -> str:
    return next(bucket.name for bucket in hold.order.buckets if bucket.resource == "requests")


def limited_key() -> CompiledKey:
    return make_key(make_limit("requests", "d", 100), make_limit("cost", "d", 10_000))


async def test_settling_is_an_upsert_by_attempt(limiters: Limiters) -> None:
    """The same settle again changes nothing, another amount counts the difference, whoever sends it."""
    counters, other = await limiters.start(), await limiters.start()
    key = limited_key()
    hold = await counters.reserve(key, uuid7_text(), Bounds(500, 1, None))
    for settling, cost, spent in [(counters, 300, 300), (other, 300, 300), (other, 450, 450), (counters, 100, 100)]:
        settling.settle(hold.order, cost)
        assert await settling.flush(5) == 0
        assert await limiters.spent(key) == spent
        assert await limiters.redis.get(hold.order.buckets[1].name) == str(spent)
    assert await limiters.redis.get(requests_of(hold)) == "1"
    assert await limiters.holds(key) == []


async def test_a_void_gives_everything_back(limiters: Limiters) -> None:
    """Requests and money; repeated, it changes nothing; a cost that is told later is a fact and counts."""
    counters = await limiters.start()
    key = limited_key()
    kept = await counters.reserve(key, uuid7_text(), Bounds(500, 1, None))
    given_back = await counters.reserve(key, uuid7_text(), Bounds(500, 1, None))
    for _ in range(2):
        counters.void(given_back.order)
        counters.settle(given_back.order, None)
        assert await counters.flush(5) == 0
    assert await limiters.redis.get(requests_of(kept)) == "1"
    holds = await limiters.redis.hgetall(f"{kept.order.buckets[1].name}:holds")
    assert holds["held"] == "500"
    assert holds[kept.order.attempt_id].startswith("500:")
    assert given_back.order.attempt_id not in holds
    counters.settle(given_back.order, 70)
    counters.void(given_back.order)
    assert await counters.flush(5) == 0
    assert await limiters.spent(key) == 70
    assert await limiters.redis.get(requests_of(kept)) == "2"


async def test_an_unknown_cost_counts_the_request_only(limiters: Limiters) -> None:
    """A price that is not known is not 0 in the event, but there is nothing to add to a counter."""
    counters = await limiters.start()
    key = limited_key()
    hold = await counters.reserve(key, uuid7_text(), None)
    assert hold.kind == "none"
    counters.settle(hold.order, None)
    assert await counters.flush(5) == 0
    assert await limiters.spent(key) == 0
    assert await limiters.redis.get(requests_of(hold)) == "1"


async def test_holds_that_nobody_renews_expire(limiters: Limiters) -> None:
    """A crashed worker's holds leave no false refusal: what expired is dropped by the next reservation."""
    counters = await limiters.start()
    key = make_key(make_limit("cost", "d", 1_000))
    crashed = [await counters.reserve(key, uuid7_text(), Bounds(300, 1, None)) for _ in range(3)]
    lane = await counters.reserve(key, uuid7_text(), Bounds(300, 1, None))
    assert lane.kind == "lane"
    assert kinds([await try_reserve(counters, key, Bounds(300, 1, None))]) == {("cost_held", 1)}
    holds = f"{lane.order.buckets[0].name}:holds"
    now_ms = (await limiters.redis.time())[0] * 1000
    for held in (*crashed, lane):
        amount, expires_ms = (await limiters.redis.hget(holds, held.order.attempt_id)).split(":")
        assert int(amount) == held.held_nano
        assert 13_000 < int(expires_ms) - now_ms <= 16_000
        await limiters.redis.hset(holds, mapping={held.order.attempt_id: f"{amount}:{now_ms - 1}", "next": now_ms - 1})
    hold = await counters.reserve(key, uuid7_text(), Bounds(1_000, 1, None))
    assert (hold.kind, hold.states[0].held) == ("backed", 0)
    counters.settle(crashed[0].order, 40)  # it was alive after all: the charge is real, the hold is gone
    assert await counters.flush(5) == 0
    assert await limiters.spent(key) == 40
    assert await limiters.redis.hget(holds, "held") == "1000"


async def test_a_key_without_limits_waits_for_nothing_and_is_counted(limiters: Limiters) -> None:
    """Its spend is there when a lifetime limit comes."""
    counters = await limiters.start()
    key = make_key()
    hold = await counters.reserve(key, uuid7_text(), None)
    assert (hold.kind, hold.states) == ("none", ())
    assert counters.open_holds == 0
    counters.settle(hold.order, 900)
    assert await counters.flush(5) == 0
    limited = make_key(make_limit("cost", "total", 1_000), key_id=key.id)
    later = await counters.reserve(limited, uuid7_text(), Bounds(200, 1, 50))
    assert (later.kind, later.held_nano, later.states[0].spent) == ("clamped", 100, 900)


async def test_all_keys_of_a_call_lie_in_one_cluster_slot(limiters: Limiters) -> None:
    """Every name carries the account's tag, so Redis Cluster can run the scripts."""
    counters = await limiters.start()
    key = make_key(make_limit("requests", "d", 9), make_limit("cost", "mo", 90), account_id="acmé")
    refusal = await try_reserve(counters, key, Bounds(10, 1, None))
    if isinstance(refusal, Refusal):  # the first call of a new account may come before its epoch
        assert refusal.kind == "limiter_unavailable"
        await asyncio.sleep(0.5)
    hold = await counters.reserve(key, uuid7_text(), Bounds(10, 1, None))
    names = [name for name in await limiters.redis.keys("*") if "acm" in name]
    assert len(names) == 4, names
    assert {key_slot(name.encode()) for name in names} == {key_slot("acmé".encode())}
    counters.settle(hold.order, 3)
    assert await counters.flush(5) == 0
    assert await limiters.spent(key) == 3


async def test_a_caller_who_leaves_while_waiting_leaves_no_hold(limiters: Limiters) -> None:
    """A reservation that was under way is voided by its id, whether Redis has done it or not."""
    counters = await limiters.start()
    key = make_key(make_limit("requests", "d", 100), make_limit("cost", "d", 1_000))
    for turns in (0, 1, 2, 3):
        waiting = limiters.tasks.spawn(counters.reserve(key, uuid7_text(), Bounds(1_000, 1, None)), "reserve")
        for _ in range(turns):
            await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.wait([waiting])
        if not waiting.cancelled():
            counters.void(waiting.result().order)
    assert await counters.flush(5) == 0
    hold = await counters.reserve(key, uuid7_text(), Bounds(1_000, 1, None))
    assert [(state.spent, state.held) for state in hold.states] == [(0, 0), (0, 0)]
