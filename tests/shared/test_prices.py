"""The rates of a model: what is missing is filled in with the dearest it could be."""

import msgspec
import pytest

from shared.prices import (
    BILLED_TIERS,
    FALLBACKS,
    TRIGGERED_TIERS,
    Extremes,
    Price,
    PriceTables,
    Rates,
    compile_bands,
    flat_price,
)
from shared.usage import COMPLETION_CLASSES, NO_USAGE, PROMPT_CLASSES, TOKEN_CLASSES, TokenUsage, UnitUsage


def price_of(*tables: PriceTables) -> Price:
    return Price("m", "v", compile_bands(list(tables)))


def base(default: dict[str, int], **tiers: dict[str, int]) -> PriceTables:
    return PriceTables(-1, default, tiers)


def test_there_is_a_rate_for_every_token_class() -> None:
    assert Rates.__struct_fields__ == TOKEN_CLASSES
    assert set(PROMPT_CLASSES) | set(COMPLETION_CLASSES) == set(TOKEN_CLASSES)


def test_every_class_but_input_and_output_has_a_fallback_in_its_own_direction() -> None:
    assert set(FALLBACKS) == set(TOKEN_CLASSES) - {"input", "output"}
    for name, nearer in FALLBACKS.items():
        side = PROMPT_CLASSES if name in PROMPT_CLASSES else COMPLETION_CLASSES
        assert set(nearer) <= set(side)


@pytest.mark.parametrize(
    ("listed", "name", "rate"),
    [
        ({}, "cached_input", 10),
        ({}, "cache_write_5m", 10),
        ({}, "cache_write_1h", 10),
        ({"cache_write_5m": 12}, "cache_write_1h", 12),
        ({"cache_write_5m": 12, "cache_write_1h": 20}, "cache_write_1h", 20),
        ({}, "audio_input", 10),
        ({"audio_input": 80}, "audio_input", 80),
        ({}, "reasoning", 40),
        ({"reasoning": 50}, "reasoning", 50),
        ({}, "audio_output", 40),
        ({"cached_input": 0}, "cached_input", 0),
    ],
)
def test_a_class_without_a_price_is_billed_as_its_fallback(listed: dict[str, int], name: str, rate: int) -> None:
    rates = price_of(base({"input": 10, "output": 40, **listed})).rates()

    assert getattr(rates, name) == rate


def test_a_tier_that_omits_a_class_takes_the_dearer_of_its_own_fallback_and_the_standard_price() -> None:
    price = price_of(
        base(
            {"input": 10, "cached_input": 1, "audio_input": 90, "output": 40},
            priority={"input": 20, "output": 80},
            flex={"input": 5, "output": 20},
            partial={"input": 30},
        )
    )

    assert price.rates("priority").cached_input == 20  # not 1: a discount is not assumed
    assert price.rates("priority").audio_input == 90  # not 20: audio is dearer than text
    assert price.rates("flex").cached_input == 5
    assert price.rates("flex").reasoning == 20
    assert price.rates("partial").output == 40


@pytest.mark.parametrize("answered", ["", "auto", "default", "standard", "scale"])
def test_an_answer_of_the_standard_tier_by_any_of_its_names_is_billed_at_the_standard_price(answered: str) -> None:
    price = price_of(base({"input": 10, "output": 40}, priority={"input": 20, "output": 80}))

    assert price.rates(answered).input == 10


def test_fast_is_another_name_of_priority() -> None:
    price = price_of(base({"input": 10, "output": 40}, priority={"input": 20, "output": 80}))

    assert price.rates("fast") == price.rates("priority")
    assert price.extremes("fast") == price.extremes("priority")


def test_flex_of_a_model_without_a_flex_price_is_billed_at_the_standard_price() -> None:
    price = price_of(base({"input": 10, "output": 40}, priority={"input": 20, "output": 80}))

    assert price.rates("flex").input == 10


