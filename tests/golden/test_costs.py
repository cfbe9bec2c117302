"""The golden table of costs: usage as providers publish it, through the wire formats, to nano-USD by hand.

Every row says where its usage was published and does the sum in micro-USD: tokens times the USD per million of the
provider's own page. `ours` marks usage of which we found no published sample.
"""

from decimal import Decimal
from math import prod
from typing import Any, NamedTuple

import msgspec
import pytest

from proxy.core import pricing
from proxy.core.charging import charge
from proxy.wire import FORMATS
from shared.catalog import NO_PRICES, Catalog, load_catalog
from shared.usage import NO_UNITS, NO_USAGE, TokenUsage, UnitUsage

# 2026-11-21 12:00 UTC.
NOW_MS = 1_795_262_400_000


class Golden(NamedTuple):
    name: str
    provider: str
    model: str
    read_as: str
    """The wire format."""
    answer: dict[str, Any]
    """What the format reads of an answer: its usage, and its tier where that stands beside."""
    micro_usd: str
    """The sum, written out."""

    @property
    def nano_usd(self) -> Decimal:
        """The sum, done."""
        terms = [term.split(" x ") for term in self.micro_usd.split(" + ")]
        factors = [[Decimal(factor.replace("_", "")) for factor in term] for term in terms]
        return sum((prod(term) for term in factors), Decimal(0)) * 1000


def chat(prompt: int, completion: int, cached: int = 0, **more: Any) -> dict[str, Any]:
    details = {"prompt_tokens_details": {"cached_tokens": cached, **more.pop("prompt_details", {})}}
    total = {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}
    return {"usage": {**total, **details, **more.pop("details", {})}, **more}


# OpenAI, guide to prompt caching.
CACHING = chat(2006, 300, 1920)
# OpenAI, guide to reasoning.
REASONING = {
    "usage": {
        "input_tokens": 75,
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens": 1186,
        "output_tokens_details": {"reasoning_tokens": 1024},
        "total_tokens": 1261,
    }
}
# OpenAI, API reference of embeddings.
EMBEDDING = {"usage": {"prompt_tokens": 8, "total_tokens": 8}}
LIVES = {"ttl_12h_tokens": 900}
SPOKEN = {"completion_tokens_details": {"audio_tokens": 130}}
# Anthropic, guide to prompt caching: "Pride and Prejudice" written, then read.
BOOK = {"input_tokens": 21, "output_tokens": 393}
WRITTEN = {"usage": {**BOOK, "cache_creation_input_tokens": 188_086, "cache_read_input_tokens": 0}}
READ = {"usage": {**BOOK, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 188_086}}
# The same guide, cache of an hour. (Its total of 248 is not the sum of its parts, which count.)
BOTH_LIVES = {
    "usage": {
        "input_tokens": 2048,
        "cache_read_input_tokens": 1800,
        "cache_creation_input_tokens": 248,
        "output_tokens": 503,
        "cache_creation": {"ephemeral_5m_input_tokens": 456, "ephemeral_1h_input_tokens": 100},
    }
}
# Anthropic, web search tool.
SEARCHED = {
    "usage": {
        "input_tokens": 105,
        "output_tokens": 6039,
        "cache_read_input_tokens": 7123,
        "cache_creation_input_tokens": 7345,
        "server_tool_use": {"web_search_requests": 1},
    }
}
# Anthropic, service tiers; what the same answer says of a region or a speed is in the pages of those.
TIER = {"input_tokens": 410, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 0, "output_tokens": 585}


def tier(**facts: str) -> dict[str, Any]:
    return {"usage": {**TIER, **facts}}


