"""New prices on top of the known ones: a changed price gets a row with its day, nothing known is forgotten."""

from datetime import date

import msgspec

from shared.catalog import Entries
from shared.price_entries import ModelEntry, PriceRow, row_on


def merge(known: Entries, fresh: Entries, day: date) -> Entries:
    """`known` with `fresh` applied from `day` on. A model that the sources no longer list keeps its prices."""
    providers = [*fresh, *(provider for provider in known if provider not in fresh)]
    return {
        provider: _merge_models(known.get(provider, {}), fresh.get(provider, {}), day) for provider in sorted(providers)
    }


def _merge_models(known: dict[str, ModelEntry], fresh: dict[str, ModelEntry], day: date) -> dict[str, ModelEntry]:
    merged = dict(known)
    for name, entry in fresh.items():
        before = known.get(name)
        if before is None:
            merged[name] = entry
        else:
            rows = _merge_rows(before.prices, entry.prices, day)
            merged[name] = msgspec.structs.replace(entry, prices=rows, aliases=before.aliases)
    return merged


def _merge_rows(known: tuple[PriceRow, ...], fresh: tuple[PriceRow, ...], day: date) -> tuple[PriceRow, ...]:
    """One fresh row tells the present alone; several also when it began and what was announced, and know it best."""
    rows = {row.start: row for row in known}
    if len(fresh) > 1:
        rows = {start: row for start, row in rows.items() if start is None or start <= day}
        rows.update({row.start: row for row in fresh})
    ordered = tuple(sorted(rows.values(), key=lambda row: row.start or date.min))
    present, wanted = row_on(ordered, day) or next(iter(ordered)), row_on(fresh, day) or next(iter(fresh))
    dated = msgspec.structs.replace(wanted, start=present.start)
    if dated != present:
        changed = dated if present.start == day else msgspec.structs.replace(wanted, start=day)
        rows[changed.start] = changed
    return tuple(sorted(rows.values(), key=lambda row: row.start or date.min))
