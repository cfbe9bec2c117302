"""litellm's file into our catalogue: the same bytes each time, and every rule of what is taken and what is not."""

import zipfile
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest

from deploy.catalog.__main__ import main
from deploy.catalog.litellm import IN_WHEEL, by_the_hour, read_models, read_source
from shared.catalog import load_catalog
from shared.price_entries import Amounts, PriceRow

DATA = Path(__file__).parent / "data"
EXCERPT = DATA / "litellm_excerpt.json"
MODELS = read_models(EXCERPT.read_bytes())


def row_of(provider: str, model: str) -> PriceRow:
    [row] = MODELS[provider][model].prices
    return row


def read_one(provider: str, mode: str = "chat", **facts: Any) -> PriceRow | None:
    source = msgspec.json.encode({"m": {"litellm_provider": provider, "mode": mode, **facts}})
    models = [models["m"] for models in read_models(source).values() if "m" in models]
    return models[0].prices[0] if models else None


def usd(**amounts: str) -> dict[str, Decimal]:
    return {name: Decimal(text) for name, text in amounts.items()}


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


def test_every_provider_has_its_models_under_their_own_names() -> None:
    listed = set(msgspec.json.decode(EXCERPT.read_bytes()))

    assert {provider: sorted(models) for provider, models in MODELS.items() if provider != "openai"} == {
        "anthropic": [
            "claude-fable-5-2",
            "claude-haiku-5-5",
            "claude-instant-1",
            "claude-instant-1.2",
            "claude-mythos-5-2",
            "claude-opus-5-5",
            "claude-sonnet-4-5",
        ],
        "azure": ["eu/gpt-4o", "gpt-4o", "gpt-5.4", "gpt-6-astra"],
        "bedrock": [
            "amazon.nova-2-multimodal-embeddings-v1:0",
            "anthropic.claude-sonnet-4-5-20250929-v1:0",
            "global.anthropic.claude-sonnet-4-5-20250929-v1:0",
            "us.anthropic.claude-sonnet-4-5-20250929-v1:0",
        ],
        "deepinfra": ["deepseek-ai/DeepSeek-V3.1"],
        "mistral": ["mistral-embed"],
        "groq": ["whisper-large-v3"],
        "google": ["gemini-2.5-flash", "gemini-4-argon"],
        "deepseek": ["deepseek-chat"],
        "xai": ["grok-4.7"],
    }
    assert listed - set(MODELS["openai"]) >= {"openai/container", "fireworks_ai/gpt-oss-120b", "azure/gpt-4o"}


def test_of_two_rows_with_one_name_the_earlier_source_counts() -> None:
    models = {
        "azure_ai/m": {"litellm_provider": "azure_ai", "input_cost_per_token": 2e-6, "output_cost_per_token": 2e-6},
        "azure/m": {"litellm_provider": "azure", "input_cost_per_token": 1e-6, "output_cost_per_token": 1e-6},
    }
    found = read_models(msgspec.json.encode({name: {"mode": "chat", **facts} for name, facts in models.items()}))

    assert found["azure"]["m"].prices[0].classes == usd(input="1", output="1")


@pytest.mark.parametrize(
    "facts",
    [
        {},
        {"input_cost_per_token": 1e-6},
        {"output_cost_per_token": 1e-6},
        {"input_cost_per_token": 0, "output_cost_per_token": 1e-6},
        {"input_cost_per_token": 0.0, "output_cost_per_token": 0.0},
        {"input_cost_per_second": 0.01},
        {"input_cost_per_image": 0.01},
    ],
)
def test_a_model_without_both_prices_is_unknown_not_free(facts: dict[str, float]) -> None:
    assert read_one("openai", **facts) is None


def test_what_writes_nothing_needs_one_price_and_free_is_only_what_is_published_so() -> None:
    assert read_one("mistral", "embedding", input_cost_per_token=1e-7) == PriceRow(classes=usd(input="0.1", output="0"))
    assert read_one("mistral", "moderation", input_cost_per_token=0, output_cost_per_token=0) is None
    assert row_of("openai", "omni-moderation-latest").classes == usd(input="0", output="0")


def test_prices_are_taken_by_their_decimal_text() -> None:
    prices = b'"input_cost_per_token":7.5e-08,"output_cost_per_token":6.0000001e-07'
    source = b'{"m":{"litellm_provider":"openai","mode":"chat",' + prices + b"}}"
    classes = read_models(source)["openai"]["m"].prices[0].classes

    assert classes == {"input": Decimal("0.075"), "output": Decimal("0.60000001")}


def test_tiers_long_prompts_and_both_lives_of_the_cache_are_taken() -> None:
    row = row_of("openai", "gpt-6.1-sol")

    assert set(row.tiers) == {"flex", "priority", "ultrafast", "batch"}
    batch = usd(input="1", cached_input="0.05", cache_write_5m="1.25", cache_write_1h="2.5", output="5")
    assert row.tiers["batch"] == batch
    assert [long.input_tokens for long in row.above] == [272_000]
    assert row.above[0].tiers["batch"]["output"] == Decimal("7.5")
    assert (row.classes["cache_write_5m"], row.classes["cache_write_1h"]) == (Decimal("2.5"), Decimal(5))
    assert row.above[0].classes["cache_write_1h"] == Decimal(10)


def test_xais_long_prompts_begin_with_the_threshold_itself() -> None:
    assert [long.input_tokens for long in row_of("xai", "grok-4.7").above] == [199_999]


