"""The catalogue held against genai-prices, that package itself: what differs is known, with its reason, or it fails."""

from datetime import date
from decimal import Decimal

import msgspec
import pytest

from deploy.catalog.check import Disagreement, disagreements
from deploy.catalog.genai import GenaiPrices, days_of_change
from deploy.catalog.history import with_history
from deploy.catalog.known import KNOWN
from shared.catalog import SHIPPED, Entries, read_entries
from shared.price_entries import ModelEntry, PriceRow, row_on

pytest.importorskip("genai_prices", reason="genai-prices is not installed")

# The day on which the two were compared: what is announced for later is no disagreement of today.
MADE_ON = date(2026, 11, 21)


@pytest.fixture(scope="module")
def other() -> GenaiPrices:
    return GenaiPrices()


@pytest.fixture(scope="module")
def entries() -> Entries:
    return read_entries(SHIPPED)[1]


@pytest.fixture(scope="module")
def found(entries: Entries, other: GenaiPrices) -> list[Disagreement]:
    return list(disagreements(entries, other, MADE_ON))


def test_no_price_that_both_know_differs_without_a_reason(found: list[Disagreement]) -> None:
    """Prints every disagreement (`-s`, and on failure)."""
    for one in found:
        print(one)
    unknown = [str(one) for one in found if one.is_contradiction and not one.reason]

    assert unknown == []


def test_every_known_reason_is_still_needed(found: list[Disagreement]) -> None:
    differing = [one for one in found if one.is_contradiction]
    idle = [
        known.reason
        for known in KNOWN
        if not any(known.models.fullmatch(f"{one.provider}/{one.model}") for one in differing)
    ]

    assert idle == []


def test_enough_models_are_known_to_both_to_mean_something(entries: Entries, other: GenaiPrices) -> None:
    known = {
        provider: sum(1 for model in models if other.find(provider, model)) for provider, models in entries.items()
    }

    assert known.pop("deepinfra") == 0  # they do not follow it
    assert min(known.values()) >= 8
    assert sum(known.values()) > 500


def test_a_price_that_differs_is_told_with_both_amounts(entries: Entries, other: GenaiPrices) -> None:
    entry = entries["openai"]["gpt-4o"]
    row = PriceRow(classes={"input": Decimal(3), "output": Decimal(10)})
    ours: Entries = {"openai": {"gpt-4o": msgspec.structs.replace(entry, prices=(row,))}}
    lines = {str(one): one for one in disagreements(ours, other, MADE_ON)}

    assert lines["openai/gpt-4o: default input: ours 3, theirs 2.5"].is_contradiction
    assert not lines["openai/gpt-4o: default cached_input: ours -, theirs 1.25"].is_contradiction


def test_a_known_disagreement_is_told_with_its_reason(found: list[Disagreement]) -> None:
    peak = next(one for one in found if one.model == "deepseek-v4-pro" and one.is_contradiction)

    assert "peak" in peak.reason
    assert str(peak).endswith(f"[{peak.reason}]")


def test_a_model_or_provider_that_they_do_not_know_is_left_out(entries: Entries, other: GenaiPrices) -> None:
    entry = entries["openai"]["gpt-4o"]

    assert list(disagreements({"openai": {"my-own": entry}, "deepinfra": {"m": entry}}, other, MADE_ON)) == []


# What is taken over from them.


def one(provider: str, model: str, *rows: PriceRow) -> Entries:
    return {provider: {model: ModelEntry(prices=rows)}}


def row(price_in: str, price_out: str, **more: object) -> PriceRow:
    return msgspec.structs.replace(PriceRow(classes={"input": Decimal(price_in), "output": Decimal(price_out)}), **more)


def test_days_are_taken_where_both_agree_on_the_present(other: GenaiPrices) -> None:
    rows = with_history(one("openai", "o3", row("2", "8")), other, MADE_ON)["openai"]["o3"].prices

    assert [one.start for one in rows] == [None, date(2025, 6, 10)]
    assert rows[0].classes["input"] == Decimal(10)
    assert rows[1].classes == row("2", "8").classes


def test_nothing_is_taken_where_they_do_not_agree(other: GenaiPrices) -> None:
    ours = one("openai", "o3", row("2.5", "8"))

    assert with_history(ours, other, MADE_ON) == ours


def test_prices_by_the_hour_of_the_day_make_no_days(other: GenaiPrices) -> None:
    assert list(days_of_change(other.find("deepseek", "deepseek-v4-pro"))) == []


def test_an_announced_price_raises_the_tiers_that_only_we_know(other: GenaiPrices) -> None:
    ours = row("2", "10", tiers={"priority": {"input": Decimal("3.6"), "output": Decimal(18)}})
    rows = with_history(one("google", "gemini-4-argon", ours), other, MADE_ON)["google"]["gemini-4-argon"].prices

    assert [one.start for one in rows] == [None, date(2026, 12, 1)]
    assert rows[1].classes["output"] == Decimal(20)
    assert rows[1].tiers["priority"] == {"input": Decimal("7.2"), "output": Decimal(36)}


def test_a_tier_that_only_they_list_is_taken(other: GenaiPrices) -> None:
    model = "openai/gpt-oss-120b"
    [taken] = with_history(one("groq", model, row("0.15", "0.6")), other, MADE_ON)["groq"][model].prices

    assert taken.tiers["batch"]["output"] == Decimal("0.3")


def test_the_shipped_rows_of_today_are_those_of_the_day_they_were_made(entries: Entries) -> None:
    for models in entries.values():
        for name, entry in models.items():
            assert row_on(entry.prices, MADE_ON) is not None, name
