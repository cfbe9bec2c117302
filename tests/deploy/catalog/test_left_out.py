"""What is billed by the piece is taken where one price is true of every call; all else is left out, with a reason."""

from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest

from deploy.catalog.left_out import ONE_SIZE, UNKNOWN, VIDEO
from deploy.catalog.litellm import read_left_out, read_models
from shared.price_entries import PriceRow, held_classes

EXCERPT = (Path(__file__).parent / "data" / "litellm_excerpt.json").read_bytes()
REALTIME = {"input_cost_per_token": 6e-7, "cache_read_input_token_cost": 3e-7, "output_cost_per_token": 2.4e-6}


def source(mode: str, name: str = "m", provider: str = "openai", **facts: Any) -> bytes:
    return msgspec.json.encode({name: {"litellm_provider": provider, "mode": mode, **facts}})


def read_one(*args: Any, **facts: Any) -> PriceRow | None:
    content = source(*args, **facts)
    [name] = msgspec.json.decode(content)
    models = [models[name] for models in read_models(content).values() if name in models]
    return models[0].prices[0] if models else None


def why(*args: Any, **facts: Any) -> list[str]:
    return [reason for reason, names in read_left_out(source(*args, **facts)).items() for name in names]


@pytest.mark.parametrize("mode", ["image_generation", "image_edit"])
@pytest.mark.parametrize("field", ["output_cost_per_image", "input_cost_per_image"])
def test_an_image_that_is_made_has_a_price_whatever_the_file_calls_it(mode: str, field: str) -> None:
    assert read_one(mode, **{field: 0.04}) == PriceRow(units={"output_image": Decimal("0.04")})


def test_an_image_model_that_searches_what_it_recolours_is_no_search_model() -> None:
    row = read_one("image_edit", "stable-image-search-recolor-v1:0", "bedrock", output_cost_per_image=0.07)

    assert row == PriceRow(units={"output_image": Decimal("0.07")})


def test_pages_and_hours_of_live_speech_are_taken() -> None:
    assert read_one("ocr", ocr_cost_per_page=0.004, annotation_cost_per_page=0.005) == PriceRow(
        units={"page": Decimal("0.004")}
    )
    assert read_one("realtime", input_cost_per_second=0.000566666666667) == PriceRow(
        units={"input_audio_hour": Decimal("2.04")}
    )


def test_cached_audio_is_held_where_it_does_not_cost_what_cached_text_does() -> None:
    spoken = {"input_cost_per_audio_token": 1e-5, "output_cost_per_audio_token": 2e-5}
    same = read_one("realtime", **REALTIME, **spoken, cache_read_input_audio_token_cost=3e-7)
    other = read_one("realtime", **REALTIME, **spoken, cache_read_input_audio_token_cost=6e-8)

    assert same is not None
    assert same.classes["audio_output"] == Decimal(20)
    assert not any(held_classes(same))
    assert other is not None
    assert other.classes["cached_audio_input"] == Decimal("0.06")


def test_tokens_of_images_are_held_with_those_of_tiers() -> None:
    row = read_one(
        "image_generation",
        input_cost_per_token=5e-6,
        input_cost_per_image_token=8e-6,
        cache_read_input_image_token_cost=2e-6,
        output_cost_per_image_token=4e-5,
        input_cost_per_image_token_batches=4e-6,
    )

    assert row == PriceRow(
        classes={
            "input": Decimal(5),
            "image_input": Decimal(8),
            "cached_image_input": Decimal(2),
            "image_output": Decimal(40),
        },
        tiers={"batch": {"image_input": Decimal(4)}},
    )


def test_a_chat_model_is_read_as_before_whatever_its_images_cost() -> None:
    row = read_one("chat", **REALTIME, input_cost_per_image_token=8e-7, cache_read_input_audio_token_cost=6e-8)

    assert row is not None
    assert not any(held_classes(row))


@pytest.mark.parametrize(
    ("name", "facts", "size", "usd"),
    [
        ("azure/hd/1024-x-1792/d", {"input_cost_per_pixel": 7.19343e-08}, "hd/1024x1792", "0.132"),
        ("azure/1024-x-1024/d", {"input_cost_per_image": 0.011}, "1024x1024", "0.011"),
        ("azure/512-x-512/50-steps/d", {"output_cost_per_image": 0.018}, "50-steps/512x512", "0.018"),
        ("azure/max-x-max/max-steps/d", {"output_cost_per_image": 0.072}, "max-steps/max", "0.072"),
    ],
)
def test_the_files_names_of_sizes_are_sizes_of_one_model(name: str, facts: dict[str, Any], size: str, usd: str) -> None:
    content = source("image_generation", name, "azure", **facts)

    assert read_models(content)["azure"]["d"].prices == (PriceRow(sizes={"output_image": {size: Decimal(usd)}}),)
    assert read_left_out(content) == {}


def test_a_size_of_a_model_that_is_billed_by_token_is_no_price_of_it() -> None:
    content = msgspec.json.encode(
        {
            "m": msgspec.json.decode(source("image_generation", **REALTIME))["m"],
            "low/1024-x-1024/m": {
                "litellm_provider": "openai",
                "mode": "image_generation",
                "input_cost_per_image": 0.01,
            },
        }
    )

    assert not read_models(content)["openai"]["m"].prices[0].sizes
    assert read_left_out(content) == {ONE_SIZE: ["openai/low/1024-x-1024/m"]}


@pytest.mark.parametrize(
    ("args", "facts", "reason"),
    [
        (("image_generation", "low/1024-x-1024/m"), {"input_cost_per_image": 0}, UNKNOWN),
        (("video_generation",), {"output_cost_per_video_per_second": 0.1}, VIDEO),
        (("chat",), {"input_cost_per_token": 0, "output_cost_per_token": 0}, UNKNOWN),
        (("a-mode-of-tomorrow",), {"input_cost_per_token": 1e-6, "output_cost_per_token": 1e-6},
         "of a kind that nothing here reads"),
    ],
)  # fmt: skip
def test_what_stays_out_has_its_reason(args: tuple[str, ...], facts: dict[str, Any], reason: str) -> None:
    assert read_one(*args, **facts) is None
    assert why(*args, **facts) == [reason]


def test_what_is_in_has_no_reason_to_be_out() -> None:
    models = read_models(EXCERPT)
    out = {name for names in read_left_out(EXCERPT).values() for name in names}

    assert out
    assert out.isdisjoint(f"{provider}/{name}" for provider, entries in models.items() for name in entries)