TABLE = (
    Golden("cached", "openai", "gpt-5.4", "openai_chat", CACHING, "86 x 2.5 + 1920 x 0.25 + 300 x 15"),
    Golden("cached", "openai", "gpt-4o", "openai_chat", CACHING, "86 x 2.5 + 1920 x 1.25 + 300 x 10"),
    Golden("cached", "azure", "eu/gpt-4o", "openai_chat", CACHING, "86 x 2.75 + 1920 x 1.375 + 300 x 11"),
    Golden("reasoning", "openai", "gpt-5.4", "openai_responses", REASONING, "75 x 2.5 + 162 x 15 + 1024 x 15"),
    Golden("flex", "openai", "gpt-5.4", "openai_responses",
           {**REASONING, "service_tier": "flex"}, "75 x 1.25 + 1186 x 7.5"),
    Golden("priority", "openai", "gpt-5.4", "openai_responses",
           {**REASONING, "service_tier": "priority"}, "75 x 5 + 1186 x 30"),
    Golden("priority by its new name", "openai", "gpt-5.4", "openai_responses",
           {**REASONING, "service_tier": "fast"}, "75 x 5 + 1186 x 30"),
    Golden("batch", "openai", "gpt-5.4", "openai_responses",
           {**REASONING, "service_tier": "batch"}, "75 x 1.25 + 1186 x 7.5"),
    # ours: the prompt caching guide's sample with a prompt 200 times as long
    Golden("long prompt", "openai", "gpt-5.4", "openai_chat",
           chat(401_200, 300, 384_000), "17_200 x 5 + 384_000 x 0.5 + 300 x 22.5"),
    Golden("long prompt, flex", "openai", "gpt-5.4", "openai_chat",
           chat(401_200, 300, 384_000, service_tier="flex"), "17_200 x 2.5 + 384_000 x 0.25 + 300 x 11.25"),
    Golden("the longest short prompt", "openai", "gpt-5.4", "openai_chat", chat(272_000, 1), "272_000 x 2.5 + 15"),
    Golden("the shortest long prompt", "openai", "gpt-5.4", "openai_chat", chat(272_001, 1), "272_001 x 5 + 22.5"),
    # ours: one short-lived and one long-lived write
    Golden("cache write", "openai", "gpt-6.1-sol", "openai_chat",
           chat(2006, 300, 1000, prompt_details={"cache_write_tokens": 920}),
           "86 x 2 + 1000 x 0.1 + 920 x 2.5 + 300 x 10"),
    Golden("long cache write", "openai", "gpt-6.1-sol", "openai_chat",
           chat(2006, 300, 1000, prompt_details={"cache_write_tokens": 920, "cache_write_tokens_details": LIVES}),
           "86 x 2 + 1000 x 0.1 + 20 x 2.5 + 900 x 5 + 300 x 10"),
    # ours
    Golden("audio both ways", "openai", "gpt-audio", "openai_chat",
           chat(200, 150, prompt_details={"audio_tokens": 120}, details=SPOKEN),
           "80 x 2.5 + 120 x 32 + 20 x 10 + 130 x 64"),
    Golden("search on every call", "openai", "gpt-4o-search-preview", "openai_chat",
           chat(2006, 300), "2006 x 2.5 + 300 x 10 + 25_000"),
    Golden("fine-tuned", "openai", "ft:gpt-4o-mini-2024-07-18:acme::a1", "openai_chat",
           CACHING, "86 x 0.3 + 1920 x 0.15 + 300 x 1.2"),
    Golden("embeddings", "openai", "text-embedding-3-small", "openai_embeddings", EMBEDDING, "8 x 0.02"),
    Golden("embeddings", "openai", "text-embedding-ada-002", "openai_embeddings", EMBEDDING, "8 x 0.1"),
    Golden("old completions", "openai", "gpt-3.5-turbo-instruct", "openai_completions", chat(5, 7), "5 x 1.5 + 7 x 2"),
    Golden("cache write, 5 minutes", "anthropic", "claude-opus-4-8", "anthropic_messages",
           WRITTEN, "21 x 5 + 188_086 x 6.25 + 393 x 25"),
    Golden("cache read", "anthropic", "claude-opus-4-8", "anthropic_messages",
           READ, "21 x 5 + 188_086 x 0.5 + 393 x 25"),
    Golden("cache write, both lives", "anthropic", "claude-sonnet-4-5", "anthropic_messages",
           BOTH_LIVES, "2048 x 3 + 1800 x 0.3 + 456 x 3.75 + 100 x 6 + 503 x 15"),
    Golden("web search", "anthropic", "claude-opus-5-5", "anthropic_messages",
           SEARCHED, "105 x 4 + 7123 x 0.2 + 7345 x 5 + 6039 x 20 + 10_000"),
    Golden("standard", "anthropic", "claude-opus-5-5", "anthropic_messages",
           tier(service_tier="standard"), "410 x 4 + 585 x 20"),
    Golden("priority, bought in advance", "anthropic", "claude-opus-5-5", "anthropic_messages",
           tier(service_tier="priority"), "410 x 4 + 585 x 20"),
    Golden("batch", "anthropic", "claude-opus-5-5", "anthropic_messages",
           tier(service_tier="batch"), "410 x 2 + 585 x 10"),
    Golden("in the US", "anthropic", "claude-opus-5-5", "anthropic_messages",
           tier(service_tier="standard", inference_geo="us"), "410 x 4.4 + 585 x 22"),
    Golden("in the US, batch", "anthropic", "claude-opus-5-5", "anthropic_messages",
           tier(service_tier="batch", inference_geo="us"), "410 x 2.2 + 585 x 11"),
    Golden("anywhere", "anthropic", "claude-opus-5-5", "anthropic_messages",
           tier(service_tier="standard", inference_geo="global"), "410 x 4 + 585 x 20"),
    Golden("fast", "anthropic", "claude-opus-5-5", "anthropic_messages",
           tier(service_tier="standard", speed="fast"), "410 x 8 + 585 x 40"),
    Golden("fast in the US", "anthropic", "claude-opus-5-5", "anthropic_messages",
           tier(service_tier="standard", speed="fast", inference_geo="us"), "410 x 8.8 + 585 x 44"),
    Golden("long prompt, written", "anthropic", "claude-haiku-5-5", "anthropic_messages",
           WRITTEN, "21 x 0.5 + 188_086 x 0.625 + 393 x 2.5"),
    Golden("long prompt, read", "anthropic", "claude-haiku-5-5", "anthropic_messages",
           READ, "21 x 0.5 + 188_086 x 0.05 + 393 x 2.5"),
    Golden("in a geography", "bedrock", "us.anthropic.claude-sonnet-4-5-20250929-v1:0", "anthropic_messages",
           tier(), "410 x 3.3 + 585 x 16.5"),
    Golden("anywhere", "bedrock", "global.anthropic.claude-sonnet-4-5-20250929-v1:0", "anthropic_messages",
           tier(), "410 x 3 + 585 x 15"),
    # Anthropic's pages of models that have retired since: the same sample at $3 and $15, $3.75 for what was written
    Golden("Claude 3.7, cache write", "anthropic", "claude-3-7-sonnet-20250219", "anthropic_messages",
           WRITTEN, "21 x 3 + 188_086 x 3.75 + 393 x 15"),
    Golden("Claude 3", "anthropic", "claude-3-haiku-20240307", "anthropic_messages", tier(), "410 x 0.25 + 585 x 1.25"),
    Golden("an alias of Opus 4", "anthropic", "claude-opus-4-0", "anthropic_messages", tier(), "410 x 15 + 585 x 75"),
    # xAI, guide to prompt caching
    Golden("cached", "xai", "grok-4.7", "openai_chat", chat(125, 48, 98), "27 x 2 + 98 x 0.5 + 48 x 6"),
    Golden("exactly 200,000 is long", "xai", "grok-4.7", "openai_chat", chat(200_000, 48), "200_000 x 4 + 48 x 12"),
    # Groq, API reference
    Golden("plain", "groq", "openai/gpt-oss-20b", "openai_chat", chat(18, 556), "18 x 0.075 + 556 x 0.3"),
    # ours, for providers whose samples we found none of
    Golden("plain", "deepseek", "deepseek-v4-pro", "openai_chat",
           chat(1000, 100, 800), "200 x 1.32 + 800 x 0.044 + 100 x 3.96"),
    Golden("plain", "mistral", "mistral-large-4", "openai_chat",
           chat(1000, 100, 800), "200 x 0.7 + 800 x 0.07 + 100 x 2.1"),
    Golden("plain", "deepinfra", "deepseek-ai/DeepSeek-V3.1", "openai_chat",
           chat(1000, 100, 800), "200 x 0.25 + 800 x 0.216 + 100 x 0.95"),
)  # fmt: skip