def test_an_answered_tier_that_is_not_priced_is_billed_at_the_dearest_class_by_class() -> None:
    price = price_of(base({"input": 10, "output": 90}, priority={"input": 20, "output": 80}))

    assert price.rates("a-tier-of-next-year") == price.rates("ultrafast")
    assert (price.rates("ultrafast").input, price.rates("ultrafast").output) == (20, 90)


@pytest.mark.parametrize(
    ("asked", "dearest_output"),
    [
        ("", 80),
        ("auto", 80),
        ("default", 40),
        ("flex", 40),
        ("priority", 80),
        ("fast", 80),
        ("ultrafast", 240),
        ("a-tier-of-next-year", 240),
    ],
)
def test_the_worst_case_counts_every_tier_that_the_body_can_end_up_in(asked: str, dearest_output: int) -> None:
    price = price_of(
        base(
            {"input": 10, "output": 40},
            flex={"input": 5, "output": 20},
            priority={"input": 20, "output": 80},
            ultrafast={"input": 60, "output": 240},
        )
    )

    assert price.dearest_output_price(asked) == dearest_output


def test_what_is_billed_for_an_asked_tier_never_exceeds_its_worst_case() -> None:
    price = price_of(
        base({"input": 10, "output": 40}, flex={"input": 5, "output": 20}, priority={"input": 20, "output": 80}),
        PriceTables(100, {"input": 15, "output": 60}, {"priority": {"input": 40, "output": 120}}),
    )
    served = {
        name: [tier for tier in tiers if tier in ("default", "flex", "priority")]
        for name, tiers in TRIGGERED_TIERS.items()
    }

    for prompt_tokens in (0, 100, 101, 10_000):
        for asked, tiers in served.items():
            extremes = price.extremes(asked, prompt_tokens)
            for tier in tiers:
                rates = price.rates(tier, prompt_tokens)
                assert all(getattr(rates, name) <= extremes.dearest_prompt for name in PROMPT_CLASSES)
                assert all(getattr(rates, name) <= extremes.dearest_output for name in COMPLETION_CLASSES)
                assert all(getattr(rates, name) >= extremes.cheapest_prompt for name in PROMPT_CLASSES)


def test_the_dearest_prompt_price_is_over_all_classes() -> None:
    price = price_of(base({"input": 10, "cached_input": 1, "cache_write_5m": 12, "output": 40}))

    assert price.extremes() == Extremes(
        dearest_prompt=12, dearest_unwritten_prompt=10, dearest_output=40, cheapest_prompt=1
    )
    assert price.dearest_prompt_price() == 12


LONG = price_of(
    base(
        {"input": 10, "cached_input": 1, "output": 40},
        flex={"input": 5, "output": 20},
        priority={"input": 30, "output": 90},
    ),
    PriceTables(1000, {"input": 20, "cached_input": 2, "output": 60}, {"flex": {"input": 8, "output": 30}}),
    PriceTables(5000, {"input": 50, "output": 70}, {}),
)


@pytest.mark.parametrize(
    ("prompt_tokens", "rate"),
    [(0, 10), (1, 10), (1000, 10), (1001, 20), (5000, 20), (5001, 50), (10**9, 50)],
)
def test_a_longer_prompt_is_billed_at_its_band_from_the_next_token_on(prompt_tokens: int, rate: int) -> None:
    assert LONG.rates("", prompt_tokens).input == rate


def test_a_tier_without_a_price_for_long_prompts_takes_the_dearer_of_both_neighbours() -> None:
    assert LONG.rates("priority", 2000).input == 30  # long default 20, short priority 30
    assert LONG.rates("flex", 2000).input == 8
    assert LONG.rates("flex", 6000).input == 50


def test_a_long_band_that_omits_a_class_does_not_take_the_short_discount() -> None:
    assert LONG.rates("", 6000).cached_input == 50


def test_the_worst_case_of_a_bound_covers_shorter_prompts_too() -> None:
    dear_when_short = price_of(base({"input": 10, "output": 90}), PriceTables(1000, {"input": 20, "output": 60}, {}))

    assert dear_when_short.extremes("", 2000) == Extremes(
        dearest_prompt=20, dearest_unwritten_prompt=20, dearest_output=90, cheapest_prompt=10
    )


