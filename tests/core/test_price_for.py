"""Whose price counts: the setting's cost map, the operator's override, the catalogue, or nobody's."""

from pathlib import Path

import msgspec
import pytest

from proxy.core import pricing
from proxy.core.overrides import Overrides, OverridesBuilder
from proxy.core.pricing import COST_MAP_VERSION
from shared.catalog import NO_PRICES, Catalog, load_catalog
from shared.price_overrides import PriceRecord
from shared.records import CostMap
from shared.usage import COMPLETION_CLASSES, PROMPT_CLASSES, TokenUsage

NOW_MS = 1_795_000_000_000
USD = 1_000_000_000


@pytest.fixture(scope="module")
def shipped() -> Catalog:
    return load_catalog()


def test_a_cost_map_wins_over_the_catalogue_when_it_has_both_prices(shipped: Catalog) -> None:
    cost_map = CostMap({"gpt-4o": 7, "half": 7}, {"gpt-4o": 9, "other-half": 9})
    price = pricing.price_for(shipped, NO_PRICES, "openai", cost_map, "gpt-4o", NOW_MS)
    assert price is not None

    assert {getattr(price.rates(tier), name) for name in PROMPT_CLASSES for tier in ("", "priority")} == {7}
    assert {getattr(price.rates(tier), name) for name in COMPLETION_CLASSES for tier in ("", "priority")} == {9}
    assert price.version == COST_MAP_VERSION
    assert price.max_output == 16_384  # what the model can do stays known
    assert pricing.price_for(shipped, NO_PRICES, "openai", cost_map, "half", NOW_MS) is None
    assert pricing.price_for(shipped, NO_PRICES, "openai", cost_map, "other-half", NOW_MS) is None


def test_a_cost_map_may_price_a_model_that_the_catalogue_does_not_know(shipped: Catalog) -> None:
    price = pricing.price_for(
        shipped, NO_PRICES, "openai", CostMap({"my-own": 2 * USD}, {"my-own": 3 * USD}), "my-own", NOW_MS
    )
    assert price is not None

    assert pricing.cost(TokenUsage(input=10, cached_input=10, output=10), price, "flex") == 70_000
    assert price.max_output is None


def test_a_cost_map_of_nothing_means_free(shipped: Catalog) -> None:
    price = pricing.price_for(shipped, NO_PRICES, "openai", CostMap({"gpt-4o": 0}, {"gpt-4o": 0}), "gpt-4o", NOW_MS)
    assert price is not None

    assert pricing.cost(TokenUsage(input=10**6, output=10**6), price, "priority") == 0


def test_a_cost_map_that_says_nothing_of_the_model_leaves_the_catalogue_its_word(shipped: Catalog) -> None:
    assert pricing.price_for(shipped, NO_PRICES, "openai", CostMap(), "gpt-4o", NOW_MS) is shipped.price(
        "openai", "gpt-4o", NOW_MS
    )


def test_a_model_without_a_price_anywhere_is_unknown(shipped: Catalog) -> None:
    assert pricing.price_for(shipped, NO_PRICES, "openai", None, "gpt-9", NOW_MS) is None
    assert pricing.price_for(shipped, NO_PRICES, "openai", CostMap({"gpt-8": 1}, {"gpt-8": 1}), "gpt-9", NOW_MS) is None


def test_the_price_of_the_moment_counts(tmp_path: Path) -> None:
    rows = [{"classes": {"input": 1, "output": 1}}, {"from": "2026-08-21", "classes": {"input": 2, "output": 2}}]
    path = tmp_path / "prices.json"
    path.write_bytes(msgspec.json.encode({"providers": {"openai": {"m": {"prices": rows}}}}))
    catalog = load_catalog(path)
    before, after = (
        pricing.price_for(catalog, NO_PRICES, "openai", None, "m", 1_787_270_399_999),
        pricing.price_for(catalog, NO_PRICES, "openai", None, "m", 1_787_270_400_000),
    )
    assert before is not None
    assert after is not None

    assert (before.rates().input, after.rates().input) == (USD, 2 * USD)


# Embeddings.


def test_embeddings_have_a_price_of_their_own_in_the_cost_map(shipped: Catalog) -> None:
    cost_map = CostMap({}, {}, {"text-embedding-3-small": 30_000_000, "bge-at-home": 5_000_000})
    known = pricing.price_for(shipped, NO_PRICES, "openai", cost_map, "text-embedding-3-small", NOW_MS)
    own = pricing.price_for(shipped, NO_PRICES, "vllm", cost_map, "bge-at-home", NOW_MS)
    assert known is not None
    assert own is not None

    assert pricing.cost(TokenUsage(input=1_000), known, "") == 30_000
    assert pricing.cost(TokenUsage(input=1_000), own, "") == 5_000
    assert known.version == own.version == COST_MAP_VERSION


