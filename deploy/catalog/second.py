"""Models that only the second source lists: older ones, mostly, that the first has dropped and providers still name.

It finds models by rules ("starts with"), of which only whole names are taken. What a provider calls those that it
gives no whole name of is written down here, where a person has looked it up.
"""

from collections.abc import Iterator
from datetime import date
from decimal import Decimal
from typing import Any, cast

from deploy.catalog.genai import THEIR_KEYS, THEIR_PROVIDERS, GenaiPrices, facts_on
from deploy.catalog.history import STANDARD
from deploy.catalog.left_out import NOT_READ, UNKNOWN, VIDEO_TOKENS, why_not_second
from shared.catalog import Entries
from shared.price_entries import Amounts, HeldClass, LongPrompts, ModelEntry, PriceRow, TokenClass, UnitAmounts

_CLAUDE_3 = ("anthropic.{}", "us.anthropic.{}", "eu.anthropic.{}", "apac.anthropic.{}")
NAMES: dict[tuple[str, str], tuple[str, ...]] = {
    ("anthropic", "claude-2"): ("claude-2.0", "claude-2.1"),
    ("anthropic", "claude-3-haiku"): ("claude-3-haiku-20240307",),
    ("anthropic", "claude-3-sonnet"): ("claude-3-sonnet-20240229",),
    ("anthropic", "claude-3-opus-latest"): ("claude-3-opus-20240229",),
    ("anthropic", "claude-3-5-haiku-latest"): ("claude-3-5-haiku-20241022",),
    ("anthropic", "claude-3-5-sonnet"): (
        "claude-3-5-sonnet-20240620",
        "claude-3-5-sonnet-20241022",
        "claude-3-5-sonnet-latest",
    ),
    ("anthropic", "claude-3-7-sonnet-latest"): ("claude-3-7-sonnet-20250219",),
    ("anthropic", "claude-opus-4-1"): ("claude-opus-4-1-20250805",),
    ("anthropic", "claude-sonnet-4-0"): ("claude-sonnet-4-20250514",),
    ("openai", "gpt-4.5-preview"): ("gpt-4.5-preview-2025-02-27",),
    ("bedrock", "regional.anthropic.claude-3-haiku-20240307-v1:0"): tuple(
        scope.format("claude-3-haiku-20240307-v1:0") for scope in _CLAUDE_3
    ),
    ("bedrock", "regional.anthropic.claude-3-sonnet-20240229-v1:0"): tuple(
        scope.format("claude-3-sonnet-20240229-v1:0") for scope in _CLAUDE_3
    ),
    ("bedrock", "regional.moonshotai.kimi-k3.1"): ("us.moonshotai.kimi-k3.1", "in.moonshotai.kimi-k3.1"),
}
_READ = frozenset(THEIR_KEYS.values())
# Class -> how they call it, and what costs the same where they list nothing of its own.
_HELD: dict[HeldClass, tuple[str, str]] = {
    "cached_audio_input": ("cache_audio_read_mtok", "cache_read_mtok"),
    "image_input": ("input_image_mtok", "input_mtok"),
    "cached_image_input": ("cache_image_read_mtok", "cache_read_mtok"),
    "image_output": ("output_image_mtok", "output_mtok"),
}
# Beside tokens: a price of what no call of ours asks for.
_IGNORED = frozenset({"input_annotated_document_kpages"})
_THOUSANDS = {"web_searches_kcount": "search", "input_document_kpages": "page"}


def only_theirs(ours: Entries, other: GenaiPrices, day: date) -> tuple[Entries, dict[str, list[str]]]:
    """Entries that `ours` lack, and what stays out: reason -> `<provider>/<name>`."""
    found: Entries = {}
    reasons: dict[str, list[str]] = {}
    for provider in THEIR_PROVIDERS:
        known = {name.lower() for name in ours.get(provider, {})}
        for model in other.models(provider):
            for name in _names(provider, model):
                if name.lower() in known or other.find(provider, name) is not model:
                    continue
                known.add(name.lower())
                reason = why_not_second(f"{provider}/{name}")
                row = reason or _row(model, day)
                if isinstance(row, str):
                    reasons.setdefault(row, []).append(f"{provider}/{name}")
                else:
                    limit = model.context_window
                    found.setdefault(provider, {})[name] = ModelEntry(prices=(row,), max_input=limit)
    return found, reasons


def _names(provider: str, model: Any) -> Iterator[str]:
    yield model.id
    yield from NAMES.get((provider, model.id), ())
    clauses: list[Any] = getattr(model.match, "or_", None) or [model.match]
    yield from (clause.equals for clause in clauses if hasattr(clause, "equals"))


def _row(model: Any, day: date) -> PriceRow | str:
    """Today's prices; or why it has none here. Days and tiers are added where those of all models are."""
    facts = {fact: usd for fact, usd in facts_on(model, day).items() if fact[0] == STANDARD}
    listed = {key: price for key, price in _prices(model, day).items() if price is not None}
    video = listed.pop("input_video_mtok", None)
    if "output_video_mtok" in listed or (video is not None and video != listed.get("input_image_mtok", video)):
        return VIDEO_TOKENS
    if video is not None:
        listed["input_image_mtok"] = video  # frames are images
    held = _take_held(listed)
    if listed.keys() - _READ - _IGNORED - _THOUSANDS.keys():
        return NOT_READ
    units = cast(UnitAmounts, {unit: _plain(listed[key] / 1000) for key, unit in _THOUSANDS.items() if key in listed})
    if not facts and units:
        return PriceRow(units=units)
    classes = _of(facts, 0)
    if not {"input", "output"} <= classes.keys() or not all(classes.values()):
        return UNKNOWN
    lengths = sorted({above for _, above, _ in facts if above})
    if any(not {"input", "output"} <= _of(facts, above).keys() for above in lengths):
        return UNKNOWN
    long = tuple(LongPrompts(input_tokens=above, classes=_of(facts, above)) for above in lengths)
    return PriceRow(classes={**classes, **held}, above=long, units=units)


def _take_held(listed: dict[str, Any]) -> Amounts:
    """What costs something else than it would be taken for; all of _HELD is gone from `listed` then."""
    found: Amounts = {}
    for name, (key, near) in _HELD.items():
        usd = listed.pop(key, None)
        if usd is not None and usd != listed.get(near):
            found[name] = _plain(usd)
    return found


def _prices(model: Any, day: date) -> dict[str, Any]:
    return model.get_prices(GenaiPrices.moment(day)).__dict__


def _of(facts: dict[tuple[str, int, str], Decimal], length: int) -> Amounts:
    return {cast(TokenClass, name): _plain(usd) for (_, above, name), usd in facts.items() if above == length}


def _plain(amount: Decimal) -> Decimal:
    return Decimal(f"{amount.normalize():f}")
