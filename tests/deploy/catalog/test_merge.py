"""Renewing a catalogue: changed prices are dated, nothing known is forgotten."""

from datetime import date
from decimal import Decimal
from typing import Any

import msgspec

from deploy.catalog.merge import merge
from shared.catalog import Entries
from shared.price_entries import ModelEntry, PriceRow

MAY, JUNE, JULY = date(2026, 5, 1), date(2026, 6, 1), date(2026, 7, 1)


def entries(*rows: tuple[date | None, str], model: str = "m", **facts: Any) -> Entries:
    prices = tuple(PriceRow(classes={"input": Decimal(usd), "output": Decimal(usd)}, start=day) for day, usd in rows)
    return {"p": {model: msgspec.structs.replace(ModelEntry(prices=prices), **facts)}}


def test_a_new_model_is_taken_as_it_is() -> None:
    assert merge({}, entries((None, "1")), MAY) == entries((None, "1"))


def test_an_unchanged_price_keeps_its_row() -> None:
    known = entries((None, "1"), (MAY, "2"))

    assert merge(known, entries((None, "2.0")), JUNE) == known


def test_a_changed_price_is_entered_from_the_day_on_and_the_old_one_stays() -> None:
    merged = merge(entries((None, "1")), entries((None, "3")), JUNE)

    assert merged == entries((None, "1"), (JUNE, "3"))


def test_a_price_changed_twice_on_one_day_has_one_row_of_that_day() -> None:
    merged = merge(entries((None, "1"), (JUNE, "3")), entries((None, "4")), JUNE)

    assert merged == entries((None, "1"), (JUNE, "4"))


def test_a_model_that_the_source_no_longer_lists_keeps_its_prices() -> None:
    known: Entries = {"p": {**entries((None, "1"), model="gone")["p"], **entries((None, "1"))["p"]}}

    assert merge(known, entries((None, "1")), JUNE) == known
    assert merge(known, {"q": {}}, JUNE) == {**known, "q": {}}


def test_what_is_no_price_is_renewed_and_what_people_added_is_kept() -> None:
    merged = merge(entries((None, "1"), aliases=("a",), max_output=1), entries((None, "1"), max_output=2), MAY)

    assert merged == entries((None, "1"), aliases=("a",), max_output=2)


def test_days_that_a_source_knows_are_taken_over() -> None:
    merged = merge(entries((None, "2")), entries((None, "1"), (MAY, "2")), JUNE)

    assert merged == entries((None, "1"), (MAY, "2"))


def test_an_announced_price_is_taken_and_a_source_without_days_does_not_undo_it() -> None:
    known = merge(entries((None, "1")), entries((None, "1"), (JULY, "2")), MAY)

    assert known == entries((None, "1"), (JULY, "2"))
    assert merge(known, entries((None, "1")), JUNE) == known


def test_an_announcement_that_is_taken_back_is_forgotten() -> None:
    known = entries((None, "1"), (MAY, "2"), (JULY, "4"))

    assert merge(known, entries((None, "1"), (MAY, "2")), JUNE) == entries((None, "1"), (MAY, "2"))


def test_an_announced_price_that_did_not_come_true_is_corrected_on_the_day_it_is_seen() -> None:
    known = entries((None, "1"), (MAY, "2"))

    assert merge(known, entries((None, "1")), JUNE) == entries((None, "1"), (MAY, "2"), (JUNE, "1"))
