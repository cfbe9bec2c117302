"""Bedrock's three scopes of a model: in one region, in a geography (`us.`, `eu.` ...), anywhere (`global.`).

AWS sells `global.` about 10 % cheaper than the other two, which cost the same. litellm's file gives a bare id, which
is in-region inference, the global price: where a geography's is dearer, that one counts for the bare id too.
"""

from decimal import Decimal

from shared.price_entries import ModelEntry

_GEOGRAPHY = "us."


def with_regional_prices(models: dict[str, ModelEntry]) -> dict[str, ModelEntry]:
    """Every bare id that has a dearer sister in a geography gets its prices."""
    regional = dict(models)
    for name, entry in models.items():
        sister = models.get(_GEOGRAPHY + name)
        if sister is not None and _input(sister) > _input(entry):
            regional[name] = sister
    return regional


def _input(entry: ModelEntry) -> Decimal:
    return entry.prices[0].classes.get("input", Decimal(0))