@pytest.fixture(scope="module")
def shipped() -> Catalog:
    return load_catalog()


@pytest.mark.parametrize("row", TABLE, ids=lambda row: f"{row.provider} {row.model} {row.name}")
def test_published_usage_costs_what_the_price_list_makes_of_it(shipped: Catalog, row: Golden) -> None:
    answer = FORMATS[row.read_as].read_answer(msgspec.json.encode(row.answer))
    price = shipped.price(row.provider, row.model, NOW_MS)
    assert answer.usage is not None, answer.why_no_usage
    assert price is not None

    assert price.covers(answer.usage, answer.units)
    assert pricing.cost(answer.usage, price, answer.service_tier, answer.units) == row.nano_usd


# Answers that no wire format reads yet.
@pytest.mark.parametrize(
    ("provider", "model", "usage", "units", "nano"),
    [
        # OpenAI, API reference of transcriptions: 14 tokens heard, 45 written
        ("openai", "gpt-4o-transcribe", TokenUsage(audio_input=14, output=45), NO_UNITS, 14 * 2_500 + 45 * 10_000),
        # the same page, whisper-1: 9 seconds at $0.006 a minute
        ("openai", "whisper-1", TokenUsage(), UnitUsage(input_audio_ms=9_000), 900_000),
        # Groq, whisper-large-v3: 10 seconds at $0.111 an hour are 308,333.3
        ("groq", "whisper-large-v3", TokenUsage(), UnitUsage(input_audio_ms=10_000), 308_333),
        # tts-1: $15 per million characters
        ("openai", "tts-1", TokenUsage(), UnitUsage(input_characters=46), 690_000),
        # Black Forest Labs on Azure: 3 images at $0.04
        ("azure", "FLUX-1.1-pro", TokenUsage(), UnitUsage(output_images=3), 3 * 40_000_000),
        # xAI: 2 images at $0.02
        ("xai", "grok-imagine-image", TokenUsage(), UnitUsage(output_images=2), 2 * 20_000_000),
        # Mistral: 29 pages at $4 a thousand
        ("mistral", "mistral-ocr-latest", TokenUsage(), UnitUsage(pages=29), 29 * 4_000_000),
        # OpenAI: half a minute at $0.034 a minute
        ("openai", "gpt-realtime-translate", TokenUsage(), UnitUsage(input_audio_ms=30_000), 17_000_000),
        # Google's guide to thinking: 34 in, 418 written and 438 thought; one search besides
        (
            "google", "gemini-3-flash-preview", TokenUsage(input=34, output=418, reasoning=438), UnitUsage(searches=1),
            34 * 500 + (418 + 438) * 3_000 + 14_000_000,
        ),
        # Bedrock: a picture and half a minute of sound, at $0.00006 and $0.00014 a second
        (
            "bedrock", "amazon.nova-2-multimodal-embeddings-v1:0", TokenUsage(input=10),
            UnitUsage(input_images=1, input_audio_ms=30_000), 10 * 135 + 60_000 + 4_200_000,
        ),
    ],
)  # fmt: skip
def test_what_is_billed_by_the_piece_costs_what_is_published(
    shipped: Catalog, provider: str, model: str, usage: TokenUsage, units: UnitUsage, nano: int
) -> None:
    price = shipped.price(provider, model, NOW_MS)
    assert price is not None

    assert price.covers(usage, units)
    assert pricing.cost(usage, price, "", units) == nano