def test_a_flat_price_has_one_rate_per_direction() -> None:
    price = flat_price("m", "v", 3, 7, max_output=100)

    assert {getattr(price.rates(), name) for name in PROMPT_CLASSES} == {3}
    assert {getattr(price.rates(), name) for name in COMPLETION_CLASSES} == {7}
    assert price.max_output == 100


def test_prices_are_immutable() -> None:
    with pytest.raises(AttributeError):
        LONG.model = "x"  # type: ignore[misc]
    assert msgspec.structs.asdict(LONG)["model"] == "m"


def test_what_a_body_can_trigger_is_what_answers_are_billed_as() -> None:
    assert {tier for tiers in TRIGGERED_TIERS.values() for tier in tiers} <= set(BILLED_TIERS)
    assert set(TRIGGERED_TIERS) - {"standard_only"} <= set(BILLED_TIERS)


# $1 in and $4 out; in the US alone a tenth more, fast twice, both 2.2 times; by the batch half.
FACTORS = {"priority": 10, "us": 11, "fast": 20, "us-fast": 22, "batch": 5, "us-batch": 6}
REGIONAL = price_of(
    base(
        {"input": 10, "cache_write_5m": 12, "cache_write_1h": 20, "output": 40},
        **{tier: {"input": rate, "cache_write_1h": 2 * rate, "output": 4 * rate} for tier, rate in FACTORS.items()},
    )
)
PLAIN = price_of(base({"input": 10, "output": 40}))


@pytest.mark.parametrize(("answered", "rate"), [("", 10), ("standard", 10), *FACTORS.items(), ("us-priority", 11)])
def test_a_region_and_a_speed_are_tiers_with_prices_of_their_own(answered: str, rate: int) -> None:
    assert REGIONAL.rates(answered).input == rate
    assert PLAIN.rates(answered).input == 10


@pytest.mark.parametrize(
    ("asked", "dearest"), [("", 22), ("standard_only", 22), ("default", 20), ("us", 22), ("fast", 44), ("us-fast", 44)]
)
def test_a_body_that_names_no_region_may_end_up_in_the_dearer_one(asked: str, dearest: int) -> None:
    assert REGIONAL.dearest_prompt_price(asked) == dearest


def test_a_prompt_that_is_written_to_no_cache_has_a_dearest_price_of_its_own() -> None:
    assert REGIONAL.extremes("default").dearest_unwritten_prompt == 10
    assert REGIONAL.extremes("fast").dearest_unwritten_prompt == 22


def test_a_tier_of_long_prompts_alone_may_list_too_little() -> None:
    price = price_of(
        base({"input": 10, "output": 40}), PriceTables(100, {"input": 20, "output": 60}, {"odd": {"cached_input": 1}})
    )

    assert (price.rates("odd", 200).input, price.rates("odd", 200).cached_input) == (20, 1)
    assert price.rates("odd", 200).audio_output == 60


# What is billed by the piece.


def test_a_price_covers_what_it_has_a_rate_for_and_nothing_else() -> None:
    spoken = msgspec.structs.replace(PLAIN, units=(("input_characters", 270_000_000_000),), is_by_token=False)
    searching = msgspec.structs.replace(PLAIN, units=(("searches", 180_000_000_000_000),))

    assert PLAIN.covers(TokenUsage(input=1))
    assert PLAIN.covers(NO_USAGE, UnitUsage())
    assert not PLAIN.covers(TokenUsage(input=1), UnitUsage(searches=1))
    assert searching.covers(TokenUsage(input=1), UnitUsage(searches=1))
    assert not searching.covers(NO_USAGE, UnitUsage(searches=1, pages=1))
    assert spoken.covers(NO_USAGE, UnitUsage(input_characters=5))
    assert not spoken.covers(TokenUsage(input=1), UnitUsage(input_characters=5))
