"""Reads litellm's price file (MIT) into entries of our catalogue: OpenAI's models that are billed by the token.

The file names a price `<what>_cost_per_token[_above_<n>k_tokens][_<tier>]`, in USD per token. Left out: what no token
class of ours stands for (images, seconds, storage), batch prices (no endpoint here is billed by them), and writes to a
cache that lasts over 12 hours (the chat API writes only the short one).
"""

import re
import zipfile
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec

from shared.catalog import Amounts, LongPrompts, ModelEntry, PriceRow, TokenClass

IN_WHEEL = "litellm/model_prices_and_context_window_backup.json"
PROVIDERS = frozenset({"openai", "text-completion-openai"})
MODES = frozenset({"chat", "responses", "completion"})
TIERS = ("flex", "priority", "ultrafast")

CLASS_FIELDS: dict[TokenClass, str] = {
    "input": "input_cost_per_token",
    "cached_input": "cache_read_input_token_cost",
    # OpenAI's one kind of cache write; it lasts 30 minutes at least. Ours is named after Anthropic's short one.
    "cache_write_5m": "cache_creation_input_token_cost",
    "audio_input": "input_cost_per_audio_token",
    "output": "output_cost_per_token",
    "reasoning": "output_cost_per_reasoning_token",
    "audio_output": "output_cost_per_audio_token",
}

# Where the file is wrong; OpenAI's model and pricing pages say otherwise.
CORRECTIONS: dict[str, dict[str, Any]] = {
    "gpt-4": {"max_output_tokens": 8192},
    "gpt-4-0613": {"max_output_tokens": 8192},
    "ft:gpt-4-0613": {"max_output_tokens": 8192},
    "babbage-002": {"max_output_tokens": 16384},
    "davinci-002": {"max_output_tokens": 16384},
    "ft:babbage-002": {"max_output_tokens": 16384},
    "ft:davinci-002": {"max_output_tokens": 16384},
    "gpt-3.5-turbo-instruct": {"max_input_tokens": 4096},
    "gpt-3.5-turbo-instruct-0914": {"max_input_tokens": 4096, "max_output_tokens": 4096},
    # The price of reading the cache, entered as that of writing it; its elder sister has it right.
    "ft:gpt-4o-2024-11-20": {
        "cache_read_input_token_cost": Decimal("0.000001875"),
        "cache_creation_input_token_cost": None,
    },
}

_LONG = re.compile(r"input_cost_per_token_above_(\d+)k_tokens")
_decoder = msgspec.json.Decoder(dict[str, dict[str, Any]], float_hook=Decimal)


def read_source(path: Path) -> tuple[bytes, str]:
    """The price file's bytes, from a wheel or as it is, and what to call the source."""
    if path.suffix != ".whl":
        return path.read_bytes(), path.name
    with zipfile.ZipFile(path) as wheel:
        return wheel.read(IN_WHEEL), " ".join(path.name.split("-")[:2])


def read_models(content: bytes) -> dict[str, ModelEntry]:
    """Entries by model name. A model without both an input and an output price is left out: unknown, not free."""
    models: dict[str, ModelEntry] = {}
    for name, listed in _decoder.decode(content).items():
        facts = {**listed, **CORRECTIONS.get(name, {})}
        if facts.get("litellm_provider") not in PROVIDERS or facts.get("mode") not in MODES or "/" in name:
            continue
        classes = _amounts(facts, "")
        if not {"input", "output"} <= classes.keys():
            continue
        models[name] = ModelEntry(
            prices=(
                PriceRow(
                    classes=classes,
                    tiers=_tiers(facts, ""),
                    above=tuple(
                        LongPrompts(
                            input_tokens=thousands * 1000,
                            classes=_amounts(facts, f"_above_{thousands}k_tokens"),
                            tiers=_tiers(facts, f"_above_{thousands}k_tokens"),
                        )
                        for thousands in _thresholds(facts)
                    ),
                    call=_per_call(name, facts),
                ),
            ),
            max_input=facts.get("max_input_tokens"),
            max_output=facts.get("max_output_tokens"),
            is_reasoning=bool(facts.get("supports_reasoning")),
        )
    return models


def _thresholds(facts: dict[str, Any]) -> list[int]:
    return sorted({int(found.group(1)) for field in facts if (found := _LONG.fullmatch(field))})


def _amounts(facts: dict[str, Any], suffix: str) -> Amounts:
    """Prices per million tokens of the fields with this suffix. 0 is the file's way to say that it does not know."""
    found: Amounts = {}
    for name, field in CLASS_FIELDS.items():
        amount = facts.get(field + suffix)
        if amount:
            found[name] = _plain(Decimal(amount) * 1_000_000)
    return found


def _tiers(facts: dict[str, Any], suffix: str) -> dict[str, Amounts]:
    tiers = {tier: _amounts(facts, f"{suffix}_{tier}") for tier in TIERS}
    return {tier: amounts for tier, amounts in tiers.items() if amounts}


def _per_call(name: str, facts: dict[str, Any]) -> Decimal | None:
    """The search models look something up on every call, and each look-up has a price."""
    if "-search-" not in name:
        return None
    return _plain(max(Decimal(str(usd)) for usd in facts["search_context_cost_per_query"].values()))


def _plain(amount: Decimal) -> Decimal:
    """The same amount as people write it: no exponent, no trailing zeros."""
    return Decimal(f"{amount.normalize():f}")
