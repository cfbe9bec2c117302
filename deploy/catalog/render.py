"""A catalogue as text, the same bytes for the same content: models sorted, one line for each table of prices."""

import hashlib
from typing import Any

import msgspec

from shared.catalog import Entries
from shared.price_entries import HELD_CLASSES, UNITS
from shared.usage import TOKEN_CLASSES

_LINE = 118


def content_hash(models: Entries) -> str:
    """Names the content; part of the version that events carry."""
    return hashlib.sha256(_text(_ordered(models), 0).encode()).hexdigest()[:8]


def render(version: str, source: dict[str, str], models: Entries) -> str:
    """The file."""
    return _text({"version": version, "source": source, "providers": _ordered(models)}, 0) + "\n"


def _ordered(models: Entries) -> dict[str, Any]:
    return {
        provider: {name: _sorted(msgspec.to_builtins(models[provider][name])) for name in sorted(models[provider])}
        for provider in sorted(models)
    }


def _sorted(value: Any) -> Any:
    """Tables of prices in the order of their classes; everything else as its struct has it."""
    if isinstance(value, list | tuple):
        return [_sorted(item) for item in value]
    if not isinstance(value, dict):
        return value
    for order in ((*TOKEN_CLASSES, *HELD_CLASSES), tuple(UNITS)):
        if value.keys() <= set(order):
            return {name: value[name] for name in order if name in value}
    return {key: _sorted(item) for key, item in value.items()}


def _text(value: Any, depth: int) -> str:
    """JSON: an object or list of plain values on one line where it fits, anything deeper indented by two."""
    if not isinstance(value, dict | list) or not value:
        return msgspec.json.encode(value).decode()
    inner = "  " * (depth + 1)
    if isinstance(value, list):
        items = [_text(item, depth + 1) for item in value]
        opening, closing = "[", "]"
    else:
        items = [f"{msgspec.json.encode(key).decode()}: {_text(item, depth + 1)}" for key, item in value.items()]
        opening, closing = "{", "}"
    line = opening + ", ".join(items) + closing
    is_flat = not any(isinstance(item, dict | list) for item in (value.values() if isinstance(value, dict) else value))
    if is_flat and len(line) + len(inner) <= _LINE:
        return line
    body = f",\n{inner}".join(items)
    return f"{opening}\n{inner}{body}\n{inner[:-2]}{closing}"
