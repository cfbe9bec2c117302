"""Entries as they are written, compiled: units by exact integers, days that agree with moments."""

from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.pricing import cost
from shared.catalog import Catalog
from shared.price_entries import (
    HELD_CLASSES,
    MOST_LONG,
    MOST_ROWS,
    MOST_SIZES,
    MOST_TIERS,
    UNITS,
    Amounts,
    HeldClass,
    LongPrompts,
    ModelEntry,
    PriceRow,
    Unit,
    compile_entry,
    row_on,
)
from shared.prices import UNIT_PARTS
from shared.usage import NO_USAGE, UNIT_CLASSES, TokenUsage, UnitUsage

CLASSES: Amounts = {"input": Decimal(1), "output": Decimal(2)}


def test_every_unit_that_can_be_priced_is_counted_and_every_count_has_a_price() -> None:
    assert set(UNITS) == set(get_args(Unit))
    assert tuple(counted.name for counted in UNITS.values()) == UNIT_CLASSES
    assert all(UNIT_PARTS % counted.counts == 0 for counted in UNITS.values())


@pytest.mark.parametrize(
    ("unit", "usd", "counted", "nano"),
    [
        # OpenAI whisper-1: $0.006 a minute is $0.36 an hour; 90 s = 0.025 h -> $0.009
        ("input_audio_hour", "0.36", 90_000, 9_000_000),
        # Groq whisper-large-v3: $0.111 an hour; 1 s = $0.111 / 3600 = $0.000030833... -> 30,833.3 nano
        ("input_audio_hour", "0.111", 1_000, 30_833),
        # a millisecond of it: 30.83 nano
        ("input_audio_hour", "0.111", 1, 31),
        # OpenAI tts-1: $15 per million characters; 1,234 -> $0.01851
        ("input_character", "0.000015", 1_234, 18_510_000),
        # $0.0000000005 a character: half a nano is rounded up, once: three of them are 1.5 nano
        ("input_character", "0.0000000005", 1, 1),
        ("input_character", "0.0000000005", 3, 2),
        ("search", "0.01", 3, 30_000_000),
        ("page", "0.004", 12, 48_000_000),
        ("input_image", "0.00006", 7, 420_000),
        ("input_video_hour", "2.52", 10_000, 7_000_000),
    ],
)
def test_units_cost_exactly_what_is_published(unit: Unit, usd: str, counted: int, nano: int) -> None:
    [(_, price)] = compile_entry("m", "v", ModelEntry(prices=(PriceRow(units={unit: Decimal(usd)}),)))

    assert cost(NO_USAGE, price, "", UnitUsage(**{UNITS[unit].name: counted})) == nano
    assert not price.is_by_token


def test_tokens_and_units_are_added_before_they_are_rounded() -> None:
    row = PriceRow(classes={"input": Decimal("0.0005"), "output": Decimal(0)}, units={"page": Decimal("0.0000000005")})
    [(_, price)] = compile_entry("m", "v", ModelEntry(prices=(row,)))
    # half a nano of tokens and half a nano of pages are one, not two
    assert cost(TokenUsage(input=1), price, "") == 1
    assert cost(TokenUsage(input=1), price, "", UnitUsage(pages=1)) == 1
    assert cost(TokenUsage(input=2), price, "", UnitUsage(pages=1)) == 2


@pytest.mark.parametrize("name", HELD_CLASSES)
@pytest.mark.parametrize("where", ["classes", "tier", "above", "tier above"])
def test_a_class_that_usage_cannot_tell_makes_the_cost_of_all_tokens_unknown(name: HeldClass, where: str) -> None:
    more: Amounts = {**CLASSES, name: Decimal(3)}
    row = PriceRow(
        classes=more if where == "classes" else CLASSES,
        tiers={"batch": more} if where == "tier" else {},
        above=(
            LongPrompts(
                input_tokens=9,
                classes=more if where == "above" else CLASSES,
                tiers={"batch": more} if where == "tier above" else {},
            ),
        ),
        units={"search": Decimal("0.01")},
    )
    [(_, price)] = compile_entry("m", "v", ModelEntry(prices=(row,)))

    assert not price.is_by_token
    assert not price.covers(TokenUsage(input=1))
    assert not price.covers(NO_USAGE, UnitUsage(searches=1))
    assert price.covers(NO_USAGE)


