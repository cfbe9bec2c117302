"""Where litellm's file is wrong or silent, and the providers' own pages say otherwise. Rows with their reason."""

from decimal import Decimal
from typing import Any

_GPT_4 = {"max_output_tokens": 8192}
_BASE = {"max_output_tokens": 16384}
# The page lists one price for what is spoken; the file a second for text that these models do not write.
_SPOKEN = {"output_cost_per_token": Decimal("0.000012")}
# On the page since 2026-10-29; the file still has the prices of the nine days before.
_LARGE_4 = {
    "input_cost_per_token": Decimal("0.0000007"),
    "cache_read_input_token_cost": Decimal("0.00000007"),
    "output_cost_per_token": Decimal("0.0000021"),
}
# What these see has a price on the page; the file has it of one of them.
_NATIVE_AUDIO = {"input_cost_per_image_token": Decimal("0.000003")}

CORRECTIONS: dict[tuple[str, str], dict[str, Any]] = {
    ("openai", "gpt-4"): _GPT_4,
    ("openai", "gpt-4-0613"): _GPT_4,
    ("openai", "ft:gpt-4-0613"): _GPT_4,
    ("openai", "babbage-002"): _BASE,
    ("openai", "davinci-002"): _BASE,
    ("openai", "ft:babbage-002"): _BASE,
    ("openai", "ft:davinci-002"): _BASE,
    ("openai", "gpt-3.5-turbo-instruct"): {"max_input_tokens": 4096},
    ("openai", "gpt-3.5-turbo-instruct-0914"): {"max_input_tokens": 4096, "max_output_tokens": 4096},
    ("openai", "gpt-4o-mini-tts"): _SPOKEN,
    ("openai", "gpt-4o-mini-tts-2025-03-20"): _SPOKEN,
    ("openai", "gpt-4o-mini-tts-2025-12-15"): _SPOKEN,
    ("azure", "gpt-4o-mini-tts"): _SPOKEN,
    ("mistral", "mistral-large-4"): _LARGE_4,
    ("mistral", "mistral-large-4-0"): _LARGE_4,
    ("google", "gemini-live-2.5-flash-preview-native-audio-09-2025"): _NATIVE_AUDIO,
    ("google", "gemini-2.5-flash-native-audio-latest"): _NATIVE_AUDIO,
    ("google", "gemini-2.5-flash-native-audio-preview-09-2025"): _NATIVE_AUDIO,
    ("google", "gemini-2.5-flash-native-audio-preview-12-2025"): _NATIVE_AUDIO,
    # Azure's page prices a thousand tokens; the file takes it for one.
    ("azure", "jais-30b-chat"): {
        "input_cost_per_token": Decimal("0.0000032"),
        "output_cost_per_token": Decimal("0.00000971"),
    },
    # Rounded in the file; half of the input price, as for its sisters.
    ("groq", "openai/gpt-oss-safeguard-20b"): {"cache_read_input_token_cost": Decimal("0.0000000375")},
}

# Newer than the file; from the models' own pages, in its terms.
_FABLE_5_2: dict[str, Any] = {
    "litellm_provider": "anthropic",
    "mode": "chat",
    "input_cost_per_token": Decimal("0.000008"),
    "cache_read_input_token_cost": Decimal("0.0000002"),
    "cache_creation_input_token_cost": Decimal("0.00001"),
    "cache_creation_input_token_cost_above_1hr": Decimal("0.000016"),
    "output_cost_per_token": Decimal("0.00004"),
    "input_cost_per_token_batches": Decimal("0.000004"),
    "provider_specific_entry": {"us": Decimal("1.1"), "fast": 2},
    "max_input_tokens": 1_000_000,
    "max_output_tokens": 128_000,
    "supports_reasoning": True,
}
# Retired before either source began; the price is BricksLLM's table's (0.8 and 2.4 per million).
_INSTANT: dict[str, Any] = {
    "litellm_provider": "anthropic",
    "mode": "chat",
    "input_cost_per_token": Decimal("0.0000008"),
    "output_cost_per_token": Decimal("0.0000024"),
    "search_context_cost_per_query": None,
    "max_input_tokens": 100_000,
}
# Their prices are in `sizes.py`.
_IMAGES: dict[str, Any] = {"litellm_provider": "openai", "mode": "image_generation"}
ADDITIONS: dict[str, dict[str, Any]] = {
    "dall-e-2": _IMAGES,
    "dall-e-3": _IMAGES,
    "claude-fable-5-2": _FABLE_5_2,
    "claude-mythos-5-2": _FABLE_5_2,
    "claude-instant-1": _INSTANT,
    "claude-instant-1.2": _INSTANT,
}

# What a provider's page says of all its models, where the file does not say it of one.
DEFAULTS: dict[str, dict[str, Any]] = {"anthropic": {"search_context_cost_per_query": {"any": Decimal("0.01")}}}

# Published as free of charge. Anywhere else 0 is the file's way to say that it does not know.
FREE = frozenset({("openai", "omni-moderation-2024-09-26"), ("openai", "omni-moderation-latest")})
