"""Holds a catalogue against genai-prices, and says what the two disagree on.

A disagreement is *known* when a person has looked at it and written down why it stays (`known.py`).
"""

from collections.abc import Iterator
from datetime import date
from decimal import Decimal
from typing import NamedTuple

from deploy.catalog.genai import Fact, Facts, GenaiPrices, facts_on
from deploy.catalog.known import reason_for
from shared.catalog import Entries
from shared.price_entries import Amounts, PriceRow, row_on


class Disagreement(NamedTuple):
    """A price that one side or the other lists differently, or not at all."""

    provider: str
    model: str
    fact: Fact
    ours: Decimal | None
    theirs: Decimal | None

    @property
    def is_contradiction(self) -> bool:
        """Both know the price, and it is not the same."""
        return self.ours is not None and self.theirs is not None

    @property
    def reason(self) -> str:
        """Why it is known and stays. Empty: nobody has looked at it."""
        return reason_for(self.provider, self.model, self.fact)

    def __str__(self) -> str:
        """For people, on one line."""
        tier, above, token_class = self.fact
        where = f"{tier} {token_class}" + (f" above {above}" if above else "")
        told = f"{self.provider}/{self.model}: {where}: ours {_amount(self.ours)}, theirs {_amount(self.theirs)}"
        return f"{told} [{self.reason}]" if self.reason else told


def _amount(usd: Decimal | None) -> str:
    return "-" if usd is None else f"{usd:f}"


def disagreements(entries: Entries, other: GenaiPrices, day: date) -> Iterator[Disagreement]:
    """Every price of a model known to both that differs on a day, or that only one of them lists."""
    for provider, models in sorted(entries.items()):
        for name, entry in sorted(models.items()):
            theirs = other.find(provider, name)
            row = row_on(entry.prices, day)
            if theirs is not None and row is not None and row.classes:
                yield from compare(provider, name, our_facts(row), facts_on(theirs, day))


def compare(provider: str, name: str, ours: Facts, theirs: Facts) -> Iterator[Disagreement]:
    """The facts that are not the same on both sides."""
    for fact in sorted(ours.keys() | theirs.keys()):
        if ours.get(fact) != theirs.get(fact):
            yield Disagreement(provider, name, fact, ours.get(fact), theirs.get(fact))


def our_facts(row: PriceRow) -> Facts:
    """A row in the other source's terms."""
    facts: Facts = {}

    def add(tier: str, above: int, amounts: Amounts) -> None:
        facts.update({(tier, above, name): amount for name, amount in amounts.items()})

    for above, classes, tiers in [(0, row.classes, row.tiers)] + [
        (long.input_tokens, long.classes, long.tiers) for long in row.above
    ]:
        add("default", above, classes)
        for tier, amounts in tiers.items():
            add(tier, above, amounts)
    return facts
