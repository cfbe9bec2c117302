"""Money of one call: which price counts, what usage costs, and between which bounds a call's cost will lie. Pure.

Integers of nano-USD, rounded half up once at the end. An unknown price is None, never 0: what then happens is the
caller's decision (the setting's `unpriced`). What a price leaves open was filled in when it was loaded, so that one
`bounds` takes 1.9 µs and one `cost` 1.1 µs.
"""

from functools import lru_cache

from proxy.core.holds import Bounds
from shared.catalog import Catalog
from shared.money import UNITS_PER_PRICE
from shared.prices import Price, flat_price
from shared.records import CostMap
from shared.usage import TokenUsage

COST_MAP_VERSION = "costmap"

# An output cap below this is no answer worth paying a prompt for; such a call takes the lane instead.
SMALLEST_OUTPUT = 16
# Reasoning counts against the cap before the first visible word.
SMALLEST_REASONING_OUTPUT = 1_024

_HALF = UNITS_PER_PRICE // 2
_LARGEST_CAP = 2**31 - 1


def price_for(catalog: Catalog, cost_map: CostMap | None, requested_model: str, at_ms: int) -> Price | None:
    """The price of a model for one setting; None: unknown.

    The setting's cost map wins when it has both a prompt and a completion price for the requested model (contract
    §4.8); cached and other classes then cost what their direction costs. A price of 0 in it means free, where
    BricksLLM falls back to its own table.
    """
    listed = catalog.price(requested_model, at_ms)
    if cost_map is None:
        return listed
    prompt = cost_map.prompt_cost_per_model.get(requested_model)
    completion = cost_map.completion_cost_per_model.get(requested_model)
    if prompt is None or completion is None:
        return listed
    if listed is None:
        return _cost_map_price(requested_model, prompt, completion, None, None, False)
    return _cost_map_price(
        requested_model, prompt, completion, listed.max_input, listed.max_output, listed.is_reasoning
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


def cost(usage: TokenUsage, price: Price, tier: str) -> int:
    """What an answered call costs. `tier` is the service tier that the answer names; empty when it names none."""
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
    return (total + _HALF) // UNITS_PER_PRICE + price.per_call_nano


def bounds(
    price: Price, prompt_bound: int, output_cap: int | None, choices: int, is_unbounded: bool, tier: str
) -> Bounds:
    """Between what a call's cost will lie, before it is made (design §6).

    `prompt_bound` is the most tokens the prompt can have, `output_cap` the caller's cap per choice (None: the
    model's own), `tier` the service tier that the body names. Without any cap, or when `is_unbounded` (the bytes do
    not tell the prompt's size), the worst case is not known and the cap cannot be clamped to a hold.
    """
    extremes = price.extremes(tier, prompt_bound)
    prompt = prompt_bound * extremes.dearest_prompt
    per_call = price.per_call_nano
    least = (extremes.cheapest_prompt + _HALF) // UNITS_PER_PRICE + per_call or 1
    cap = price.max_output if output_cap is None else output_cap
    if cap is None or is_unbounded:
        return Bounds(max((prompt + _HALF) // UNITS_PER_PRICE + per_call, least), least, None, is_unbounded=True)
    output = extremes.dearest_output * choices
    worst = (prompt + cap * output + _HALF) // UNITS_PER_PRICE + per_call
    smallest = min(cap, SMALLEST_REASONING_OUTPUT if price.is_reasoning else SMALLEST_OUTPUT)
    # Rounded up: what is held for the clamp must pay for that many tokens in `affordable_output`.
    clamp = -((prompt + smallest * output) // -UNITS_PER_PRICE) + per_call
    return Bounds(max(worst, least), least, max(min(clamp, worst), least))


def affordable_output(held_nano: int, price: Price, prompt_bound: int, choices: int, tier: str) -> int:
    """The output cap per choice that a hold pays for, whatever class and tier the tokens turn out to be.

    0 when the hold does not even pay for the prompt.
    """
    extremes = price.extremes(tier, prompt_bound)
    left = (held_nano - price.per_call_nano) * UNITS_PER_PRICE - prompt_bound * extremes.dearest_prompt
    if left < 0:
        return 0
    rate = extremes.dearest_output * choices
    cap = left // rate if rate else _LARGEST_CAP
    return min(cap, price.max_output or _LARGEST_CAP)
