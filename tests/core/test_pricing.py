"""The money of one call: exact integers, and bounds that no real cost leaves."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core import pricing
from proxy.core.pricing import SMALLEST_OUTPUT, SMALLEST_REASONING_OUTPUT
from shared.catalog import NO_PRICES, Catalog, load_catalog
from shared.prices import Price, PriceTables, compile_bands
from shared.usage import COMPLETION_CLASSES, NO_USAGE, PROMPT_CLASSES, TOKEN_CLASSES, TokenUsage

NOW_MS = 1_795_000_000_000
MILLION = 1_000_000
USD = 1_000_000_000

# $1 in, $0.10 cached, $1.25 and $2 written, $8 heard; $4 out, $5 thought, $16 spoken, per million tokens.
EVERY_CLASS = {
    "input": USD,
    "cached_input": USD // 10,
    "cache_write_5m": 1_250_000_000,
    "cache_write_1h": 2 * USD,
    "audio_input": 8 * USD,
    "output": 4 * USD,
    "reasoning": 5 * USD,
    "audio_output": 16 * USD,
}


def make_price(
    default: dict[str, int],
    tiers: dict[str, dict[str, int]] | None = None,
    long: dict[str, int] | None = None,
    **facts: int | bool | None,
) -> Price:
    tables = [PriceTables(-1, default, tiers or {})]
    if long:
        tables.append(PriceTables(272_000, long, {}))
    return msgspec.structs.replace(Price("m", "v", compile_bands(tables)), **facts)


PLAIN = make_price({"input": 2_500_000_000, "cached_input": 1_250_000_000, "output": 10 * USD}, max_output=16_384)
ALL = make_price(EVERY_CLASS, max_output=1000)
TIERED = make_price(
    {"input": USD, "output": 4 * USD},
    {"flex": {"input": USD // 2, "output": 2 * USD}, "priority": {"input": 2 * USD, "output": 8 * USD}},
    {"input": 2 * USD, "output": 6 * USD},
    max_output=1000,
)


@pytest.fixture(scope="module")
def shipped() -> Catalog:
    return load_catalog()


# Cost.


@pytest.mark.parametrize(
    ("usage", "nano"),
    [
        (TokenUsage(), 0),
        (TokenUsage(input=1_000_000), 1_000_000_000),
        (TokenUsage(input=1), 1_000),
        (TokenUsage(cached_input=1), 100),
        (TokenUsage(cache_write_5m=1), 1_250),
        (TokenUsage(cache_write_1h=1), 2_000),
        (TokenUsage(audio_input=1), 8_000),
        (TokenUsage(output=1), 4_000),
        (TokenUsage(reasoning=1), 5_000),
        (TokenUsage(audio_output=1), 16_000),
        # 700 x $1 + 300 x $0.10 + 50 x $4 + 20 x $5, per million: 700,000 + 30,000 + 200,000 + 100,000 nano-USD.
        (TokenUsage(input=700, cached_input=300, output=50, reasoning=20), 1_030_000),
        # One of each: 1000 + 100 + 1250 + 2000 + 8000 + 4000 + 5000 + 16000.
        (TokenUsage(**dict.fromkeys(TOKEN_CLASSES, 1)), 37_350),
    ],
)
def test_each_class_is_billed_at_its_own_price(usage: TokenUsage, nano: int) -> None:
    assert pricing.cost(usage, ALL, "") == nano


@pytest.mark.parametrize(
    ("model", "usage", "nano"),
    [
        # gpt-4o: 2.5 x 1000 + 10 x 100 = 2500 + 1000 millionths of a dollar.
        ("gpt-4o", TokenUsage(input=1000, output=100), 3_500_000),
        # gpt-4o-mini, 9 prompt and 12 completion tokens: 9 x 0.15 + 12 x 0.60 = 8.55 millionths.
        ("gpt-4o-mini", TokenUsage(input=9, output=12), 8_550),
        # gpt-5: 1024 of 1200 prompt tokens cached: 176 x 1.25 + 1024 x 0.125 + 300 x 10 = 220 + 128 + 3000.
        ("gpt-5", TokenUsage(input=176, cached_input=1024, output=44, reasoning=256), 3_348_000),
        # gpt-6.1-sol writes its cache: 100 x 2 + 2000 x 2.5 + 10 x 10 = 200 + 5000 + 100.
        ("gpt-6.1-sol", TokenUsage(input=100, cache_write_5m=2000, output=10), 5_300_000),
        # gpt-audio: 50 x 2.5 + 200 x 32 + 20 x 10 + 80 x 64 = 125 + 6400 + 200 + 5120.
        ("gpt-audio", TokenUsage(input=50, audio_input=200, output=20, audio_output=80), 11_845_000),
        # gpt-4o-search-preview looks something up each time: 2.5 cents, and 100 x 2.5 + 10 x 10.
        ("gpt-4o-search-preview", TokenUsage(input=100, output=10), 25_000_000 + 350_000),
        # gpt-5.4 with a long prompt, all of it at the long price: 272,001 x 5 + 1000 x 22.5.
        ("gpt-5.4", TokenUsage(input=272_001, output=1000), 1_360_005_000 + 22_500_000),
        ("gpt-5.4", TokenUsage(input=272_000, output=1000), 680_000_000 + 15_000_000),
        # The cached part counts towards the length of the prompt.
        ("gpt-5.4", TokenUsage(input=1, cached_input=272_000), 5_000 + 136_000_000),
        ("ft:gpt-4o-mini-2024-07-18:acme::x", TokenUsage(input=1000, output=1000), 300_000 + 1_200_000),
    ],
)
def test_published_prices_give_these_costs(shipped: Catalog, model: str, usage: TokenUsage, nano: int) -> None:
    price = pricing.price_for(shipped, NO_PRICES, "openai", None, model, NOW_MS)
    assert price is not None

    assert pricing.cost(usage, price, "default") == nano


@pytest.mark.parametrize(
    ("rate", "tokens", "nano"),
    [
        (1, 499_999, 0),
        (1, 500_000, 1),
        (1, 500_001, 1),
        (1, 1_499_999, 1),
        (1, 1_500_000, 2),
        (499_999, 1, 0),
        (500_000, 1, 1),
        (333_333, 3, 1),
        (75_000_000, 1, 75),
        (75_500_000, 1, 76),
    ],
)
def test_a_cost_is_rounded_half_up(rate: int, tokens: int, nano: int) -> None:
    assert pricing.cost(TokenUsage(input=tokens), make_price({"input": rate, "output": 0}), "") == nano


def test_a_cost_is_rounded_once_not_per_class() -> None:
    price = make_price({"input": 400_000, "cached_input": 400_000, "output": 400_000})

    assert pricing.cost(TokenUsage(input=1, cached_input=1, output=1), price, "") == 1


def test_a_cost_beyond_what_a_double_holds_is_exact() -> None:
    usage = TokenUsage(input=9_007_199_254_740_993)

    assert pricing.cost(usage, make_price({"input": MILLION, "output": 0}), "") == 9_007_199_254_740_993


@pytest.mark.parametrize(
    ("answered", "nano"),
    [("", 5_000), ("default", 5_000), ("scale", 5_000), ("flex", 2_500), ("priority", 10_000), ("fast", 10_000)],
)
def test_the_tier_that_the_answer_names_is_billed(answered: str, nano: int) -> None:
    assert pricing.cost(TokenUsage(input=1, output=1), TIERED, answered) == nano


counts = st.integers(min_value=0, max_value=2_000_000)
usages = st.builds(TokenUsage, **dict.fromkeys(TOKEN_CLASSES, counts))
tiers = st.sampled_from(["", "auto", "default", "flex", "priority", "fast", "scale", "ultrafast", "other"])


@given(usages, st.sampled_from(TOKEN_CLASSES), st.integers(min_value=1, max_value=1000), tiers)
def test_more_tokens_never_cost_less(usage: TokenUsage, name: str, more: int, tier: str) -> None:
    larger = msgspec.structs.replace(usage, **{name: getattr(usage, name) + more})

    for price in (PLAIN, ALL, TIERED):
        assert pricing.cost(larger, price, tier) >= pricing.cost(usage, price, tier)


@given(usages, usages)
def test_two_calls_cost_what_their_sum_costs_but_for_rounding(one: TokenUsage, two: TokenUsage) -> None:
    both = TokenUsage(**{name: getattr(one, name) + getattr(two, name) for name in TOKEN_CLASSES})
    apart = pricing.cost(one, ALL, "") + pricing.cost(two, ALL, "")

    assert abs(pricing.cost(both, ALL, "") - apart) <= 1


# Which price.


# Bounds.


def test_the_worst_case_is_prompt_bound_and_cap_at_the_dearest_classes() -> None:
    bounds = pricing.bounds(ALL, 100, 50, 1, False, "")

    assert bounds.worst_nano == 100 * 8_000 + 50 * 16_000
    assert bounds.least_nano == 100  # one cached prompt token
    assert bounds.clamp_nano == 100 * 8_000 + 16 * 16_000
    assert not bounds.is_unbounded


def test_a_prompt_that_is_written_to_no_cache_is_held_at_the_dearest_of_the_other_classes() -> None:
    silent = msgspec.structs.replace(ALL, bands=make_price({**EVERY_CLASS, "audio_input": USD}).bands)
    bounds = pricing.bounds(silent, 100, 50, 1, False, "", may_write_cache=False)

    assert bounds.worst_nano == 100 * 1_000 + 50 * 16_000
    assert pricing.bounds(silent, 100, 50, 1, False, "").worst_nano == 100 * 2_000 + 50 * 16_000
    assert pricing.affordable_output(bounds.worst_nano, silent, 100, 1, "", may_write_cache=False) == 50
    assert pricing.affordable_output(bounds.worst_nano, silent, 100, 1, "") == 43


def test_without_a_cap_of_the_callers_the_models_own_counts() -> None:
    assert pricing.bounds(PLAIN, 0, None, 1, False, "").worst_nano == 16_384 * 10_000


def test_every_choice_may_use_the_whole_cap_and_the_prompt_is_paid_once() -> None:
    bounds = pricing.bounds(ALL, 100, 50, 3, False, "")

    assert bounds.worst_nano == 100 * 8_000 + 3 * 50 * 16_000
    assert bounds.clamp_nano == 100 * 8_000 + 3 * 16 * 16_000


@pytest.mark.parametrize(
    ("asked", "worst"),
    [("", 2_000 + 8_000), ("auto", 10_000), ("default", 5_000), ("flex", 5_000), ("priority", 10_000), ("new", 10_000)],
)
def test_the_worst_case_covers_the_tiers_that_the_body_can_end_up_in(asked: str, worst: int) -> None:
    assert pricing.bounds(TIERED, 1, 1, 1, False, asked).worst_nano == worst


def test_a_prompt_that_may_be_long_is_held_at_the_long_price() -> None:
    assert pricing.bounds(TIERED, 272_000, 1, 1, False, "default").worst_nano == 272_000 * 1_000 + 4_000
    assert pricing.bounds(TIERED, 272_001, 1, 1, False, "default").worst_nano == 272_001 * 2_000 + 6_000


def test_a_cap_below_the_smallest_useful_output_is_its_own_clamp() -> None:
    bounds = pricing.bounds(ALL, 100, 5, 1, False, "")

    assert bounds.clamp_nano == bounds.worst_nano


def test_a_reasoning_model_needs_room_to_think_before_a_clamp_is_of_use() -> None:
    thinking = make_price(EVERY_CLASS, max_output=100_000, is_reasoning=True)

    assert pricing.bounds(thinking, 0, None, 1, False, "").clamp_nano == SMALLEST_REASONING_OUTPUT * 16_000
    assert pricing.bounds(ALL, 0, None, 1, False, "").clamp_nano == SMALLEST_OUTPUT * 16_000


def test_without_any_cap_the_call_is_unbounded_and_cannot_be_clamped() -> None:
    bounds = pricing.bounds(make_price(EVERY_CLASS), 100, None, 1, False, "")

    assert bounds.is_unbounded
    assert bounds.clamp_nano is None
    assert bounds.least_nano == 100


def test_a_body_whose_prompt_is_not_known_is_unbounded_whatever_its_cap() -> None:
    bounds = pricing.bounds(ALL, 100, 50, 1, True, "")

    assert bounds.is_unbounded
    assert bounds.clamp_nano is None


def test_the_least_is_never_nothing() -> None:
    free = make_price({"input": 0, "output": 0}, max_output=10)

    assert pricing.bounds(free, 100, None, 1, False, "").least_nano == 1
    assert pricing.bounds(make_price({"input": 1, "output": 1}), 100, None, 1, True, "").least_nano == 1


def test_what_every_call_costs_is_in_all_bounds() -> None:
    searching = make_price(EVERY_CLASS, max_output=1000, per_call_nano=25_000_000)
    with_call, without = pricing.bounds(searching, 100, 50, 1, False, ""), pricing.bounds(ALL, 100, 50, 1, False, "")
    assert with_call.clamp_nano is not None
    assert without.clamp_nano is not None

    assert with_call.worst_nano - without.worst_nano == 25_000_000
    assert with_call.least_nano - without.least_nano == 25_000_000
    assert with_call.clamp_nano - without.clamp_nano == 25_000_000
    assert pricing.affordable_output(with_call.worst_nano, searching, 100, 1, "") == 50


PRICES = st.sampled_from([PLAIN, ALL, TIERED, make_price({"input": 3, "output": 7}, max_output=10**6)])
ASKED = st.sampled_from([("", ["", "default", "priority"]), ("flex", ["flex", "default"]), ("default", ["default"])])


@given(PRICES, st.data(), st.integers(0, 400_000), st.integers(1, 300_000), st.integers(1, 8), ASKED)
def test_no_answer_within_prompt_and_cap_costs_more_than_the_worst_or_less_than_the_least(
    price: Price, data: st.DataObject, prompt_bound: int, cap: int, choices: int, asked: tuple[str, list[str]]
) -> None:
    tier, served = asked
    bounds = pricing.bounds(price, prompt_bound, cap, choices, False, tier)
    prompt, output = prompt_bound, cap * choices
    used = dict[str, int]()
    for name in data.draw(st.permutations(PROMPT_CLASSES)):
        used[name] = data.draw(st.integers(0, prompt))
        prompt -= used[name]
    for name in data.draw(st.permutations(COMPLETION_CLASSES)):
        used[name] = data.draw(st.integers(0, output))
        output -= used[name]
    usage = TokenUsage(**used)
    nano = pricing.cost(usage, price, data.draw(st.sampled_from(served)))

    assert nano <= bounds.worst_nano
    if usage.prompt_tokens and nano:
        assert nano >= bounds.least_nano
    assert bounds.clamp_nano is not None
    assert bounds.least_nano <= bounds.clamp_nano <= bounds.worst_nano


@given(
    PRICES, st.integers(0, 400_000), st.integers(0, 10**13), st.integers(1, 8), st.sampled_from(["", "default", "flex"])
)
def test_an_output_cap_that_a_hold_pays_for_costs_at_most_the_hold_and_one_token_more_does_not_fit(
    price: Price, prompt_bound: int, held: int, choices: int, tier: str
) -> None:
    cap = pricing.affordable_output(held, price, prompt_bound, choices, tier)

    assert cap >= 0
    if cap > 0:
        assert pricing.bounds(price, prompt_bound, cap, choices, False, tier).worst_nano <= max(held, 1)
    if cap != price.max_output:
        rates = price.extremes(tier, prompt_bound)
        assert prompt_bound * rates.dearest_prompt + (cap + 1) * choices * rates.dearest_output > held * MILLION


@given(PRICES, st.integers(0, 400_000), st.integers(1, 8), st.sampled_from(["", "default"]))
def test_the_clamp_pays_for_the_smallest_useful_output(
    price: Price, prompt_bound: int, choices: int, tier: str
) -> None:
    bounds = pricing.bounds(price, prompt_bound, None, choices, False, tier)
    assert bounds.clamp_nano is not None

    assert pricing.affordable_output(bounds.clamp_nano, price, prompt_bound, choices, tier) >= SMALLEST_OUTPUT


def test_a_hold_that_does_not_pay_for_the_prompt_affords_no_output() -> None:
    assert pricing.affordable_output(99, ALL, 1000, 1, "") == 0


def test_where_output_is_free_the_models_own_cap_is_affordable() -> None:
    free_output = make_price({"input": USD, "output": 0})

    assert pricing.affordable_output(10**6, free_output, 10, 1, "") == 2**31 - 1
    assert pricing.affordable_output(10**6, msgspec.structs.replace(free_output, max_output=50), 10, 1, "") == 50


def test_no_usage_costs_nothing() -> None:
    assert pricing.cost(NO_USAGE, ALL, "priority") == 0
