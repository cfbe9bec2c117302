"""The price list: a model's name and a moment give its price, or nothing, never a guess.

`model_catalog.json` beside this file is made by `deploy/catalog`. An operator's own file of the same form
(WEIR_MODEL_CATALOG) is laid over it: a model in it replaces the shipped one whole. Prices are USD per million tokens,
as strings or plain numbers with at most nine decimals: {"version": "ours-1", "models": {"my-model": {"prices":
[{"classes": {"input": "2.50", "output": "10"}}]}}}. Finds prices; computes no cost.
"""

import hashlib
from collections.abc import Mapping
from datetime import UTC, date, datetime
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import Literal

import msgspec

from shared.money import usd_to_nano
from shared.prices import Price, PriceTables, Table, compile_bands

__all__ = ["SHIPPED", "Catalog", "CatalogError", "Price", "load_catalog"]

SHIPPED = Path(__file__).with_name("model_catalog.json")
_LARGEST_USD = 1_000_000
_FINE_TUNED = "ft:"

TokenClass = Literal[
    "input", "cached_input", "cache_write_5m", "cache_write_1h", "audio_input", "output", "reasoning", "audio_output"
]
Amounts = dict[TokenClass, Decimal]
"""Class -> USD per million tokens."""


class CatalogError(Exception):
    """A catalogue cannot be used. The message names the file, the model and the field."""