@pytest.mark.parametrize(
    ("provider", "model", "usage", "units"),
    [
        # OpenAI, API reference of images: 10 tokens of text and 40 of an image read, 4,160 written
        ("openai", "gpt-image-1", TokenUsage(input=50, output=4_160), NO_UNITS),
        ("openai", "gpt-realtime", TokenUsage(input=119, cached_input=64, output=30, audio_output=91), NO_UNITS),
        ("google", "gemini-2.5-flash-image", TokenUsage(input=7, output=1_290), NO_UNITS),
        ("google", "gemini-3.8-live", TokenUsage(input=10, audio_input=50), UnitUsage(searches=1)),
        ("azure", "gpt-4o-realtime-preview-2024-10-01", TokenUsage(cached_input=9), NO_UNITS),
        ("openai", "dall-e-3", NO_USAGE, UnitUsage(output_images=1)),
        ("bedrock", "amazon.nova-canvas-v1:0", NO_USAGE, UnitUsage(output_images=2)),
        ("xai", "grok-imagine-image-2.0", TokenUsage(input=5), UnitUsage(output_images=1)),
    ],
)
def test_what_is_held_and_not_counted_costs_an_unknown_amount_never_nothing(
    shipped: Catalog, provider: str, model: str, usage: TokenUsage, units: UnitUsage
) -> None:
    price = shipped.price(provider, model, NOW_MS)
    assert price is not None
    charged = charge(price, False, usage, NO_USAGE, ("",), units)

    assert (charged.list_nano, charged.charged_nano) == (None, None)
    # Keys with a cost limit are refused it, as any model without a price.
    assert pricing.price_for(shipped, NO_PRICES, provider, None, model, NOW_MS) is None


def test_every_provider_of_the_catalogue_is_in_the_table(shipped: Catalog) -> None:
    assert {row.provider for row in TABLE} | {"google"} == set(shipped.providers())