def test_a_tier_that_only_long_prompts_have_is_left_out() -> None:
    """Nobody knows what short ones cost in it, so they would cost the standard price, more than long ones."""
    assert "azure/gpt-6-astra" in msgspec.json.decode(EXCERPT.read_bytes())
    assert [set(long.tiers) for long in row_of("azure", "gpt-6-astra").above] == [set()]


def test_both_lives_of_anthropics_cache_have_a_price_in_every_tier() -> None:
    row = row_of("anthropic", "claude-opus-5-5")
    standard = usd(input="4", cached_input="0.2", cache_write_5m="5", cache_write_1h="8", output="20")

    def times(factor: str) -> Amounts:
        return {name: price * Decimal(factor) for name, price in standard.items()}  # type: ignore[misc]

    assert row.classes == standard
    assert row.tiers == {
        "batch": times("0.5"),
        "us": times("1.1"),
        "us-batch": times("0.55"),
        "fast": times("2"),
        "us-fast": times("2.2"),
        "priority": times("1"),
    }
    assert row.units == usd(search="0.01")


def test_factors_apply_to_long_prompts_too() -> None:
    [long] = row_of("anthropic", "claude-haiku-5-5").above

    assert (long.input_tokens, long.classes["input"]) == (100_000, Decimal("0.5"))
    assert long.tiers["us"]["input"] == Decimal("0.55")
    assert set(long.tiers) == {"batch", "us", "us-batch", "priority"}


def test_a_model_without_factors_has_only_the_tiers_that_are_published() -> None:
    assert set(row_of("anthropic", "claude-sonnet-4-5").tiers) == {"batch", "priority"}


def test_on_bedrock_the_bare_id_costs_what_its_geography_does() -> None:
    bare, us, anywhere = (
        row_of("bedrock", f"{scope}anthropic.claude-sonnet-4-5-20250929-v1:0").classes["input"]
        for scope in ("", "us.", "global.")
    )

    assert (bare, us, anywhere) == (Decimal("3.3"), Decimal("3.3"), Decimal("3"))


def test_reasoning_that_costs_what_output_does_needs_no_price_of_its_own() -> None:
    """Else a tier that does not repeat it would keep the standard one."""
    assert "reasoning" not in row_of("google", "gemini-2.5-flash").classes
    apart = read_one(
        "gemini", input_cost_per_token=1e-6, output_cost_per_token=1e-6, output_cost_per_reasoning_token=2e-6
    )
    assert apart is not None
    assert apart.classes["reasoning"] == Decimal(2)


def test_speech_is_priced_by_the_hour_or_the_character_once() -> None:
    assert row_of("openai", "whisper-1") == PriceRow(units=usd(input_audio_hour="0.36"))
    assert row_of("groq", "whisper-large-v3") == PriceRow(units=usd(input_audio_hour="0.111"))
    assert row_of("openai", "tts-1") == PriceRow(units=usd(input_character="0.000015"))
    assert row_of("openai", "gpt-4o-transcribe").units == {}  # priced by the token


@pytest.mark.parametrize(
    ("second", "hour"),
    [
        ("0.0001", "0.36"),
        ("3.083e-05", "0.111"),
        ("5.83333e-05", "0.21"),
        ("0.0002777778", "1"),
        ("0.0000123", "0.04428"),
    ],
)
def test_an_hour_costs_what_was_published_before_it_was_rounded_to_seconds(second: str, hour: str) -> None:
    assert by_the_hour(Decimal(second)) == Decimal(hour)


def test_embeddings_of_pictures_and_sound_are_priced_by_the_piece_besides() -> None:
    row = row_of("bedrock", "amazon.nova-2-multimodal-embeddings-v1:0")

    assert row.classes == usd(input="0.135", output="0")
    assert row.units == usd(input_image="0.00006", input_audio_hour="0.504", input_video_hour="2.52")


def test_a_search_costs_a_unit_or_for_models_that_always_search_something_on_every_call() -> None:
    assert row_of("openai", "gpt-4o-search-preview").call == Decimal("0.025")
    assert row_of("openai", "gpt-4o-search-preview").units == {}
    assert row_of("openai", "gpt-5.4").call is None
    assert row_of("openai", "gpt-6.1-sol").units == usd(search="0.01")


def test_writing_to_a_cache_for_less_than_reading_a_prompt_is_a_mistake() -> None:
    row = read_one(
        "openai", input_cost_per_token=2e-6, output_cost_per_token=2e-6, cache_creation_input_token_cost=1e-6
    )
    assert row == PriceRow(classes=usd(input="2", cached_input="1", output="2"))


def test_known_mistakes_of_the_source_are_corrected() -> None:
    assert MODELS["openai"]["gpt-4"].max_output == 8192
    assert row_of("openai", "ft:gpt-4o-2024-11-20").classes == usd(input="3.75", cached_input="1.875", output="15")
    assert row_of("openai", "gpt-4o-mini-tts").classes["output"] == Decimal(12)


def test_a_wheel_is_read_like_the_file_in_it(tmp_path: Path) -> None:
    path = tmp_path / "litellm-1.2.3-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as wheel:
        wheel.write(EXCERPT, IN_WHEEL)

    assert read_source(path) == (EXCERPT.read_bytes(), "litellm 1.2.3")


def test_what_was_written_loads_and_has_the_sources_prices(tmp_path: Path) -> None:
    out = tmp_path / "catalog.json"
    main([str(EXCERPT), "--day", "2026-11-20", "--out", str(out)])
    price = load_catalog(out).price("openai", "gpt-5.4", 0)
    assert price is not None

    assert price.rates("flex", 300_000).output == 11_250_000_000
    assert price.rates("batch", 300_000).output == 11_250_000_000
    assert price.rates("priority", 300_000).output == 30_000_000_000  # no long price is listed: the dearer of both