def test_a_model_that_is_priced_for_embeddings_does_not_chat_for_nothing(shipped: Catalog) -> None:
    price = pricing.price_for(shipped, NO_PRICES, "vllm", CostMap({}, {}, {"m": USD}), "m", NOW_MS)
    assert price is not None

    assert pricing.cost(TokenUsage(output=1_000), price, "") == 1_000_000


def test_a_chat_price_of_the_cost_map_goes_before_one_for_embeddings(shipped: Catalog) -> None:
    cost_map = CostMap({"m": USD}, {"m": 2 * USD}, {"m": 3 * USD})
    price = pricing.price_for(shipped, NO_PRICES, "vllm", cost_map, "m", NOW_MS)
    assert price is not None

    assert (price.rates().input, price.rates().output) == (USD, 2 * USD)


# Overrides.


def overrides_of(provider: str, model: str, entry: str, since_ms: int = 0) -> Catalog:
    builder = OverridesBuilder(Overrides(), is_full=True)
    assert builder.put(PriceRecord(provider, model, since_ms, entry.encode())) == ""
    return builder.build().catalog


OURS = '{"prices": [{"classes": {"input": "1", "output": "2"}}]}'


def test_an_override_goes_before_the_catalogue_and_keeps_what_the_model_can_do(shipped: Catalog) -> None:
    overrides = overrides_of("openai", "gpt-5.4", OURS)
    price = pricing.price_for(shipped, overrides, "openai", None, "gpt-5.4", NOW_MS)
    listed = shipped.price("openai", "gpt-5.4", NOW_MS)
    assert price is not None
    assert listed is not None

    assert price.rates("priority").output == 2 * USD
    assert (price.max_input, price.max_output, price.is_reasoning) == (listed.max_input, listed.max_output, True)
    assert price.version.startswith("override-")
    assert pricing.price_for(shipped, overrides, "azure", None, "gpt-5.4", NOW_MS) is shipped.price(
        "azure", "gpt-5.4", NOW_MS
    )


def test_an_override_may_say_what_the_model_can_do(shipped: Catalog) -> None:
    entry = '{"prices": [{"classes": {"input": "1", "output": "2"}}], "max_output": 7}'
    price = pricing.price_for(shipped, overrides_of("openai", "gpt-4o", entry), "openai", None, "gpt-4o", NOW_MS)
    assert price is not None

    assert (price.max_input, price.max_output) == (128_000, 7)


def test_an_override_prices_what_nobody_publishes(shipped: Catalog) -> None:
    overrides = overrides_of("vllm", "meta/llama", OURS)
    price = pricing.price_for(shipped, overrides, "vllm", None, "meta/llama", NOW_MS)
    assert price is not None

    assert price.rates().output == 2 * USD
    assert pricing.price_for(shipped, NO_PRICES, "vllm", None, "meta/llama", NOW_MS) is None


def test_an_override_of_a_fine_tuned_base_prices_its_models(shipped: Catalog) -> None:
    overrides = overrides_of("openai", "ft:gpt-4o-2024-08-06", OURS)
    price = pricing.price_for(shipped, overrides, "openai", None, "ft:gpt-4o-2024-08-06:acme::x", NOW_MS)
    assert price is not None

    assert price.rates().output == 2 * USD


def test_a_cost_map_goes_before_an_override(shipped: Catalog) -> None:
    overrides = overrides_of("openai", "gpt-4o", OURS)
    price = pricing.price_for(shipped, overrides, "openai", CostMap({"gpt-4o": 7}, {"gpt-4o": 9}), "gpt-4o", NOW_MS)
    assert price is not None

    assert (price.rates().input, price.version) == (7, COST_MAP_VERSION)


def test_before_its_moment_an_override_leaves_the_catalogue_its_word(shipped: Catalog) -> None:
    overrides = overrides_of("openai", "gpt-4o", OURS, since_ms=NOW_MS + 1)

    assert pricing.price_for(shipped, overrides, "openai", None, "gpt-4o", NOW_MS) is shipped.price(
        "openai", "gpt-4o", NOW_MS
    )
    later = pricing.price_for(shipped, overrides, "openai", None, "gpt-4o", NOW_MS + 1)
    assert later is not None
    assert later.rates().output == 2 * USD


def test_a_model_billed_by_the_piece_alone_has_no_price_where_tokens_are_counted(shipped: Catalog) -> None:
    """Its tokens would cost 0, and a budget would never end."""
    assert shipped.price("openai", "tts-1", NOW_MS) is not None
    assert pricing.price_for(shipped, NO_PRICES, "openai", None, "tts-1", NOW_MS) is None
    only_units = overrides_of("openai", "gpt-4o", '{"prices": [{"units": {"page": "1"}}]}')
    assert pricing.price_for(shipped, only_units, "openai", None, "gpt-4o", NOW_MS) is None
