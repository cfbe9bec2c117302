"""litellm's file into our catalogue: the same bytes each time, and every rule of what is taken and what is not."""

import zipfile
from decimal import Decimal
from pathlib import Path

import msgspec
import pytest

from deploy.catalog.__main__ import main
from deploy.catalog.litellm import IN_WHEEL, read_models, read_source
from shared.catalog import load_catalog

DATA = Path(__file__).parent / "data"
EXCERPT = DATA / "litellm_excerpt.json"


def test_the_excerpt_gives_the_same_bytes_every_time(tmp_path: Path) -> None:
    for name in ("first.json", "second.json"):
        main([str(EXCERPT), "--day", "2026-11-20", "--out", str(tmp_path / name)])

    expected = (DATA / "expected_catalog.json").read_bytes()
    assert (tmp_path / "first.json").read_bytes() == (tmp_path / "second.json").read_bytes() == expected


def test_renewing_an_unchanged_catalogue_changes_nothing_whatever_the_day(tmp_path: Path) -> None:
    out = tmp_path / "catalog.json"
    main([str(EXCERPT), "--day", "2026-11-20", "--out", str(out)])
    before = out.read_bytes()
    main([str(EXCERPT), "--day", "2027-01-01", "--out", str(out)])

    assert out.read_bytes() == before


def test_only_openais_models_that_are_billed_by_the_token_are_taken() -> None:
    models = read_models(EXCERPT.read_bytes())
    left_out = {"azure/gpt-4o", "whisper-1", "openai/container", "text-embedding-3-small", "omni-moderation-latest"}
    listed = set(msgspec.json.decode(EXCERPT.read_bytes()))

    assert left_out <= listed
    assert set(models) == listed - left_out


@pytest.mark.parametrize(
    "facts",
    [
        {},
        {"input_cost_per_token": 1e-6},
        {"output_cost_per_token": 1e-6},
        {"input_cost_per_token": 0, "output_cost_per_token": 1e-6},
        {"input_cost_per_token": 0.0, "output_cost_per_token": 0.0},
    ],
)
def test_a_model_without_both_prices_is_unknown_not_free(facts: dict[str, float]) -> None:
    source = {"m": {"litellm_provider": "openai", "mode": "chat", **facts}}

    assert read_models(msgspec.json.encode(source)) == {}


def test_prices_are_taken_by_their_decimal_text() -> None:
    prices = b'"input_cost_per_token":7.5e-08,"output_cost_per_token":6.0000001e-07'
    source = b'{"m":{"litellm_provider":"openai","mode":"chat",' + prices + b"}}"
    classes = read_models(source)["m"].prices[0].classes

    assert classes == {"input": Decimal("0.075"), "output": Decimal("0.60000001")}


def test_tiers_and_long_prompts_are_taken_and_batch_and_long_lived_caches_are_not() -> None:
    [row] = read_models(EXCERPT.read_bytes())["gpt-6.1-sol"].prices

    assert set(row.tiers) == {"flex", "priority", "ultrafast"}
    assert [long.input_tokens for long in row.above] == [272_000]
    assert row.classes["cache_write_5m"] == Decimal("2.5")
    assert "cache_write_1h" not in row.classes


def test_a_search_model_costs_something_on_every_call_and_others_do_not() -> None:
    models = read_models(EXCERPT.read_bytes())

    assert models["gpt-4o-search-preview"].prices[0].call == Decimal("0.025")
    assert models["gpt-5.4"].prices[0].call is None


def test_known_mistakes_of_the_source_are_corrected() -> None:
    models = read_models(EXCERPT.read_bytes())

    assert models["gpt-4"].max_output == 8192
    assert models["ft:gpt-4o-2024-11-20"].prices[0].classes == {
        "input": Decimal("3.75"),
        "cached_input": Decimal("1.875"),
        "output": Decimal(15),
    }


def test_a_wheel_is_read_like_the_file_in_it(tmp_path: Path) -> None:
    path = tmp_path / "litellm-1.2.3-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as wheel:
        wheel.write(EXCERPT, IN_WHEEL)

    assert read_source(path) == (EXCERPT.read_bytes(), "litellm 1.2.3")


def test_what_was_written_loads_and_has_the_sources_prices(tmp_path: Path) -> None:
    out = tmp_path / "catalog.json"
    main([str(EXCERPT), "--day", "2026-11-20", "--out", str(out)])
    price = load_catalog(out).price("gpt-5.4", 0)
    assert price is not None

    assert price.rates("flex", 300_000).output == 11_250_000_000
    assert price.rates("priority", 300_000).output == 30_000_000_000  # no long price is listed: the dearer of both
