"""Reads litellm's price file (MIT) into entries of our catalogue, by provider.

The file names a price `<what>_cost_per_<unit>[_above_<n>k_tokens][_<tier>]`, in USD. Taken are models that answer
chats, completions, responses, embeddings and moderations, speech both ways and live, that make images and read
pages. What stays out, and why, is in `left_out.py`.
"""

import re
import zipfile
from collections.abc import Container, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from deploy.catalog.corrections import ADDITIONS, CORRECTIONS, DEFAULTS, FREE
from deploy.catalog.left_out import IMAGE_MODES, ROWS, UNPRICED, why_not
from deploy.catalog.multipliers import multiplied_tiers
from deploy.catalog.regions import with_regional_prices
from deploy.catalog.sizes import SIZES, read_sized
from shared.catalog import Entries
from shared.price_entries import (
    Amounts,
    HeldClass,
    LongPrompts,
    ModelEntry,
    PriceRow,
    TokenClass,
    Unit,
    UnitAmounts,
)

IN_WHEEL = "litellm/model_prices_and_context_window_backup.json"
SPEECH_MODES = frozenset({"audio_transcription", "audio_speech"})
PIECE_MODES = IMAGE_MODES | {"ocr", "realtime"}
MODES = frozenset({"chat", "responses", "completion", "embedding", "moderation"}) | SPEECH_MODES | PIECE_MODES
NO_OUTPUT_MODES = frozenset({"embedding", "moderation"})
TIERS = {"flex": "flex", "priority": "priority", "ultrafast": "ultrafast", "batch": "batches"}
"""Our name of a tier -> how the file's fields end."""


class Source(NamedTuple):
    """Where a provider's models are in the file."""

    provider: str
    prefixes: tuple[str, ...] = ()
    """What stands before a model's name and is not part of it."""


# Of two rows with one name the one from the earlier source counts.
SOURCES = {
    "openai": Source("openai"),
    "text-completion-openai": Source("openai"),
    "anthropic": Source("anthropic"),
    "azure": Source("azure", ("azure/",)),
    "azure_text": Source("azure", ("azure/",)),
    "azure_ai": Source("azure", ("azure_ai/",)),
    "bedrock_converse": Source("bedrock", ("bedrock/",)),
    "bedrock": Source("bedrock", ("bedrock/",)),
    "bedrock_mantle": Source("bedrock", ("bedrock_mantle/",)),
    "deepinfra": Source("deepinfra", ("deepinfra/",)),
    "mistral": Source("mistral", ("mistral/",)),
    "groq": Source("groq", ("groq/",)),
    "gemini": Source("google", ("gemini/",)),
    "deepseek": Source("deepseek", ("deepseek/",)),
    "xai": Source("xai", ("xai/",)),
}
# Capacity by the hour, routes of litellm's own, and ids that AWS does not have.
_NOT_A_NAME = re.compile(
    r"^azure/container$|^openai/container$|^bedrock/(.*commitment/|invoke/|(us-gov-[a-z]+-1/)?claude-)"
)
# xAI prices from 200k tokens on, others above so many.
_INCLUSIVE = frozenset({"xai"})