class LongPrompts(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Prices of a call whose prompt has more than `input_tokens` tokens."""

    input_tokens: int
    classes: Amounts
    tiers: dict[str, Amounts] = {}


class PriceRow(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, rename={"start": "from"}):
    """Prices from a day on (00:00 UTC), until the next row's."""

    classes: Amounts
    start: date | None = None
    """Only the first row may leave it out: it then holds for all time before the second."""
    tiers: dict[str, Amounts] = {}
    """Service tier -> what differs from `classes`."""
    above: tuple[LongPrompts, ...] = ()
    call: Decimal | None = None
    """USD added to every answered call."""


class ModelEntry(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One model of the file."""

    prices: tuple[PriceRow, ...]
    max_input: int | None = None
    max_output: int | None = None
    is_reasoning: bool = False
    aliases: tuple[str, ...] = ()


class CatalogFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The file. Models are decoded one by one, so that an error can name its model."""

    models: dict[str, msgspec.Raw]
    version: str = ""
    """On every event; empty: derived from the file's bytes."""
    source: dict[str, str] = {}
    """Where the prices come from; for people."""


class Catalog:
    """Prices of every known model. Immutable."""

    def __init__(self, prices: Mapping[str, tuple[tuple[int, Price], ...]], version: str) -> None:
        self._prices = dict(prices)
        self.version = version

    def price(self, model: str, at_ms: int) -> Price | None:
        """The price of `model` at a moment (Unix milliseconds), or None: unknown.

        By exact name or alias; a fine-tuned model (`ft:<base>:<organisation>:...`) by the entry `ft:<base>`, never
        by the base's own. No other name is ever guessed.
        """
        rows = self._prices.get(model)
        if rows is None:
            if not model.startswith(_FINE_TUNED):
                return None
            rows = self._prices.get(_FINE_TUNED + model.split(":", 2)[1])
            if rows is None:
                return None
        for starts_ms, price in rows:
            if at_ms >= starts_ms:
                return price
        return None

    def models(self) -> frozenset[str]:
        """Every name that has a price, aliases included."""
        return frozenset(self._prices)


def load_catalog(path: Path | None = None, override_path: Path | None = None) -> Catalog:
    """The shipped catalogue (or the one at `path`) with the override's models laid over it. Raises CatalogError."""
    version, prices = _load(path or SHIPPED)
    if override_path is not None:
        over_version, over = _load(override_path)
        prices, version = {**prices, **over}, f"{version}+{over_version}"
    return Catalog(prices, version)


def _load(path: Path) -> tuple[str, dict[str, tuple[tuple[int, Price], ...]]]:
    version, entries = read_entries(path)
    prices: dict[str, tuple[tuple[int, Price], ...]] = {}
    for model, entry in entries.items():
        try:
            rows = _rows(model, version, entry)
        except ValueError as error:
            raise CatalogError(f"{path}: model {model!r}: {error}") from None
        for name in (model, *entry.aliases):
            if not name or name in prices or (name != model and name in entries):
                raise CatalogError(f"{path}: model {model!r}: aliases: {name!r} is empty or already taken")
            prices[name] = rows
    return version, prices


def read_entries(path: Path) -> tuple[str, dict[str, ModelEntry]]:
    """The version and the models of a file, their form checked but not their amounts. Raises CatalogError."""
    try:
        content = path.read_bytes()
        file = msgspec.json.decode(content, type=CatalogFile)
    except OSError as error:
        raise CatalogError(f"{path}: cannot be read: {error.strerror}") from None
    except (msgspec.DecodeError, ValueError) as error:
        raise CatalogError(f"{path}: {error}") from None
    version = file.version or f"sha256-{hashlib.sha256(content).hexdigest()[:8]}"
    entries: dict[str, ModelEntry] = {}
    for model, raw in file.models.items():
        try:
            entries[model] = msgspec.json.decode(raw, type=ModelEntry)
        except msgspec.DecodeError as error:
            raise CatalogError(f"{path}: model {model!r}: {error}") from None
    return version, entries


def _rows(model: str, version: str, entry: ModelEntry) -> tuple[tuple[int, Price], ...]:
    """A model's prices, the newest first, each with the moment it starts. Raises ValueError naming the field."""
    for field, limit in (("max_input", entry.max_input), ("max_output", entry.max_output)):
        if limit is not None and limit < 1:
            raise ValueError(f"{field}: must be at least 1")
    if not entry.prices:
        raise ValueError("prices: must hold at least one row")
    if any(row.start is None for row in entry.prices[1:]):
        raise ValueError("prices: every row but the first needs a `from`")
    starts = [row.start or date.min for row in entry.prices]
    if any(later <= earlier for earlier, later in pairwise(starts)):
        raise ValueError("prices: rows must be in the order of their `from`, each on its own day")
    rows: list[tuple[int, Price]] = []
    for number, row in enumerate(entry.prices):
        where = f"prices[{number}]"
        price = Price(
            model=model,
            version=version,
            bands=compile_bands(_tables(where, row)),
            max_input=entry.max_input,
            max_output=entry.max_output,
            is_reasoning=entry.is_reasoning,
            per_call_nano=_nano(f"{where}.call", row.call or Decimal(0)),
        )
        rows.append((_start_ms(row.start), price))
    return tuple(reversed(rows))


def _start_ms(start: date | None) -> int:
    if start is None:
        return 0
    return int(datetime(start.year, start.month, start.day, tzinfo=UTC).timestamp()) * 1000


def _tables(where: str, row: PriceRow) -> list[PriceTables]:
    above = [long.input_tokens for long in row.above]
    if any(tokens < 1 for tokens in above) or len(set(above)) < len(above):
        raise ValueError(f"{where}.above: input_tokens must be at least 1 and different in each")
    tables = [PriceTables(-1, _table(where, row.classes, is_whole=True), _tiers(where, row.tiers))]
    for number, long in enumerate(row.above):
        here = f"{where}.above[{number}]"
        tables.append(
            PriceTables(long.input_tokens, _table(here, long.classes, is_whole=True), _tiers(here, long.tiers))
        )
    return tables


def _tiers(where: str, tiers: dict[str, Amounts]) -> dict[str, Table]:
    if "default" in tiers:
        raise ValueError(f"{where}.tiers: the default tier is `classes`")
    return {tier: _table(f"{where}.tiers.{tier}", amounts, is_whole=False) for tier, amounts in tiers.items()}


def _table(where: str, amounts: Amounts, *, is_whole: bool) -> Table:
    if is_whole and not {"input", "output"} <= amounts.keys():
        raise ValueError(f"{where}.classes: needs both input and output")
    return {name: _nano(f"{where}.{name}", amount) for name, amount in amounts.items()}


def _nano(where: str, usd: Decimal) -> int:
    if not usd.is_finite() or not 0 <= usd <= _LARGEST_USD:
        raise ValueError(f"{where}: {usd} is not an amount from 0 to {_LARGEST_USD} USD")
    nano = usd_to_nano(usd)
    if Decimal(nano).scaleb(-9) != usd:
        raise ValueError(f"{where}: {usd} has more than nine decimals")
    return nano
