"""The form that prices are written in: a model's entry of a catalogue, of an operator's file or of an override.

Checks an entry and compiles it into what the request path looks up; its errors name the field. Token prices are USD
per million tokens, unit prices USD per unit, as strings or plain numbers: {"prices": [{"classes": {"input": "2.50",
"output": "10"}, "units": {"search": "0.01"}}]}. What is held and not counted yet (HELD_CLASSES, `sizes`) makes a cost
unknown, never less. Knows nothing of files, providers or requests.
"""

from collections.abc import Iterator
from datetime import UTC, date, datetime
from decimal import Decimal
from itertools import pairwise
from typing import Literal, NamedTuple, get_args

import msgspec

from shared.money import usd_to_nano
from shared.prices import DEFAULT_TIER, UNIT_PARTS, Price, PriceTables, Table, compile_bands

_LARGEST_USD = 1_000_000
_LARGEST_UNIT_USD = 10_000
_MOST_DIGITS = 15
"""Of a price by the unit; times UNIT_PARTS it still fits the 28 digits that decimals are exact to."""

MOST_ROWS, MOST_LONG, MOST_TIERS, MOST_SIZES = 24, 4, 16, 64
"""Several times what any provider lists. Every row, length of prompts and tier is multiplied by the others when an
entry is compiled, which the proxy does in its loop: without an end, 9 kB of JSON would hold it for seconds."""

HeldClass = Literal["cached_audio_input", "image_input", "cached_image_input", "image_output"]
HELD_CLASSES: tuple[HeldClass, ...] = get_args(HeldClass)
"""Classes that providers price and that usage does not tell apart yet: held and shown, not counted. A model with one of
them has no price by the token: its tokens have several, and nothing says how many of them have which."""

TokenClass = (
    Literal[
        "input",
        "cached_input",
        "cache_write_5m",
        "cache_write_1h",
        "audio_input",
        "output",
        "reasoning",
        "audio_output",
    ]
    | HeldClass
)
Unit = Literal[
    "input_image",
    "output_image",
    "input_audio_hour",
    "output_audio_hour",
    "input_video_hour",
    "input_character",
    "output_character",
    "page",
    "search",
]
Amounts = dict[TokenClass, Decimal]
"""Class -> USD per million tokens."""
UnitAmounts = dict[Unit, Decimal]
"""Unit -> USD for one."""
SizedAmounts = dict[Unit, dict[str, Decimal]]
"""Unit -> `<size>` or `<quality>/<size>`, as the provider calls them -> USD for one."""


class UnitCount(NamedTuple):
    """How usage counts a unit."""

    name: str
    """Field of `UnitUsage`."""
    counts: int
    """So many of them make one unit."""


_MS_PER_HOUR = 3_600_000

UNITS: dict[Unit, UnitCount] = {
    "input_image": UnitCount("input_images", 1),
    "output_image": UnitCount("output_images", 1),
    "input_audio_hour": UnitCount("input_audio_ms", _MS_PER_HOUR),
    "output_audio_hour": UnitCount("output_audio_ms", _MS_PER_HOUR),
    "input_video_hour": UnitCount("input_video_ms", _MS_PER_HOUR),
    "input_character": UnitCount("input_characters", 1),
    "output_character": UnitCount("output_characters", 1),
    "page": UnitCount("pages", 1),
    "search": UnitCount("searches", 1),
}


