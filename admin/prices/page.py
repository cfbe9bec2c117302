"""The shipped price list as one readable page: no script, no address outside it, nothing of the operator's own.

Made once, from the file alone: what operators add (their file, their overrides) may be secret and is not on it.
"""

from collections.abc import Iterator
from datetime import UTC, date, datetime
from decimal import Decimal
from functools import lru_cache
from html import escape

from shared.catalog import SHIPPED, ModelEntry, PriceRow, read_entries
from shared.price_entries import HELD_CLASSES, Amounts, held_classes, row_on
from shared.usage import TOKEN_CLASSES

PAGE_TYPE = "text/html"
PAGE_HEADERS = {
    "content-security-policy": "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "referrer-policy": "no-referrer",
}

_HEADINGS = {
    "input": "Input",
    "cached_input": "Cached",
    "cache_write_5m": "Cache write",
    "cache_write_1h": "Long cache write",
    "audio_input": "Audio in",
    "output": "Output",
    "reasoning": "Reasoning",
    "audio_output": "Audio out",
}
_STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; margin: 2rem auto; max-width: 80rem; padding: 0 1rem; color: #1b1f24; }
table { border-collapse: collapse; width: 100%; margin: 0.5rem 0 2.5rem; font-variant-numeric: tabular-nums; }
th, td { text-align: right; padding: 0.2rem 0.6rem; border-bottom: 1px solid #d8dee4; vertical-align: top; }
th:first-child, td:first-child, th:nth-child(2), td:nth-child(2), td:last-child, th:last-child { text-align: left; }
thead th { position: sticky; top: 0; background: #fff; }
tr.more td { color: #57606a; }
nav a { margin-right: 1rem; }
@media (prefers-color-scheme: dark) {
  body { background: #0d1117; color: #e6edf3; } thead th { background: #0d1117; } a { color: #79b8ff; }
  th, td { border-color: #30363d; } tr.more td { color: #8b949e; }
}
"""


def pricing_page() -> bytes:
    """The page of today (UTC)."""
    return _page_of(datetime.now(UTC).date())


@lru_cache(maxsize=1)
def _page_of(day: date) -> bytes:
    version, entries = read_entries(SHIPPED)
    links = "".join(f'<a href="#{escape(provider)}">{escape(provider)}</a>' for provider in entries)
    tables = "".join(_table(provider, models, day) for provider, models in entries.items())
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Weir: prices</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<style>{_STYLE}</style></head><body><h1>Prices</h1>"
        f"<p>Version <b>{escape(version)}</b>, as of {day} UTC. USD per million tokens; what is billed by the piece is "
        "in the last column, USD for one. A class without a price costs what it falls back to: cached and written "
        "input what input costs, reasoning what output costs. What is <i>not counted yet</i> makes the cost of the "
        "model's calls unknown. Prices of your own (a setting's costMap, overrides, "
        "WEIR_MODEL_CATALOG) are not on this page: <code>GET /api/prices</code> tells them.</p>"
        f"<nav>{links}</nav>{tables}</body></html>\n"
    ).encode()


def _table(provider: str, models: dict[str, ModelEntry], day: date) -> str:
    heads = "".join(f"<th>{_HEADINGS[name]}</th>" for name in TOKEN_CLASSES)
    rows = "".join("".join(_rows(name, entry, day)) for name, entry in models.items())
    return (
        f'<h2 id="{escape(provider)}">{escape(provider)}</h2><table><thead><tr><th>Model</th><th>Tier</th>{heads}'
        f"<th>Besides</th></tr></thead><tbody>{rows}</tbody></table>"
    )


def _rows(name: str, entry: ModelEntry, day: date) -> Iterator[str]:
    row = row_on(entry.prices, day)
    if row is None:
        return
    yield _row(name, "standard", row.classes, _besides(row, entry, day))
    for tier, amounts in row.tiers.items():
        yield _row("", tier, amounts, _held(amounts))
    for long in row.above:
        label = f"prompts over {long.input_tokens:,}"
        yield _row("", label, long.classes, _held(long.classes))
        for tier, amounts in long.tiers.items():
            yield _row("", f"{label}, {tier}", amounts, _held(amounts))


def _row(name: str, tier: str, amounts: Amounts, besides: str = "") -> str:
    cells = "".join(f"<td>{_usd(amounts.get(name_of))}</td>" for name_of in TOKEN_CLASSES)  # type: ignore[call-overload]
    opening = "<tr>" if name else '<tr class="more">'
    return f"{opening}<td>{escape(name)}</td><td>{escape(tier)}</td>{cells}<td>{escape(besides)}</td></tr>"


def _besides(row: PriceRow, entry: ModelEntry, day: date) -> str:
    parts = [_held(row.classes)] if _held(row.classes) else []
    parts += [f"{unit.replace('_', ' ')} {_usd(usd)}" for unit, usd in row.units.items()]
    for unit, sizes in row.sizes.items():
        parts += [f"{unit.replace('_', ' ')} {size} {_usd(usd)}" for size, usd in sizes.items()]
    if row.sizes or any(held_classes(row)):
        parts.append("not counted yet")
    if row.call is not None:
        parts.append(f"each call {_usd(row.call)}")
    parts += [f"changes on {later.start}" for later in entry.prices if later.start is not None and later.start > day]
    return ", ".join(parts)


def _held(amounts: Amounts) -> str:
    """Classes without a column of their own."""
    return ", ".join(f"{name.replace('_', ' ')} {_usd(amounts[name])}" for name in HELD_CLASSES if name in amounts)


def _usd(amount: Decimal | None) -> str:
    return "" if amount is None else f"{amount:f}"
