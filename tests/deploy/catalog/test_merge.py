"""Renewing a catalogue: changed prices are dated, nothing known is forgotten."""

from datetime import date
from decimal import Decimal

import msgspec

from deploy.catalog.merge import merge
from shared.catalog import ModelEntry, PriceRow

MAY, JUNE = date(2026, 5, 1), date(2026, 6, 1)


def entry(*rows: tuple[date | None, str], **facts: int | tuple[str, ...]) -> ModelEntry:
    prices = tuple(PriceRow(classes={"input": Decimal(usd), "output": Decimal(usd)}, start=day) for day, usd in rows)
    return msgspec.structs.replace(ModelEntry(prices=prices), **facts)


def test_a_new_model_is_taken_as_it_is() -> None:
    assert merge({}, {"m": entry((None, "1"))}, MAY) == {"m": entry((None, "1"))}


def test_an_unchanged_price_keeps_its_row() -> None:
    known = {"m": entry((None, "1"), (MAY, "2"))}

    assert merge(known, {"m": entry((None, "2.0"))}, JUNE) == known


def test_a_changed_price_is_entered_from_the_day_on_and_the_old_one_stays() -> None:
    merged = merge({"m": entry((None, "1"))}, {"m": entry((None, "3"))}, JUNE)

    assert merged == {"m": entry((None, "1"), (JUNE, "3"))}


def test_a_price_changed_twice_on_one_day_has_one_row_of_that_day() -> None:
    merged = merge({"m": entry((None, "1"), (JUNE, "3"))}, {"m": entry((None, "4"))}, JUNE)

    assert merged == {"m": entry((None, "1"), (JUNE, "4"))}


def test_a_model_that_the_source_no_longer_lists_keeps_its_prices() -> None:
    known = {"gone": entry((None, "1")), "m": entry((None, "1"))}

    assert merge(known, {"m": entry((None, "1"))}, JUNE) == known


def test_what_is_no_price_is_renewed_and_what_people_added_is_kept() -> None:
    merged = merge(
        {"m": entry((None, "1"), aliases=("a",), max_output=1)}, {"m": entry((None, "1"), max_output=2)}, MAY
    )

    assert merged == {"m": entry((None, "1"), aliases=("a",), max_output=2)}
