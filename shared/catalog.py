"""The price list: a provider, a model's name and a moment give a price, or nothing, never a guess.

`model_catalog.json` beside this file is made by `deploy/catalog`. An operator's own file of the same form
(WEIR_MODEL_CATALOG) is laid over it: a model in it replaces the shipped one whole. {"version": "ours-1", "providers":
{"openai": {"my-model": {"prices": [{"classes": {"input": "2.50", "output": "10"}}]}}}}; entries are as in
`price_entries`. Finds prices; computes no cost.
"""

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import msgspec

from shared.price_entries import Amounts, LongPrompts, ModelEntry, PriceRow, Rows, compile_entry, entry_decoder
from shared.prices import Price

__all__ = [
    "NO_PRICES",
    "SHIPPED",
    "Amounts",
    "Catalog",
    "CatalogError",
    "Entries",
    "ListedEntry",
    "LongPrompts",
    "ModelEntry",
    "Price",
    "PriceRow",
    "load_catalog",
    "load_entries",
    "read_entries",
]

SHIPPED = Path(__file__).with_name("model_catalog.json")
_FINE_TUNED = "ft:"

Entries = dict[str, dict[str, ModelEntry]]
"""Provider -> model -> entry."""


class CatalogError(Exception):
    """A catalogue cannot be used. The message names the file, the model and the field."""


class CatalogFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The file. Models are decoded one by one, so that an error can name its model."""

    providers: dict[str, dict[str, msgspec.Raw]]
    version: str = ""
    """On every event; empty: derived from the file's bytes."""
    source: dict[str, str] = {}
    """Where the prices come from; for people."""


class Unread(msgspec.Struct, frozen=True, gc=False):
    """An entry of a file that was checked before it was shipped: decoded when it is first asked for.

    A worker asks for a dozen of some thousand models. To read all would cost each worker 110 ms and 6 MB; to note where
    each one stands costs 2 ms and 1 MB, and the first question for a model 0.4 ms.
    """

    version: str
    entry: msgspec.Raw


class ListedEntry(NamedTuple):
    """An entry and the price list that it comes from."""

    version: str
    entry: ModelEntry


class Catalog:
    """Prices of every known model, by provider. What it answers never changes."""

    def __init__(self, prices: Mapping[str, Mapping[str, Rows | Unread]], version: str) -> None:
        self._unread: dict[str, dict[str, Unread]] = {}
        self._rows: dict[str, dict[str, Rows]] = {}
        for provider, models in prices.items():
            self._rows[provider] = {name: rows for name, rows in models.items() if not isinstance(rows, Unread)}
            self._unread[provider] = {name: rows for name, rows in models.items() if isinstance(rows, Unread)}
        self.version = version

    def price(self, provider: str, model: str, at_ms: int) -> Price | None:
        """The price of `model` at `provider` at a moment (Unix milliseconds), or None: unknown.

        By exact name or alias; a fine-tuned model (`ft:<base>:<organisation>:...`) by the entry `ft:<base>`, never
        by the base's own. No other name is ever guessed.
        """
        models = self._rows.get(provider)
        if models is None:
            return None
        rows = models.get(model) or self._find(provider, models, model)
        if rows is not None:
            for starts_ms, price in rows:
                if at_ms >= starts_ms:
                    return price
        return None

    def rows(self, provider: str, model: str) -> Rows | None:
        """All prices of a model, the newest first. None: unknown."""
        models = self._rows.get(provider)
        return None if models is None else models.get(model) or self._find(provider, models, model)

    def _find(self, provider: str, models: dict[str, Rows], model: str) -> Rows | None:
        if unread := self._unread[provider].get(model):
            models[model] = rows = compile_entry(model, unread.version, entry_decoder.decode(unread.entry))
            return rows
        if not model.startswith(_FINE_TUNED):
            return None
        base = _FINE_TUNED + model.split(":", 2)[1]
        return None if base == model else self.rows(provider, base)

    def providers(self) -> tuple[str, ...]:
        """Every provider that has prices."""
        return tuple(self._rows)

    def names(self, provider: str) -> Iterator[str]:
        """Every name that has a price at a provider, aliases included, in the order of the alphabet."""
        yield from sorted(self._rows.get(provider, {}).keys() | self._unread.get(provider, {}).keys())

    def models(self) -> frozenset[str]:
        """Every name that has a price at some provider, aliases included."""
        return frozenset(name for provider in self._rows for name in self.names(provider))


