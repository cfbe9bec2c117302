"""Compares a catalogue with genai-prices (MIT), which is kept by other people from the same pages.

genai-prices must be importable: `PYTHONPATH=genai_prices-0.2.3-py3-none-any.whl python -m deploy.catalog ...`.
"""

import importlib
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from deploy.catalog.litellm import TIERS
from shared.catalog import Amounts, ModelEntry

THEIR_KEYS = {
    "input": "input_mtok",
    "cached_input": "cache_read_mtok",
    "cache_write_5m": "cache_write_mtok",
    "audio_input": "input_audio_mtok",
    "output": "output_mtok",
    "audio_output": "output_audio_mtok",
}

Facts = dict[tuple[str, int, str], Decimal]
"""(tier, prompts longer than, class) -> USD per million tokens."""


def disagreements(models: dict[str, ModelEntry]) -> Iterator[str]:
    """One line per price that differs, is listed by one side only, or per model that they do not know."""
    catalogue: Any = importlib.import_module("genai_prices.data").providers
    openai = next(provider for provider in catalogue if provider.id == "openai")
    for name, entry in sorted(models.items()):
        theirs = next((model for model in openai.models if model.is_match(name)), None)
        if theirs is None:
            yield f"{name}: not in genai-prices"
            continue
        yield from _compare(name, _our_facts(entry), _their_facts(theirs), theirs.id)


def _compare(name: str, ours: Facts, theirs: Facts, their_id: str) -> Iterator[str]:
    for key in sorted(ours.keys() | theirs.keys()):
        mine, other = ours.get(key), theirs.get(key)
        if mine != other:
            tier, above, token_class = key
            where = f"{tier} {token_class}" + (f" above {above}" if above else "")
            yield f"{name}: {where}: ours {mine if mine is not None else '-'}, {their_id} {other or '-'}"


def _our_facts(entry: ModelEntry) -> Facts:
    row = entry.prices[-1]
    facts: Facts = {}

    def add(tier: str, above: int, amounts: Amounts) -> None:
        facts.update({(tier, above, name): amount for name, amount in amounts.items()})

    for above, classes, tiers in [(0, row.classes, row.tiers)] + [
        (b.input_tokens, b.classes, b.tiers) for b in row.above
    ]:
        add("default", above, classes)
        for tier, amounts in tiers.items():
            add(tier, above, amounts)
    return facts


def _their_facts(model: Any) -> Facts:
    """A tier that they do not list for a model would show its standard prices: such tiers are left out."""
    facts: Facts = {}
    now = datetime.now(tz=UTC)
    listed = {variant.when.get("service_tier") for variant in model.price_variants or ()}
    for tier in ["default", *(tier for tier in TIERS if tier in listed)]:
        prices = model.get_prices(now, {"service_tier": tier}).__dict__
        for token_class, key in THEIR_KEYS.items():
            price = prices.get(key)
            if price is None:
                continue
            base = getattr(price, "base", price)
            facts[tier, 0, token_class] = base
            for step in getattr(price, "tiers", ()):
                facts[tier, step.start, token_class] = step.price
    return facts