def test_what_costs_by_its_size_is_held_and_not_covered() -> None:
    sized = PriceRow(sizes={"output_image": {"hd/1024x1792": Decimal("0.12")}})
    [(_, price)] = compile_entry("m", "v", ModelEntry(prices=(sized,)))

    assert not price.covers(NO_USAGE, UnitUsage(output_images=1))
    assert not price.covers(TokenUsage(output=1))


@pytest.mark.parametrize(
    ("row", "field"),
    [
        (PriceRow(), "needs classes, units or sizes"),
        (PriceRow(classes={"image_input": Decimal(1), "image_output": Decimal(1)}), "needs both input and output"),
        (PriceRow(sizes={"output_image": {}}), r"sizes.output_image: must hold 1 to"),
        (PriceRow(sizes={"output_image": {"": Decimal(1)}}), r"sizes.output_image: must hold 1 to"),
        (PriceRow(sizes={"output_image": {"hd": Decimal(-1)}}), r"sizes.output_image.hd: -1 is not"),
        (
            PriceRow(sizes={"output_image": {str(n): Decimal(1) for n in range(MOST_SIZES + 1)}}),
            r"sizes.output_image: must hold 1 to",
        ),
        (
            PriceRow(units={"output_image": Decimal(1)}, sizes={"output_image": {"hd": Decimal(1)}}),
            r"sizes.output_image: has one price for all",
        ),
    ],
)
def test_held_prices_that_make_no_sense_are_refused(row: PriceRow, field: str) -> None:
    with pytest.raises(ValueError, match=rf"prices\[0\].*{field}"):
        compile_entry("m", "v", ModelEntry(prices=(row,)))


DAYS = st.dates(date(2024, 1, 1), date(2028, 1, 1))


@given(st.lists(DAYS, min_size=1, max_size=4, unique=True), st.booleans(), DAYS, st.integers(0, 86_399))
def test_the_row_of_a_day_is_the_price_of_its_every_moment(
    days: list[date], is_open: bool, day: date, second: int
) -> None:
    starts = [None, *sorted(days)[1:]] if is_open else sorted(days)
    rows = tuple(
        PriceRow(classes={"input": Decimal(number), "output": Decimal(1)}, start=start)
        for number, start in enumerate(starts, 1)
    )
    catalog = Catalog({"p": {"m": compile_entry("m", "v", ModelEntry(prices=rows))}}, "v")
    moment = datetime.combine(day, time(), UTC) + timedelta(seconds=second)
    price, row = catalog.price("p", "m", int(moment.timestamp() * 1000)), row_on(rows, day)

    assert (price and price.rates().input) == (row and int(row.classes["input"]) * 1_000_000_000)


def _entry(rows: int, long: int, tiers: int) -> ModelEntry:
    names = {f"tier-{number}": CLASSES for number in range(tiers)}
    above = tuple(LongPrompts(input_tokens=number + 1, classes=CLASSES, tiers=names) for number in range(long))
    return ModelEntry(
        prices=tuple(
            PriceRow(classes=CLASSES, start=date(2026, 1, 1) + timedelta(days=day), tiers=names, above=above)
            for day in range(rows)
        )
    )


def test_an_entry_may_be_several_times_as_large_as_any_published_one() -> None:
    rows = compile_entry("m", "v", _entry(MOST_ROWS, MOST_LONG, MOST_TIERS))

    assert [len(price.bands) for _, price in rows] == [MOST_LONG + 1] * MOST_ROWS


@pytest.mark.parametrize(
    ("entry", "field"),
    [
        (_entry(MOST_ROWS + 1, 0, 0), "prices: must hold at most"),
        (_entry(1, MOST_LONG + 1, 0), r"prices\[0\].above: must hold at most"),
        (_entry(1, 1, MOST_TIERS + 1), r"prices\[0\].tiers: must hold at most"),
    ],
)
def test_an_entry_that_would_hold_the_proxys_loop_is_refused(entry: ModelEntry, field: str) -> None:
    """Rows, lengths and tiers multiply: 9 kB of JSON with 100 lengths and 300 tiers took over a second."""
    with pytest.raises(ValueError, match=field):
        compile_entry("m", "v", entry)
