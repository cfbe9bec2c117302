"""Money of one call: which price counts, what usage costs, and between which bounds a call's cost will lie. Pure.

Integers of nano-USD, rounded half up once at the end. An unknown price is None, never 0: what then happens is the
caller's decision (the setting's `unpriced`). What a price leaves open was filled in when it was loaded, so that one
`bounds` takes 1.9 µs and one `cost` 1.1 µs.
"""

from functools import lru_cache

import msgspec

from proxy.core.holds import Bounds
from shared.catalog import Catalog
from shared.money import UNITS_PER_PRICE
from shared.prices import UNIT_PARTS, Price, flat_price
from shared.records import CostMap
from shared.usage import NO_UNITS, TokenUsage, UnitUsage

COST_MAP_VERSION = "costmap"

# An output cap below this is no answer worth paying a prompt for; such a call takes the lane instead.
SMALLEST_OUTPUT = 16
# Reasoning counts against the cap before the first visible word.
SMALLEST_REASONING_OUTPUT = 1_024

_HALF = UNITS_PER_PRICE // 2
_LARGEST_CAP = 2**31 - 1


def price_for(
    catalog: Catalog, overrides: Catalog, provider: str, cost_map: CostMap | None, requested_model: str, at_ms: int
) -> Price | None:
    """The price of a model's tokens for one setting; None: unknown.

    The setting's cost map wins when it prices the requested model (contract §4.8): with both a prompt and a completion
    price, or as embeddings; other classes then cost what their direction costs. A price of 0 in it means free, where
    BricksLLM falls back to its own table. Then the operator's override counts, then the catalogue. A model that is
    billed by the piece alone (speech, images) has no price here: no endpoint counts pieces yet.
    """
    listed = catalog.price(provider, requested_model, at_ms)
    if cost_map is not None:
        given = _cost_map_prices(cost_map, requested_model)
        if given is not None:
            if listed is None:
                return _cost_map_price(requested_model, *given, None, None, False)
            return _cost_map_price(requested_model, *given, listed.max_input, listed.max_output, listed.is_reasoning)
    override = overrides.price(provider, requested_model, at_ms)
    price = listed if override is None else _with_facts(override, listed)
    return price if price is None or price.is_by_token else None


def _cost_map_prices(cost_map: CostMap, model: str) -> tuple[int, int] | None:
    prompt = cost_map.prompt_cost_per_model.get(model)
    completion = cost_map.completion_cost_per_model.get(model)
    if prompt is not None and completion is not None:
        return prompt, completion
    # Embeddings complete nothing. Should the model chat after all, its words cost the same and not nothing.
    embeddings = cost_map.embeddings_cost_per_model.get(model)
    return None if embeddings is None else (embeddings, embeddings)


def _with_facts(override: Price, listed: Price | None) -> Price:
    """An override with what the catalogue knows of the model and the operator did not say; 0.6 µs, if anything."""
    if listed is None or (override.max_output is not None and override.max_input is not None):
        return override
    return msgspec.structs.replace(
        override,
        max_input=override.max_input or listed.max_input,
        max_output=override.max_output or listed.max_output,
        is_reasoning=override.is_reasoning or listed.is_reasoning,
    )


@lru_cache(maxsize=4096)
def _cost_map_price(
    model: str, prompt: int, completion: int, max_input: int | None, max_output: int | None, is_reasoning: bool
) -> Price:
    return flat_price(
        model,
        COST_MAP_VERSION,
        prompt,
        completion,
        max_input=max_input,
        max_output=max_output,
        is_reasoning=is_reasoning,
    )


def cost(usage: TokenUsage, price: Price, tier: str, units: UnitUsage = NO_UNITS) -> int:
    """What an answered call costs. `tier` is the service tier that the answer names; empty when it names none.

    Only what `price.covers`: a class or unit without a price adds nothing.
    """
    rates = price.rates(tier, usage.prompt_tokens)
    total = (
        usage.input * rates.input
        + usage.cached_input * rates.cached_input
        + usage.cache_write_5m * rates.cache_write_5m
        + usage.cache_write_1h * rates.cache_write_1h
        + usage.audio_input * rates.audio_input
        + usage.output * rates.output
        + usage.reasoning * rates.reasoning
        + usage.audio_output * rates.audio_output
    )
    if units is NO_UNITS:
        return (total + _HALF) // UNITS_PER_PRICE + price.per_call_nano
    total *= UNIT_PARTS // UNITS_PER_PRICE
    for name, rate in price.units:
        total += getattr(units, name) * rate
    return (total + UNIT_PARTS // 2) // UNIT_PARTS + price.per_call_nano


def bounds(
    price: Price,
    prompt_bound: int,
    output_cap: int | None,
    choices: int,
    is_unbounded: bool,
    tier: str,
    may_write_cache: bool = True,
    least_output_cap: int = 0,
) -> Bounds:
    """Between what a call's cost will lie, before it is made (design §6).

    `prompt_bound` is the most tokens the prompt can have, `output_cap` the caller's cap per choice (None: the
    model's own), `tier` the service tier that the body names, `may_write_cache` whether upstream can write some of the
    prompt to a cache (at Anthropic only where the body asks for it), `least_output_cap` what the cap may not be clamped
    below. Without any cap, or when `is_unbounded` (the
    bytes do not tell the prompt's size), the worst case is not known and the cap cannot be clamped to a hold.
    """
    extremes = price.extremes(tier, prompt_bound)
    prompt = prompt_bound * (extremes.dearest_prompt if may_write_cache else extremes.dearest_unwritten_prompt)
    per_call = price.per_call_nano
    least = (extremes.cheapest_prompt + _HALF) // UNITS_PER_PRICE + per_call or 1
    cap = price.max_output if output_cap is None else output_cap
    if cap is None or is_unbounded:
        return Bounds(max((prompt + _HALF) // UNITS_PER_PRICE + per_call, least), least, None, is_unbounded=True)
    output = extremes.dearest_output * choices
    worst = (prompt + cap * output + _HALF) // UNITS_PER_PRICE + per_call
    smallest = SMALLEST_REASONING_OUTPUT if price.is_reasoning else SMALLEST_OUTPUT
    smallest = min(cap, max(smallest, least_output_cap))
    # Rounded up: what is held for the clamp must pay for that many tokens in `affordable_output`.
    clamp = -((prompt + smallest * output) // -UNITS_PER_PRICE) + per_call
    return Bounds(max(worst, least), least, max(min(clamp, worst), least))


def affordable_output(
    held_nano: int, price: Price, prompt_bound: int, choices: int, tier: str, may_write_cache: bool = True
) -> int:
    """The output cap per choice that a hold pays for, whatever class and tier the tokens turn out to be.

    0 when the hold does not even pay for the prompt. The rest as for `bounds`.
    """
    extremes = price.extremes(tier, prompt_bound)
    dearest = extremes.dearest_prompt if may_write_cache else extremes.dearest_unwritten_prompt
    left = (held_nano - price.per_call_nano) * UNITS_PER_PRICE - prompt_bound * dearest
    if left < 0:
        return 0
    rate = extremes.dearest_output * choices
    cap = left // rate if rate else _LARGEST_CAP
    return min(cap, price.max_output or _LARGEST_CAP)