class LongPrompts(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Prices of a call whose prompt has more than `input_tokens` tokens."""

    input_tokens: int
    classes: Amounts
    tiers: dict[str, Amounts] = {}


class PriceRow(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, rename={"start": "from"}):
    """Prices from a day on (00:00 UTC), until the next row's."""

    classes: Amounts = {}
    """Empty only where the model is billed by units alone: its tokens then have no price. Nor have they where one of
    HELD_CLASSES is here, in a tier or in a length."""
    start: date | None = None
    """Only the first row may leave it out: it then holds for all time before the second."""
    tiers: dict[str, Amounts] = {}
    """Service tier -> what differs from `classes`."""
    above: tuple[LongPrompts, ...] = ()
    units: UnitAmounts = {}
    call: Decimal | None = None
    """USD added to every answered call."""
    sizes: SizedAmounts = {}
    """Units whose price depends on size and quality: held and shown, not counted, so that what they cost is unknown."""


class ModelEntry(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One model."""

    prices: tuple[PriceRow, ...]
    max_input: int | None = None
    max_output: int | None = None
    is_reasoning: bool = False
    aliases: tuple[str, ...] = ()


Rows = tuple[tuple[int, Price], ...]
"""A model's prices, the newest first, each with the moment it starts (Unix milliseconds)."""

entry_decoder = msgspec.json.Decoder(ModelEntry)


def row_on(rows: tuple[PriceRow, ...], day: date) -> PriceRow | None:
    """The row that holds on a day (UTC); None before the first. What `compile_entry` makes of them agrees."""
    return next((row for row in reversed(rows) if (row.start or date.min) <= day), None)


def held_classes(row: PriceRow) -> Iterator[str]:
    """Where a row has one of HELD_CLASSES, by the field."""
    tables = [("classes", row.classes), *((f"tiers.{tier}", amounts) for tier, amounts in row.tiers.items())]
    for number, long in enumerate(row.above):
        here = f"above[{number}]"
        tables.append((f"{here}.classes", long.classes))
        tables += [(f"{here}.tiers.{tier}", amounts) for tier, amounts in long.tiers.items()]
    yield from (f"{field}.{name}" for field, amounts in tables for name in HELD_CLASSES if name in amounts)


def held_fields(entry: ModelEntry) -> Iterator[str]:
    """All of an entry that is held and not counted."""
    for number, row in enumerate(entry.prices):
        yield from (f"prices[{number}].{field}" for field in held_classes(row))
        yield from (f"prices[{number}].sizes.{unit}" for unit in row.sizes)


def compile_entry(model: str, version: str, entry: ModelEntry) -> Rows:
    """What the request path looks up. Raises ValueError naming the field."""
    for field, limit in (("max_input", entry.max_input), ("max_output", entry.max_output)):
        if limit is not None and limit < 1:
            raise ValueError(f"{field}: must be at least 1")
    if not entry.prices:
        raise ValueError("prices: must hold at least one row")
    if len(entry.prices) > MOST_ROWS:
        raise ValueError(f"prices: must hold at most {MOST_ROWS} rows")
    if any(row.start is None for row in entry.prices[1:]):
        raise ValueError("prices: every row but the first needs a `from`")
    starts = [row.start or date.min for row in entry.prices]
    if any(later <= earlier for earlier, later in pairwise(starts)):
        raise ValueError("prices: rows must be in the order of their `from`, each on its own day")
    rows: list[tuple[int, Price]] = []
    for number, row in enumerate(entry.prices):
        where = f"prices[{number}]"
        tables, units = _tables(where, row), tuple(_unit_price(where, unit, usd) for unit, usd in row.units.items())
        _check_sizes(where, row)
        is_held = any(held_classes(row))
        price = Price(
            model=model,
            version=version,
            bands=compile_bands(_NO_TABLES if is_held else tables),
            max_input=entry.max_input,
            max_output=entry.max_output,
            is_reasoning=entry.is_reasoning,
            per_call_nano=_nano(f"{where}.call", row.call or Decimal(0)),
            units=() if is_held else units,  # part of a cost is not the cost
            is_by_token=bool(row.classes) and not is_held,
        )
        rows.append((_start_ms(row.start), price))
    return tuple(reversed(rows))


def _start_ms(start: date | None) -> int:
    if start is None:
        return 0
    return int(datetime(start.year, start.month, start.day, tzinfo=UTC).timestamp()) * 1000


_NO_TABLES = [PriceTables(-1, {"input": 0, "output": 0}, {})]
"""Of a model whose tokens have no price."""


def _tables(where: str, row: PriceRow) -> list[PriceTables]:
    if not row.classes:
        if row.tiers or row.above or row.call is not None:
            raise ValueError(f"{where}.classes: needs both input and output, before tiers, above or call")
        if not row.units and not row.sizes:
            raise ValueError(f"{where}: needs classes, units or sizes")
        return _NO_TABLES
    if len(row.above) > MOST_LONG:
        raise ValueError(f"{where}.above: must hold at most {MOST_LONG} lengths")
    above = [long.input_tokens for long in row.above]
    if any(tokens < 1 for tokens in above) or len(set(above)) < len(above):
        raise ValueError(f"{where}.above: input_tokens must be at least 1 and different in each")
    tables = [PriceTables(-1, _table(f"{where}.classes", row.classes, is_whole=True), _tiers(where, row.tiers))]
    for number, long in enumerate(row.above):
        here = f"{where}.above[{number}]"
        classes = _table(f"{here}.classes", long.classes, is_whole=True)
        tables.append(PriceTables(long.input_tokens, classes, _tiers(here, long.tiers)))
    return tables


def _tiers(where: str, tiers: dict[str, Amounts]) -> dict[str, Table]:
    if DEFAULT_TIER in tiers or "" in tiers:
        raise ValueError(f"{where}.tiers: the default tier is `classes`")
    if len(tiers) > MOST_TIERS:
        raise ValueError(f"{where}.tiers: must hold at most {MOST_TIERS}")
    return {tier: _table(f"{where}.tiers.{tier}", amounts, is_whole=False) for tier, amounts in tiers.items()}


def _table(where: str, amounts: Amounts, *, is_whole: bool) -> Table:
    if is_whole and ("input" not in amounts or not {"output", "image_output"} & amounts.keys()):
        raise ValueError(f"{where}: needs both input and output")
    return {name: _nano(f"{where}.{name}", amount) for name, amount in amounts.items()}


def _check_sizes(where: str, row: PriceRow) -> None:
    """Raises ValueError naming the field."""
    for unit, sizes in row.sizes.items():
        here = f"{where}.sizes.{unit}"
        if unit in row.units:
            raise ValueError(f"{here}: has one price for all in units already")
        if not 0 < len(sizes) <= MOST_SIZES or "" in sizes:
            raise ValueError(f"{here}: must hold 1 to {MOST_SIZES} sizes, each with a name")
        for size, usd in sizes.items():
            _unit_price(where, unit, usd, f"{here}.{size}")


def _unit_price(where: str, unit: Unit, usd: Decimal, field: str = "") -> tuple[str, int]:
    """Class of `UnitUsage` and nano-USD per UNIT_PARTS of what it counts. Raises ValueError for fractions of one."""
    counted = UNITS[unit]
    where = field or f"{where}.units.{unit}"
    if not usd.is_finite() or not 0 <= usd <= _LARGEST_UNIT_USD:
        raise ValueError(f"{where}: {usd} is not an amount from 0 to {_LARGEST_UNIT_USD} USD")
    parts = UNIT_PARTS // counted.counts
    nano = usd_to_nano(usd * parts)
    if len(usd.as_tuple().digits) > _MOST_DIGITS or Decimal(nano).scaleb(-9) != usd * parts:
        raise ValueError(f"{where}: {usd} has too many decimals")
    return counted.name, nano


def _nano(where: str, usd: Decimal) -> int:
    if not usd.is_finite() or not 0 <= usd <= _LARGEST_USD:
        raise ValueError(f"{where}: {usd} is not an amount from 0 to {_LARGEST_USD} USD")
    nano = usd_to_nano(usd)
    if Decimal(nano).scaleb(-9) != usd:
        raise ValueError(f"{where}: {usd} has more than nine decimals")
    return nano
