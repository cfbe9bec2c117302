"""What a worker remembers without Redis: bounded, and never older than a window."""

import pytest

from proxy.adapters.limiter.memory import LocalRates, RememberedRefusals
from proxy.core.holds import Bucket
from proxy.core.limits import Denial, compile_limits
from shared.errors import Refusal
from tests.limiter_rig import make_limit

NOW = 1_795_219_200_000


@pytest.mark.parametrize(
    ("window", "ends_in", "remembered_ms"), [("m", 20_000, 20_000), ("mo", 10**9, 60_000), ("total", None, 1_000)]
)
def test_a_refusal_is_remembered_until_its_window_ends(window: str, ends_in: int | None, remembered_ms: int) -> None:
    """But a minute at most, for the counter may be put right; a second where no window ends."""
    limit = make_limit("cost", window, 5)  # type: ignore[arg-type]
    denial = Denial(limit, Bucket("b", "cost", NOW + ends_in if ends_in else 0), is_held=False)
    refusals = RememberedRefusals()
    refusals.remember("key", denial, 5, NOW)
    assert "key" in refusals
    with pytest.raises(Refusal):
        refusals.refuse("key", (limit,), NOW + remembered_ms - 1)
    refusals.refuse("key", (limit,), NOW + remembered_ms)
    assert "key" not in refusals


@pytest.mark.parametrize(("spent", "is_held"), [(4, False), (5, True)])
def test_a_refusal_that_another_call_may_not_get_is_not_remembered(spent: int, is_held: bool) -> None:
    """Some money is left, or it is only held."""
    refusals = RememberedRefusals()
    refusals.remember("key", Denial(make_limit("cost", "d", 5), Bucket("b", "cost", NOW + 5), is_held), spent, NOW)
    assert "key" not in refusals


def test_memory_is_bounded() -> None:
    """The oldest of ten thousand keys makes room."""
    refusals = RememberedRefusals()
    denial = Denial(make_limit("requests", "d", 1), Bucket("b", "requests", NOW + 10**6), is_held=False)
    for number in range(10_001):
        refusals.remember(f"key {number}", denial, 1, NOW)
    assert "key 0" not in refusals
    assert "key 1" in refusals
    refusals.forget("key 1")
    assert "key 1" not in refusals
    refusals.clear()
    assert "key 10000" not in refusals


def test_each_worker_admits_its_share_and_at_least_one() -> None:
    """All limits or none are counted; the one whose window ends last is told."""
    limits = (make_limit("requests", "m", 3), make_limit("requests", "d", 9))
    compiled = compile_limits("default", "k", limits)
    naming = compiled.name(NOW)
    rates = LocalRates(workers=4)
    assert rates.admit(compiled, naming) is None
    for _ in range(2):
        denial = rates.admit(compiled, naming)
        assert denial is not None
        assert denial.limit == limits[0]
    later = compiled.name(NOW + 60_000)
    assert rates.admit(compiled, later) is None
    both_full = rates.admit(compiled, later)
    assert both_full is not None
    assert both_full.limit == limits[1]
    rates.clear()
    assert rates.admit(compiled, later) is None
