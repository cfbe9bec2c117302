"""What the second source knows besides: since when prices hold, what was announced, tiers that the first leaves out.

It is believed only for models on whose present standard prices the two sources agree.
"""

from collections.abc import Iterator
from datetime import date, timedelta
from decimal import Decimal
from typing import Any, cast

import msgspec

from deploy.catalog.check import our_facts
from deploy.catalog.genai import Facts, GenaiPrices, days_of_change, facts_on
from shared.catalog import Entries
from shared.price_entries import Amounts, LongPrompts, ModelEntry, PriceRow, TokenClass, held_classes

STANDARD = "default"


def with_history(entries: Entries, other: GenaiPrices, day: date) -> Entries:
    """`entries`, whose one row each is the present, with what the other source adds."""
    return {
        provider: {name: _with_history(provider, name, entry, other, day) for name, entry in models.items()}
        for provider, models in entries.items()
    }


def _with_history(provider: str, name: str, entry: ModelEntry, other: GenaiPrices, day: date) -> ModelEntry:
    model = other.find(provider, name)
    [present] = entry.prices
    if model is None or not present.classes or any(held_classes(present)):
        return entry  # their former rows would tell of some tokens only
    theirs = facts_on(model, day)
    if not _agree(_standard(our_facts(present)), _standard(theirs)):
        return entry
    present = _with_tiers(present, theirs)
    return msgspec.structs.replace(entry, prices=tuple(_timeline(model, present, day)))


def _standard(facts: Facts) -> Facts:
    return {fact: usd for fact, usd in facts.items() if fact[0] == STANDARD}


def _agree(ours: Facts, theirs: Facts) -> bool:
    both = ours.keys() & theirs.keys()
    return {(STANDARD, 0, "input"), (STANDARD, 0, "output")} <= both and all(ours[f] == theirs[f] for f in both)


def _with_tiers(row: PriceRow, theirs: Facts) -> PriceRow:
    """`row` with the tiers that only they list."""
    tiers = {tier for tier, _, _ in theirs} - {STANDARD} - row.tiers.keys()
    if not tiers:
        return row
    return msgspec.structs.replace(
        row,
        tiers={**row.tiers, **{tier: _amounts(theirs, tier, 0) for tier in sorted(tiers)}},
        above=tuple(
            msgspec.structs.replace(long, tiers={**long.tiers, **_tiers_above(theirs, tiers, long.input_tokens)})
            for long in row.above
        ),
    )


def _tiers_above(theirs: Facts, tiers: set[str], above: int) -> dict[str, Amounts]:
    found = {tier: _amounts(theirs, tier, above) for tier in sorted(tiers)}
    return {tier: amounts for tier, amounts in found.items() if amounts}


def _amounts(facts: Facts, tier: str, above: int) -> Amounts:
    return {cast(TokenClass, name): usd for (of, over, name), usd in facts.items() if (of, over) == (tier, above)}


def _timeline(model: Any, present: PriceRow, day: date) -> Iterator[PriceRow]:
    """The rows before, now and announced, each with its day; days on which no token price changes are left out."""
    days = list(days_of_change(model))
    first = _standard(facts_on(model, days[0] - timedelta(days=1))) if days else {}
    periods: list[tuple[date | None, Facts]] = [(None, first)] if days else []
    for start in days:
        facts = _standard(facts_on(model, start))
        if facts != periods[-1][1]:
            periods.append((start, facts))
    if len(periods) < 2:
        yield present
        return
    current = max(number for number, (start, _) in enumerate(periods) if (start or date.min) <= day)
    for number, (start, facts) in enumerate(periods):
        if number == current:
            yield msgspec.structs.replace(present, start=start)
        elif number < current:
            yield PriceRow(start=start, classes=_amounts(facts, STANDARD, 0), above=_above(facts))
        else:
            yield msgspec.structs.replace(_announced(present, periods[current][1], facts), start=start)


def _above(facts: Facts) -> tuple[LongPrompts, ...]:
    thresholds = sorted({above for _, above, _ in facts if above})
    return tuple(LongPrompts(input_tokens=above, classes=_amounts(facts, STANDARD, above)) for above in thresholds)


def _announced(present: PriceRow, now: Facts, then: Facts) -> PriceRow:
    """What they announce is standard prices; what only we list follows the one that rises most."""
    factor = max(usd / now[fact] for fact, usd in then.items() if now.get(fact))

    def follow(amounts: Amounts) -> Amounts:
        return {name: Decimal(f"{(usd * factor).normalize():f}") for name, usd in amounts.items()}

    return msgspec.structs.replace(
        present,
        classes={**follow(present.classes), **_amounts(then, STANDARD, 0)},
        tiers={tier: follow(amounts) for tier, amounts in present.tiers.items()},
        above=tuple(
            LongPrompts(
                input_tokens=long.input_tokens,
                classes={**follow(long.classes), **_amounts(then, STANDARD, long.input_tokens)},
                tiers={tier: follow(amounts) for tier, amounts in long.tiers.items()},
            )
            for long in present.above
        ),
    )
