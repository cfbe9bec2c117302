"""New prices on top of the known ones: a changed price gets a row with its day, nothing known is forgotten."""

from datetime import date

import msgspec

from shared.catalog import ModelEntry


def merge(known: dict[str, ModelEntry], fresh: dict[str, ModelEntry], day: date) -> dict[str, ModelEntry]:
    """`known` with `fresh` applied from `day` on. A model that the source no longer lists keeps its prices."""
    merged = dict(known)
    for name, entry in fresh.items():
        before = known.get(name)
        rows = entry.prices
        if before is not None:
            current = before.prices[-1]
            dated = msgspec.structs.replace(entry.prices[-1], start=current.start)
            if dated == current:
                rows = before.prices
            elif current.start == day:
                rows = (*before.prices[:-1], dated)
            else:
                rows = (*before.prices, msgspec.structs.replace(dated, start=day))
        merged[name] = msgspec.structs.replace(entry, prices=rows, aliases=before.aliases if before else ())
    return merged
