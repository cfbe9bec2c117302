"""Windows, names, decisions and figures of limits, without Redis."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.holds import Bounds, Bucket, BucketState
from proxy.core.limits import (
    RESOURCES,
    WINDOWS,
    Count,
    Denial,
    RateState,
    Verdict,
    compile_limits,
    decide,
    demand,
    lifetime_bucket,
    refusal_for,
    tightest_rate,
)
from shared.errors import ERROR_KINDS, Refusal
from shared.records import Limit, Resource, Window


def unix_ms(*parts: int) -> int:
    return int(datetime(*parts, tzinfo=UTC).timestamp() * 1000)


def limit(
    resource: Resource = "cost", window: Window = "total", amount: int = 100, name: str = "l", generation: int = 1
) -> Limit:
    return Limit(name, resource, window, amount, generation, 0)


NOW = unix_ms(2028, 2, 29, 23, 59, 59) + 999


@pytest.mark.parametrize(
    ("window", "start", "end"),
    [
        ("s", unix_ms(2028, 2, 29, 23, 59, 59), unix_ms(2028, 3, 1)),
        ("m", unix_ms(2028, 2, 29, 23, 59), unix_ms(2028, 3, 1)),
        ("h", unix_ms(2028, 2, 29, 23), unix_ms(2028, 3, 1)),
        ("d", unix_ms(2028, 2, 29), unix_ms(2028, 3, 1)),
        ("mo", unix_ms(2028, 2, 1), unix_ms(2028, 3, 1)),
        ("total", 0, 0),
    ],
)
def test_a_window_is_aligned_to_the_utc_calendar(window: Window, start: int, end: int) -> None:
    """The last millisecond of a leap month lies in the windows that end with it; the next one does not."""
    assert WINDOWS[window](NOW) == (start, end)
    assert window == "total" or WINDOWS[window](NOW + 1)[0] == end


@given(st.sampled_from(["s", "m", "h", "d", "mo"]), st.integers(0, 4_000_000_000_000))
def test_windows_cover_time_without_gap_or_overlap(window: Window, now_ms: int) -> None:
    """Every moment is in exactly one window, and the next one begins where it ends."""
    start, end = WINDOWS[window](now_ms)
    assert start <= now_ms < end
    assert WINDOWS[window](end)[0] == end
    assert WINDOWS[window](start) == WINDOWS[window](end - 1) == (start, end)


def test_names_carry_tag_scope_generation_and_window() -> None:
    """A bucket's name says all that makes it this counter; only the window's start changes with time."""
    limits = (limit("requests", "m", name="a", generation=3), limit("cost", "mo", name="b"))
    naming = compile_limits("acme", "k", limits).name(NOW)
    assert [bucket.name for bucket in naming.buckets] == [
        f"weir:{{acme}}:key:k:requests:a.3:{unix_ms(2028, 2, 29, 23, 59)}",
        f"weir:{{acme}}:key:k:cost:b.1:{unix_ms(2028, 2, 1)}",
    ]
    assert naming.order_buckets == (*naming.buckets, lifetime_bucket("acme", "k"))
    assert (naming.from_ms, naming.until_ms) == (unix_ms(2028, 2, 29, 23, 59), unix_ms(2028, 3, 1))


def test_the_lifetime_limit_counts_in_a_bucket_that_no_change_of_it_renames() -> None:
    """A lifetime limit's generation is not in its counter's name, and the bucket is settled once, not twice."""
    first = compile_limits("acme", "k", (limit(generation=1),)).name(NOW)
    later = compile_limits("acme", "k", (limit(generation=9, amount=5),)).name(NOW)
    assert first.order_buckets == later.order_buckets == (lifetime_bucket("acme", "k"),)
    assert compile_limits("acme", "k", ()).name(NOW).order_buckets == (lifetime_bucket("acme", "k"),)


def test_a_limit_that_is_not_enforced_closes_the_key() -> None:
    """What is accepted is enforced: a limit on something else than RESOURCES never lets calls pass uncounted."""
    with pytest.raises(Refusal) as refused:
        compile_limits("acme", "k", (limit("tokens", "d"),))
    assert refused.value.kind == "key_closed"
    assert "tokens" not in RESOURCES


WINDOW_ENDS = NOW + 41_001


@pytest.mark.parametrize(
    ("denied", "ends_ms", "is_held", "kind", "status", "retry_after"),
    [
        (limit("requests", "m"), WINDOW_ENDS, False, "rate_limited", 429, 42),
        (limit("cost", "d"), WINDOW_ENDS, False, "cost_limited", 429, 42),
        (limit("cost", "total"), 0, False, "key_exhausted", 401, None),
        (limit("cost", "total"), 0, True, "cost_held", 429, 1),
        (limit("requests", "s"), NOW + 1, False, "rate_limited", 429, 1),
        (limit("requests", "s"), NOW - 5, False, "rate_limited", 429, 1),
    ],
)
def test_a_denial_is_told_with_its_kind_and_time(
    denied: Limit, ends_ms: int, is_held: bool, kind: str, status: int, retry_after: float | None
) -> None:
    """Retry-after is the rest of the window in whole seconds, rounded up; 1 for held money; none for a dead key."""
    refusal = refusal_for(Denial(denied, Bucket("b", denied.resource, ends_ms), is_held), NOW)
    assert (refusal.kind, ERROR_KINDS[refusal.kind].status) == (kind, status)
    assert refusal.retry_after == retry_after


def state(amount: int, spent: int, ends_ms: int, resource: Resource = "requests") -> BucketState:
    return BucketState(limit(resource, "m", amount), Bucket("b", resource, ends_ms), spent, 0)


@pytest.mark.parametrize(
    ("states", "expected"),
    [
        ((), None),
        ((state(100, 0, NOW + 1, "cost"),), None),
        ((state(2, 0, NOW + 1_000),), RateState(2, 1, (NOW + 1_000) // 1000, 1, "m")),
        ((state(2, 1, NOW + 360_000),), RateState(2, 0, (NOW + 360_000) // 1000, 360, "m")),
        ((state(99, 5, NOW + 1_000), state(9, 5, NOW + 5 * 10**7)), RateState(9, 3, NOW // 1000 + 50_000, 50_000, "m")),
        ((state(9, 5, NOW + 1_000), state(9, 5, NOW + 2_000)), RateState(9, 3, (NOW + 2_000) // 1000, 2, "m")),
    ],
)  # fmt: skip
def test_rate_headers_show_the_tightest_limit(states: tuple[BucketState, ...], expected: RateState | None) -> None:
    """The limit on requests with the fewest left after this one; of equals, the one that resets last."""
    assert tightest_rate(states, NOW) == expected


COST = limit(amount=100)


@pytest.mark.parametrize(
    ("count", "bounds", "expected"),
    [
        (Count(0), Bounds(100, 1, None), Verdict("backed", (100,))),
        (Count(60, 30), Bounds(10, 1, None), Verdict("backed", (10,))),
        (Count(60, 30), Bounds(11, 1, 10), Verdict("clamped", (10,))),
        (Count(60, 30), Bounds(11, 1, 11), Verdict("lane", (10,))),
        (Count(60, 30), Bounds(11, 1, None), Verdict("lane", (10,))),
        (Count(60, 30, True), Bounds(11, 1, None), Verdict(None, denied=0, is_held=True)),
        (Count(60, 30, True), Bounds(11, 1, 5), Verdict("clamped", (10,))),
        (Count(60, 30, True), Bounds(10, 1, None), Verdict("backed", (10,))),
        (Count(0), Bounds(5, 1, None, is_unbounded=True), Verdict("lane", (5,))),
        (Count(0, 5, True), Bounds(5, 1, 1, is_unbounded=True), Verdict(None, denied=0, is_held=True)),
        (Count(60, 30), Bounds(20, 11, None), Verdict(None, denied=0, is_held=True)),
        (Count(60, 40), Bounds(20, 1, None), Verdict(None, denied=0, is_held=True)),
        (Count(90), Bounds(20, 10, None), Verdict("lane", (10,))),
        (Count(90), Bounds(20, 11, None), Verdict(None, denied=0)),
        (Count(100), Bounds(20, 0, None), Verdict(None, denied=0)),
        (Count(100), Bounds(0, 0, None), Verdict("backed", (0,))),
        (Count(100), None, Verdict("none", (0,))),
        (Count(101), None, Verdict(None, denied=0)),
    ],
)
def test_one_budget_is_decided(count: Count, bounds: Bounds | None, expected: Verdict) -> None:
    """A budget of 100: backed, clamped, in the lane, held or used up (design §6)."""
    assert decide((COST,), (0,), (count,), bounds) == expected


def test_of_several_used_up_limits_the_longest_is_told() -> None:
    """Waiting for the minute is no use when the day is used up, and nothing is when the lifetime is."""
    limits = (limit("requests", "m", 1), limit("requests", "d", 1), limit("cost", "total", 1))
    ends = (10, 20, 0)
    full = Count(1)
    assert decide(limits, ends, (full, Count(0), Count(0)), None).denied == 0
    assert decide(limits, ends, (full, full, Count(0)), None).denied == 1
    assert decide(limits, ends, (full, full, full), Bounds(1, 1, None)).denied == 2


def test_a_used_up_limit_wins_over_held_money() -> None:
    """Held money is worth a retry in a second; a used up window is not."""
    limits = (limit("cost", "d", 100), limit("requests", "m", 1))
    verdict = decide(limits, (10, 5), (Count(0, 100), Count(1)), Bounds(5, 5, None))
    assert verdict == Verdict(None, denied=1)


def test_the_lane_is_only_needed_where_the_worst_case_does_not_fit() -> None:
    """An attempt in the lane of a tight budget is backed in the others, so their lanes stay free."""
    limits = (limit("cost", "d", 10), limit("cost", "total", 1000))
    ends = (10, 0)
    bounds = Bounds(20, 1, None)
    assert decide(limits, ends, (Count(0), Count(0, 0, True)), bounds) == Verdict("lane", (10, 20))
    assert decide(limits, ends, (Count(0, 0, True), Count(0)), bounds).is_held


amounts = st.integers(0, 40)
bounds_of_any_kind = st.builds(
    Bounds, worst_nano=amounts, least_nano=amounts, clamp_nano=st.none() | amounts, is_unbounded=st.booleans()
)


@given(st.data())
def test_a_budget_is_overspent_by_one_lane_attempt_at_most_and_nobody_is_refused_in_vain(data: st.DataObject) -> None:
    """Whatever calls come and whatever those in the lane cost: spent + holds never passes the limit at an admission,
    the excess is at most one lane attempt's, and a refusal has a reason (invariants I3, I5).
    """
    amount = data.draw(st.integers(1, 120))
    budget = limit(amount=amount)
    spent, lane = 0, -1
    holds: dict[int, int] = {}
    dearest_in_lane = 0
    for attempt in range(data.draw(st.integers(1, 20))):
        if holds and data.draw(st.booleans()):
            ended = data.draw(st.sampled_from(sorted(holds)))
            held = holds.pop(ended)
            cost = data.draw(st.integers(0, held if ended != lane else 200))
            if ended == lane:
                dearest_in_lane, lane = max(dearest_in_lane, cost), -1
            spent += cost
        count = Count(spent, sum(holds.values()), lane >= 0)
        bounds = data.draw(bounds_of_any_kind)
        verdict = decide((budget,), (0,), (count,), bounds)
        left = amount - spent - count.held
        if verdict.kind is None:
            asked = demand(bounds)
            is_alone = asked.is_unbounded or asked.worst_nano > left
            assert asked.least_nano > left or (is_alone and count.is_lane_taken)
            assert verdict.is_held == (asked.least_nano <= amount - spent)
        else:
            assert verdict.amounts[0] <= max(left, 0)
            if verdict.kind == "lane":
                assert lane < 0
                lane = attempt
            if verdict.amounts[0]:
                holds[attempt] = verdict.amounts[0]
        assert spent <= amount + dearest_in_lane