CLASS_FIELDS: dict[TokenClass, tuple[str, ...]] = {
    "input": ("input_cost_per_token",),
    "cached_input": ("cache_read_input_token_cost", "input_cost_per_token_cache_hit"),
    # Short-lived and long-lived writes, named after Anthropic's. OpenAI's live 30 minutes or 12 hours.
    "cache_write_5m": ("cache_creation_input_token_cost",),
    "cache_write_1h": (
        "cache_creation_input_token_cost_above_1hr",
        "cache_creation_input_token_cost_above_12hr",
    ),
    "audio_input": ("input_cost_per_audio_token",),
    "output": ("output_cost_per_token",),
    "reasoning": ("output_cost_per_reasoning_token",),
    "audio_output": ("output_cost_per_audio_token",),
}
# Read of models that make images or talk live; no other's usage could hold such tokens.
HELD_FIELDS: dict[HeldClass, tuple[str, ...]] = {
    # The file's older rows have the price of cached audio under the name of what writes it.
    "cached_audio_input": ("cache_read_input_audio_token_cost", "cache_creation_input_audio_token_cost"),
    "image_input": ("input_cost_per_image_token", "input_cost_per_video_token"),
    "cached_image_input": ("cache_read_input_image_token_cost",),
    "image_output": ("output_cost_per_image_token",),
}
_SAME_AS: dict[HeldClass, TokenClass] = {
    "cached_audio_input": "cached_input",
    "image_input": "input",
    "cached_image_input": "cached_input",
    "image_output": "output",
}
UNIT_FIELDS: dict[str, Unit] = {
    "input_cost_per_image": "input_image",
    "input_cost_per_character": "input_character",
    "output_cost_per_character": "output_character",
}
HOUR_FIELDS: dict[str, Unit] = {
    "input_cost_per_audio_per_second": "input_audio_hour",
    "input_cost_per_video_per_second": "input_video_hour",
}
# Whole models billed by the second. `output_cost_per_second` repeats the price, so that both together would be double.
TRANSCRIBED = "input_cost_per_second"

_LONG = re.compile(r"input_cost_per_token_above_(\d+)k_tokens")
_decoder = msgspec.json.Decoder(dict[str, dict[str, Any]], float_hook=Decimal)


def read_source(path: Path) -> tuple[bytes, str]:
    """The price file's bytes, from a wheel or as it is, and what to call the source."""
    if path.suffix != ".whl":
        return path.read_bytes(), path.name
    with zipfile.ZipFile(path) as wheel:
        return wheel.read(IN_WHEEL), " ".join(path.name.split("-")[:2])


def read_models(content: bytes) -> Entries:
    """Entries by provider and model. A model whose price the file does not tell is left out: unknown, not free."""
    found: Entries = {}
    for provider, name, facts in _listed(content):
        row = None if _NOT_A_NAME.search(f"{provider}/{name}") else _row(provider, name, facts)
        if row is not None:
            found.setdefault(provider, {}).setdefault(name, row)
    for (provider, name), sizes in _sizes(content, found).items():
        found.setdefault(provider, {})[name] = ModelEntry(prices=(PriceRow(sizes={"output_image": sizes}),))
    if "bedrock" in found:
        found["bedrock"] = with_regional_prices(found["bedrock"])
    return found


def read_left_out(content: bytes) -> dict[str, list[str]]:
    """The models of our providers that `read_models` does not give, as `<provider>/<model>`, by the reason."""
    found, reasons = read_models(content), dict[str, list[str]]()
    for provider, name, facts in _listed(content):
        sized = read_sized(name, facts)
        model = found.get(provider, {}).get(name if sized is None else sized.model)
        if model is None or (sized is not None and not model.prices[0].sizes):
            full = f"{provider}/{name}"
            own = why_not(ROWS, full, facts) if facts.get("mode") in PIECE_MODES and (model or not sized) else ""
            reasons.setdefault(own or why_not(UNPRICED, full, facts), []).append(full)
    return reasons


def _sizes(content: bytes, found: Entries) -> dict[tuple[str, str], dict[str, Decimal]]:
    """Of models that have no other price: those whose sizes we know, and those that the file has by the size."""
    sizes: dict[tuple[str, str], dict[str, Decimal]] = {}
    for provider, name, facts in _listed(content):
        if (provider, name) in SIZES:
            sizes[provider, name] = SIZES[provider, name]
        sized = read_sized(name, facts)
        if sized is None or not sized.usd or sized.model in found.get(provider, {}):
            continue
        if (provider, sized.model) not in SIZES:
            sizes.setdefault((provider, sized.model), {})[sized.size] = plain(sized.usd)
    return sizes


