"""What is taken from the second source alone: names that providers answer to, at prices that are theirs."""

from datetime import date
from decimal import Decimal

import pytest

from deploy.catalog.genai import GenaiPrices
from deploy.catalog.left_out import VIDEO_TOKENS
from deploy.catalog.second import NAMES, only_theirs
from shared.catalog import SHIPPED, Entries, read_entries
from shared.price_entries import HELD_CLASSES

pytest.importorskip("genai_prices", reason="genai-prices is not installed")

DAY = date(2026, 11, 21)


@pytest.fixture(scope="module")
def theirs() -> tuple[Entries, dict[str, list[str]]]:
    return only_theirs({}, GenaiPrices(), DAY)


@pytest.mark.parametrize(
    ("model", "usd_in", "usd_out"),
    [
        ("claude-2.1", "8", "24"),
        ("claude-3-haiku-20240307", "0.25", "1.25"),
        ("claude-3-5-sonnet-20241022", "3", "15"),
        ("claude-opus-4-0", "15", "75"),
        ("claude-opus-4-1-20250805", "15", "75"),
        ("claude-sonnet-4-20250514", "3", "15"),
    ],
)
def test_older_models_are_taken_under_all_their_names(
    theirs: tuple[Entries, dict[str, list[str]]], model: str, usd_in: str, usd_out: str
) -> None:
    [row] = theirs[0]["anthropic"][model].prices

    assert (row.classes["input"], row.classes["output"]) == (Decimal(usd_in), Decimal(usd_out))
    assert model in read_entries(SHIPPED)[1]["anthropic"]


def test_every_name_written_down_is_one_of_the_model(theirs: tuple[Entries, dict[str, list[str]]]) -> None:
    for (provider, model), names in NAMES.items():
        found = GenaiPrices().find(provider, names[0])
        assert found is not None
        assert found.id == model
        assert set(names) <= theirs[0][provider].keys()


def test_what_we_have_is_not_taken_whatever_its_case() -> None:
    ours = read_entries(SHIPPED)[1]
    entry = ours["anthropic"]["claude-opus-4-0"]
    found, _ = only_theirs({**ours, "azure": {**ours["azure"], "O1-Preview": entry}}, GenaiPrices(), DAY)

    assert "o1-preview" not in found.get("azure", {})
    assert found.get("anthropic", {}) == {}


def test_what_stays_out_has_its_reason(theirs: tuple[Entries, dict[str, list[str]]]) -> None:
    entries, reasons = theirs
    out = {name: reason for reason, names in reasons.items() for name in names}

    assert "does not sell" in out["openai/gpt-oss-120b"]
    assert "Vertex" in out["google/claude-3-opus"]
    assert out["google/gemini-omni-1.1-flash"] == VIDEO_TOKENS
    assert out.keys().isdisjoint(f"{provider}/{name}" for provider, models in entries.items() for name in models)


def test_pages_are_priced_by_the_page(theirs: tuple[Entries, dict[str, list[str]]]) -> None:
    [row] = theirs[0]["mistral"]["mistral-ocr-2503"].prices

    assert (row.classes, row.units) == ({}, {"page": Decimal("0.001")})


def test_classes_that_are_not_counted_are_held(theirs: tuple[Entries, dict[str, list[str]]]) -> None:
    [mini] = theirs[0]["openai"]["gpt-realtime-mini"].prices
    [live] = theirs[0]["google"]["gemini-live-2.5-flash"].prices

    assert {name: mini.classes[name] for name in HELD_CLASSES if name in mini.classes} == {
        "cached_audio_input": Decimal("0.3"),
        "image_input": Decimal("0.8"),
        "cached_image_input": Decimal("0.08"),
    }
    assert live.classes["image_input"] == Decimal(3)