NO_PRICES = Catalog({}, "")


def load_catalog(path: Path | None = None, override_path: Path | None = None) -> Catalog:
    """The shipped catalogue (or the one at `path`) with the override's models laid over it. Raises CatalogError."""
    if path is None:
        version, prices = _load_shipped()
    else:
        version, read = _load(path)
        prices = {provider: dict[str, Rows | Unread](models) for provider, models in read.items()}
    if override_path is not None:
        over_version, over = _load(override_path)
        for provider, models in over.items():
            prices.setdefault(provider, {}).update(models)
        version = f"{version}+{over_version}"
    return Catalog(prices, version)


def load_entries(override_path: Path | None = None) -> dict[str, dict[str, ListedEntry]]:
    """The same as they are written, for people: provider -> name -> entry, aliases included. Raises CatalogError."""
    listed: dict[str, dict[str, ListedEntry]] = {}
    for path in (SHIPPED, override_path):
        if path is None:
            continue
        version, entries = read_entries(path)
        for provider, models in entries.items():
            if path is not SHIPPED:
                _compile(path, version, provider, models)
            for model, entry in models.items():
                row = ListedEntry(version, entry)
                listed.setdefault(provider, {}).update(dict.fromkeys((model, *entry.aliases), row))
    return listed


def _load_shipped() -> tuple[str, dict[str, dict[str, Rows | Unread]]]:
    """Our own file, entry by entry when needed. A test reads every one."""
    version, file = _read(SHIPPED)
    return version, {
        provider: {name: Unread(version, raw) for name, raw in models.items()}
        for provider, models in file.providers.items()
    }


def _load(path: Path) -> tuple[str, dict[str, dict[str, Rows]]]:
    version, entries = read_entries(path)
    return version, {provider: _compile(path, version, provider, models) for provider, models in entries.items()}


def _compile(path: Path, version: str, provider: str, entries: dict[str, ModelEntry]) -> dict[str, Rows]:
    prices: dict[str, Rows] = {}
    for model, entry in entries.items():
        where = f"{path}: {provider}: model {model!r}"
        try:
            rows = compile_entry(model, version, entry)
        except ValueError as error:
            raise CatalogError(f"{where}: {error}") from None
        for name in (model, *entry.aliases):
            if not name or name in prices or (name != model and name in entries):
                raise CatalogError(f"{where}: aliases: {name!r} is empty or already taken")
            prices[name] = rows
    return prices


def read_entries(path: Path) -> tuple[str, Entries]:
    """The version and the models of a file, their form checked but not their amounts. Raises CatalogError."""
    version, file = _read(path)
    entries: Entries = {}
    for provider, models in file.providers.items():
        for model, raw in models.items():
            try:
                entries.setdefault(provider, {})[model] = entry_decoder.decode(raw)
            except msgspec.DecodeError as error:
                raise CatalogError(f"{path}: {provider}: model {model!r}: {error}") from None
    return version, entries


def _read(path: Path) -> tuple[str, CatalogFile]:
    try:
        content = path.read_bytes()
        file = msgspec.json.decode(content, type=CatalogFile)
    except OSError as error:
        raise CatalogError(f"{path}: cannot be read: {error.strerror}") from None
    except (msgspec.DecodeError, ValueError) as error:
        raise CatalogError(f"{path}: {error}") from None
    return file.version or f"sha256-{hashlib.sha256(content).hexdigest()[:8]}", file