def _listed(content: bytes) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """(provider, model, what is said of it) of every row of our providers, corrected; the earlier source first."""
    listed = {**ADDITIONS, **_decoder.decode(content)}
    for theirs, source in SOURCES.items():
        for full_name, facts in listed.items():
            if facts.get("litellm_provider") == theirs:
                name = _name(full_name, source)
                corrected = CORRECTIONS.get((source.provider, name), {})
                yield source.provider, name, {**DEFAULTS.get(source.provider, {}), **facts, **corrected}


def _name(full_name: str, source: Source) -> str:
    for prefix in source.prefixes:
        if full_name.startswith(prefix):
            return full_name.removeprefix(prefix)
    return full_name


def _row(provider: str, name: str, facts: dict[str, Any]) -> ModelEntry | None:
    mode = facts.get("mode")
    if mode not in MODES or (mode in PIECE_MODES and why_not(ROWS, f"{provider}/{name}", facts)):
        return None
    classes = _classes(provider, name, facts)
    by_token = bool(classes)
    units = _units(provider, name, facts, by_token=by_token)
    if not classes and not units:
        return None
    tiers = _tiers(provider, facts, "") if by_token else {}
    row = PriceRow(
        classes=classes,
        tiers=tiers,
        above=tuple(_long(provider, facts, thousands, tiers) for thousands in _thresholds(facts)) if by_token else (),
        units=units,
        call=_per_call(name, facts),
    )
    return ModelEntry(
        prices=(row,),
        max_input=_count(facts, "max_input_tokens"),
        max_output=None if facts["mode"] in NO_OUTPUT_MODES else _count(facts, "max_output_tokens"),
        is_reasoning=bool(facts.get("supports_reasoning")),
    )


def _classes(provider: str, name: str, facts: dict[str, Any]) -> Amounts:
    """The standard prices; empty when the file does not tell both directions, where there are two."""
    classes = _amounts(facts, "")
    if (provider, name) in FREE:
        return {"input": Decimal(0), "output": Decimal(0)}
    if facts["mode"] in NO_OUTPUT_MODES and "input" in classes:
        classes.setdefault("output", Decimal(0))
    return classes if "input" in classes and {"output", "image_output"} & classes.keys() else {}


def _long(provider: str, facts: dict[str, Any], thousands: int, known: Container[str]) -> LongPrompts:
    """Of the tiers only those that short prompts have a price in: a longer one is never the cheaper one."""
    suffix = f"_above_{thousands}k_tokens"
    tiers = _tiers(provider, facts, suffix)
    return LongPrompts(
        input_tokens=thousands * 1000 - (provider in _INCLUSIVE),
        classes=_amounts(facts, suffix),
        tiers={tier: amounts for tier, amounts in tiers.items() if tier in known},
    )


def _thresholds(facts: dict[str, Any]) -> list[int]:
    return sorted({int(found.group(1)) for field in facts if (found := _LONG.fullmatch(field))})


def _amounts(facts: dict[str, Any], suffix: str) -> Amounts:
    """Prices per million tokens of the fields with this suffix. 0 is the file's way to say that it does not know."""
    found: Amounts = {}
    for name, fields in CLASS_FIELDS.items():
        amount = next((facts[field + suffix] for field in fields if facts.get(field + suffix)), None)
        if amount:
            found[name] = plain(Decimal(amount) * 1_000_000)
    written, full = found.get("cache_write_5m"), found.get("input")
    if written is not None and full is not None and written < full:
        # No provider writes to a cache for less than it reads a prompt: the price of the cache's reads, misplaced.
        found.setdefault("cached_input", found.pop("cache_write_5m"))
    if found.get("reasoning") == found.get("output"):
        found.pop("reasoning", None)  # tiers that do not tell it again would keep the standard price
    return {**found, **_held(facts, suffix, found)} if facts["mode"] in PIECE_MODES else found


