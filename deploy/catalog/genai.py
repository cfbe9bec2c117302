"""Reads genai-prices (MIT), which is kept by other people from the same pages, as facts that ours can be held against.

It also knows since when prices hold, and which are announced. The package is a development dependency, imported when
it is asked for. Its prices by time of day are left out: only what holds for whole days is told here.
"""

import importlib
from collections.abc import Iterator
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

from shared.price_entries import TokenClass

THEIR_PROVIDERS = {
    "openai": "openai",
    "anthropic": "anthropic",
    "azure": "azure",
    "bedrock": "aws",
    "mistral": "mistral",
    "groq": "groq",
    "google": "google",
    "deepseek": "deepseek",
    "xai": "x-ai",
}
THEIR_KEYS: dict[TokenClass, str] = {
    "input": "input_mtok",
    "cached_input": "cache_read_mtok",
    "cache_write_5m": "cache_write_mtok",
    "cache_write_1h": "cache_write_1h_mtok",
    "audio_input": "input_audio_mtok",
    "output": "output_mtok",
    "audio_output": "output_audio_mtok",
}
# How they call what answers are told apart by -> our tier.
THEIR_TIERS = {
    ("service_tier", "flex"): "flex",
    ("service_tier", "priority"): "priority",
    ("processing", "batch"): "batch",
    ("speed", "fast"): "fast",
}

Fact = tuple[str, int, str]
"""(tier, prompts longer than, class)"""
Facts = dict[Fact, Decimal]
"""-> USD per million tokens."""


class GenaiPrices:
    """Their data."""

    def __init__(self) -> None:
        theirs: Any = importlib.import_module("genai_prices.data")
        self._providers: dict[str, Any] = {one.id: one for one in theirs.providers}
        version: str = importlib.import_module("importlib.metadata").version("genai-prices")
        self.label = f"genai-prices {version}"

    def models(self, provider: str) -> list[Any]:
        """All that they know of a provider."""
        theirs = self._providers.get(THEIR_PROVIDERS.get(provider, ""))
        return list(theirs.models) if theirs is not None else []

    @staticmethod
    def moment(day: date) -> datetime:
        """What they ask prices by."""
        return datetime(day.year, day.month, day.day, tzinfo=UTC)

    def find(self, provider: str, model: str) -> Any | None:
        """Their entry of a model, by their own rules of which names it has. None: not known."""
        theirs = self._providers.get(THEIR_PROVIDERS.get(provider, ""))
        if theirs is None:
            return None
        return next((one for one in theirs.models if one.is_match(model)), None)


def facts_on(model: Any, day: date) -> Facts:
    """All prices of a day. A tier that they do not list for a model would show its standard prices: it is left out."""
    facts: Facts = {}
    moment = GenaiPrices.moment(day)
    _add(facts, "default", model.get_prices(moment).__dict__)
    for variant in model.price_variants or ():
        if variant.constraint is not None and not variant.constraint.active(moment):
            continue
        tier = THEIR_TIERS.get(next(iter(variant.when.items()))) if len(variant.when) == 1 else None
        if tier is not None:
            _add(facts, tier, variant.prices.__dict__)
    return facts


def _add(facts: Facts, tier: str, prices: dict[str, Any]) -> None:
    for token_class, key in THEIR_KEYS.items():
        price = prices.get(key)
        if price is None:
            continue
        facts.setdefault((tier, 0, token_class), getattr(price, "base", price))
        for step in getattr(price, "tiers", ()):
            facts.setdefault((tier, step.start, token_class), step.price)


def days_of_change(model: Any) -> Iterator[date]:
    """The days on which their standard prices change, in order. None where they also change within a day."""
    if not isinstance(model.prices, list):
        return
    days: list[Any] = [
        getattr(row.constraint, "start_date", None) for row in model.prices if row.constraint is not None
    ]
    if None not in days:
        yield from sorted(set(days))
