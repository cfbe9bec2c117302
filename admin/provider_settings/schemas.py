"""Provider settings on the wire (contract §2.3). Prices are USD per 1000 tokens there, integers inside."""

from decimal import Decimal

import msgspec
from msgspec import UNSET, UnsetType


class Prices(msgspec.Struct, rename="camel", omit_defaults=True):
    """`costMap`: model -> USD per 1000 tokens; it wins over the catalogue."""

    prompt_cost_per_model: dict[str, Decimal] = {}
    completion_cost_per_model: dict[str, Decimal] = {}
    embeddings_cost_per_model: dict[str, Decimal] = {}


class SettingCreate(msgspec.Struct, rename="camel", kw_only=True):
    """The body of PUT or POST /api/provider-settings."""

    provider: str = ""
    setting: dict[str, str] = {}
    name: str = ""
    allowed_models: list[str] = []
    cost_map: Prices | None = None
    unpriced: str = ""
    """Weir's own: `refuse` or `free`, for a model without a known price. Empty: refused for keys with a cost limit."""


class SettingUpdate(msgspec.Struct, rename="camel", kw_only=True):
    """The body of PATCH /api/provider-settings/:id. UNSET marks what it does not say."""

    provider: str = ""
    """Cannot be changed; only the present one is accepted."""
    setting: dict[str, str] = {}
    """Merged into what is stored; an empty value takes an optional parameter away."""
    name: str | UnsetType = UNSET
    allowed_models: list[str] | UnsetType = UNSET
    """Empty: every model again."""
    cost_map: Prices | UnsetType | None = UNSET
    """Replaces the whole map; null: none."""
    unpriced: str | UnsetType = UNSET


class PricesAnswer(msgspec.Struct, rename="camel"):
    """`costMap` in answers: the numbers that were given, exactly."""

    prompt_cost_per_model: dict[str, Decimal]
    completion_cost_per_model: dict[str, Decimal]
    embeddings_cost_per_model: dict[str, Decimal]


class SettingAnswer(msgspec.Struct, rename="camel", kw_only=True):
    """A setting in answers. Secret parameters are never among them."""

    created_at: int
    """Unix seconds, like `updated_at`."""
    updated_at: int
    provider: str
    setting: dict[str, str] | UnsetType = UNSET
    """The parameters that are not secret; absent when there are none."""
    id: str
    name: str
    allowed_models: list[str]
    cost_map: PricesAnswer | None
    unpriced: str