def _held(facts: dict[str, Any], suffix: str, counted: Amounts) -> Amounts:
    """Prices of tokens that we cannot tell apart, where they differ from what those would be taken for."""
    found: Amounts = {}
    for name, fields in HELD_FIELDS.items():
        amount = next((facts[field + suffix] for field in fields if facts.get(field + suffix)), None)
        usd = plain(Decimal(amount) * 1_000_000) if amount else None
        if usd is not None and usd != counted.get(_SAME_AS[name]):
            found[name] = usd
    return found


def _tiers(provider: str, facts: dict[str, Any], suffix: str) -> dict[str, Amounts]:
    tiers = {tier: _amounts(facts, f"{suffix}_{ending}") for tier, ending in TIERS.items()}
    listed = {tier: amounts for tier, amounts in tiers.items() if amounts}
    return multiplied_tiers(provider, facts, _amounts(facts, suffix), listed)


def _units(provider: str, name: str, facts: dict[str, Any], *, by_token: bool) -> UnitAmounts:
    """What is billed by the piece: all of it, or what comes on top of tokens."""
    found: UnitAmounts = {}
    if facts["mode"] in SPEECH_MODES:
        # Priced by the token these carry a price by the second too, for orientation.
        if not by_token and facts.get(TRANSCRIBED):
            found["input_audio_hour"] = by_the_hour(facts[TRANSCRIBED])
        if not by_token and facts.get("input_cost_per_character"):
            found["input_character"] = plain(Decimal(facts["input_cost_per_character"]))
        return found
    if facts["mode"] in PIECE_MODES and not by_token:
        return _pieces(facts)
    if facts["mode"] == "embedding":
        found.update({unit: plain(Decimal(facts[field])) for field, unit in UNIT_FIELDS.items() if facts.get(field)})
        found.update({unit: by_the_hour(facts[field]) for field, unit in HOUR_FIELDS.items() if facts.get(field)})
        return found
    search = facts.get("search_context_cost_per_query")
    if by_token and search and _per_call(name, facts) is None:
        found["search"] = _dearest_search(search)
    return found


def _pieces(facts: dict[str, Any]) -> UnitAmounts:
    """Of models that are billed by nothing else. The file calls an image's price that of one read, or of one made."""
    if facts["mode"] in IMAGE_MODES:
        image = facts.get("output_cost_per_image") or facts.get("input_cost_per_image")
        return {"output_image": plain(Decimal(image))} if image else {}
    if facts["mode"] == "ocr":
        return {"page": plain(Decimal(facts["ocr_cost_per_page"]))} if facts.get("ocr_cost_per_page") else {}
    return {"input_audio_hour": by_the_hour(facts[TRANSCRIBED])} if facts.get(TRANSCRIBED) else {}


def _dearest_search(search: dict[str, Any]) -> Decimal:
    return plain(max(Decimal(str(usd)) for usd in search.values()))


def _per_call(name: str, facts: dict[str, Any]) -> Decimal | None:
    """The search models look something up on every call, and each look-up has a price."""
    if "-search-" not in name or facts["mode"] in IMAGE_MODES:
        return None
    return _dearest_search(facts["search_context_cost_per_query"])


def _count(facts: dict[str, Any], field: str) -> int | None:
    value = facts.get(field)
    return int(value) if isinstance(value, int | Decimal) and value > 0 else None


def by_the_hour(usd_per_second: Decimal | int) -> Decimal:
    """Speech is sold by the minute or the hour; the file rounds to a second. A whole $0.001 is what was meant."""
    usd = Decimal(usd_per_second) * 3600
    published = usd.quantize(Decimal("0.001"))
    return plain(published if abs(usd - published) <= usd / 2000 else usd.quantize(Decimal("0.000000001")))


def plain(amount: Decimal) -> Decimal:
    """The same amount as people write it: no exponent, no trailing zeros."""
    return Decimal(f"{amount.normalize():f}")
