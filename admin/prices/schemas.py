"""Prices on the wire. What a `price` holds has the catalogue's own form and names, so that it can be copied over."""

from typing import Any

import msgspec

from shared.price_entries import ModelEntry, PriceRow


class PricePut(msgspec.Struct, rename="camel", kw_only=True):
    """The body of PUT /api/prices."""

    provider: str = ""
    model: str = ""
    effective_from: int = 0
    """Unix seconds; before that moment the catalogue speaks. 0: always."""
    price: dict[str, Any] = {}
    """A ModelEntry."""


class OverrideAnswer(msgspec.Struct, rename="camel", kw_only=True):
    """An override as it was given."""

    effective_from: int
    version: str
    created_at: int
    """Unix seconds, like `updated_at`."""
    updated_at: int
    price: ModelEntry


class PriceAnswer(msgspec.Struct, rename="camel", kw_only=True):
    """What one model costs now, and why."""

    provider: str
    model: str
    source: str
    """`catalogue`, `override`, or `none`: the override does not hold yet, and the catalogue does not know the model."""
    version: str
    """As events carry it."""
    price: PriceRow | None
    """The row that holds now."""
    max_input: int | None
    max_output: int | None
    is_reasoning: bool
    override: OverrideAnswer | None
