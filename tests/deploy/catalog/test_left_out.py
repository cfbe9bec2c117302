"""What is billed by the piece is taken where one price is true of every call; all else is left out, with a reason."""

from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest

from deploy.catalog.left_out import CACHED_AUDIO, IMAGE_TOKENS, ONE_SIZE, UNKNOWN, VIDEO
from deploy.catalog.litellm import read_left_out, read_models
from shared.price_entries import PriceRow

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


def test_live_models_are_taken_where_one_class_holds_all_that_is_cached() -> None:
    spoken = {"input_cost_per_audio_token": 1e-5, "output_cost_per_audio_token": 2e-5}
    row = read_one("realtime", **REALTIME, **spoken, cache_read_input_audio_token_cost=3e-7)

    assert row is not None
    assert row.classes["audio_output"] == Decimal(20)
    assert read_one("realtime", **REALTIME, **spoken, cache_read_input_audio_token_cost=6e-8) is None


@pytest.mark.parametrize(
    ("args", "facts", "reason"),
    [
        (("image_generation",), {"input_cost_per_token": 5e-6, "output_cost_per_image_token": 4e-5}, IMAGE_TOKENS),
        (("realtime",), {**REALTIME, "input_cost_per_image_token": 8e-7}, IMAGE_TOKENS),
        (("realtime",), {**REALTIME, "cache_read_input_audio_token_cost": 6e-8}, CACHED_AUDIO),
        (("image_generation", "low/1024-x-1024/m"), {"input_cost_per_image": 0.01}, ONE_SIZE),
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
