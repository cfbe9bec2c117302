"""Tiers that a provider publishes as a factor on its standard prices.

Anthropic (platform.claude.com, pricing): inference in the US alone costs 1.1 times every class of tokens, fast mode
(`speed: fast`) 2 times, batches half; the factors multiply. Its priority tier is capacity bought in advance: calls in
it are listed at the standard price.
"""

from decimal import Decimal
from typing import Any

from shared.price_entries import Amounts

_PROVIDERS = frozenset({"anthropic"})
_HALF = Decimal("0.5")


def multiplied_tiers(
    provider: str, facts: dict[str, Any], standard: Amounts, listed: dict[str, Amounts]
) -> dict[str, Amounts]:
    """`listed` and what follows from the factors in `facts`."""
    if provider not in _PROVIDERS:
        return listed
    factors: dict[str, Any] = facts.get("provider_specific_entry") or {}
    tiers = dict(listed)
    if "batch" in listed:
        tiers["batch"] = {**_times(standard, _HALF), **listed["batch"]}
    if us := factors.get("us"):
        tiers["us"] = _times(standard, us)
        if "batch" in tiers:
            tiers["us-batch"] = _times(tiers["batch"], us)
    if fast := factors.get("fast"):
        tiers["fast"] = _times(standard, fast)
        if us:
            tiers["us-fast"] = _times(tiers["fast"], us)
    if tiers:
        tiers["priority"] = dict(standard)
    return tiers


def _times(amounts: Amounts, factor: Decimal | int) -> Amounts:
    return {name: Decimal(f"{(usd * Decimal(factor)).normalize():f}") for name, usd in amounts.items()}
