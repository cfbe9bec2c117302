"""What an attempt is charged: upstream's own usage where there is one, else a bound that is flagged as such.

Pure. An unknown price gives an unknown cost, never 0; no usage costs nothing whatever the price.
"""

from typing import NamedTuple

from proxy.core import pricing
from shared.catalog import Price
from shared.usage import NO_UNITS, NO_USAGE, TokenUsage, UnitUsage

REASONING_TOKENS_PER_SECOND = 200
"""About as fast as reasoning models are served. Only for streams that were left before their usage came."""


class Charge(NamedTuple):
    """The money side of an event."""

    usage: TokenUsage
    is_estimated: bool
    list_nano: int | None
    charged_nano: int | None


NOTHING = Charge(NO_USAGE, False, 0, 0)


def hidden_reasoning(seconds: float, output_cap: int | None) -> int:
    """Tokens that a reasoning model may have made unseen in so long: else hanging up in time would be nearly free."""
    tokens = int(max(seconds, 0.0) * REASONING_TOKENS_PER_SECOND)
    return tokens if output_cap is None else min(tokens, output_cap)


def seen_usage(prompt_bound: int, output_tokens: int, reasoning: int = 0) -> TokenUsage:
    """What is billed when upstream said nothing: the prompt's bound, never less than the prompt, and what was seen."""
    return TokenUsage(input=prompt_bound, output=output_tokens, reasoning=reasoning)


def charge(
    price: Price | None,
    is_free_unpriced: bool,
    reported: TokenUsage | None,
    seen: TokenUsage,
    tiers: tuple[str, ...],
    units: UnitUsage = NO_UNITS,
) -> Charge:
    """The charge for an attempt. `reported` is upstream's figure, `seen` the estimate in its place.

    Of several `tiers` that upstream may have served, the dearest is charged. What has no price, be it one unit among
    priced tokens, makes the list cost unknown; what has one is charged all the same, or it would pass every budget.
    """
    usage = seen if reported is None else reported
    is_estimated = reported is None and usage != NO_USAGE
    if usage == NO_USAGE and units == NO_UNITS:
        return Charge(usage, False, 0, 0)
    is_covered = price is not None and price.covers(usage, units)
    if price is None or not (is_covered or price.is_by_token):
        return Charge(usage, is_estimated, None, 0 if is_free_unpriced else None)
    nano = max([pricing.cost(usage, price, tier, units) for tier in tiers])
    return Charge(usage, is_estimated, nano if is_covered else None, nano)
