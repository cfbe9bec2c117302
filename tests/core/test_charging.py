"""What an attempt is charged."""

import pytest

from proxy.core.charging import Charge, charge, hidden_reasoning, seen_usage
from shared.catalog import load_catalog
from shared.usage import NO_USAGE, TokenUsage, UnitUsage

PRICE = load_catalog().price("openai", "gpt-4o", 1_790_000_000_000)
REPORTED = TokenUsage(input=100, cached_input=20, output=50)
SEEN = seen_usage(400, 7)


@pytest.mark.parametrize(
    ("price", "is_free", "reported", "seen", "expected"),
    [
        (PRICE, False, REPORTED, SEEN, Charge(REPORTED, False, 775_000, 775_000)),
        (PRICE, False, None, SEEN, Charge(SEEN, True, 1_070_000, 1_070_000)),
        (PRICE, False, None, NO_USAGE, Charge(NO_USAGE, False, 0, 0)),
        (PRICE, False, NO_USAGE, SEEN, Charge(NO_USAGE, False, 0, 0)),
        (None, False, REPORTED, SEEN, Charge(REPORTED, False, None, None)),
        (None, True, REPORTED, SEEN, Charge(REPORTED, False, None, 0)),
        (None, False, None, NO_USAGE, Charge(NO_USAGE, False, 0, 0)),
    ],
    ids=["reported", "seen", "nothing", "reported-nothing", "unpriced", "unpriced-free", "unpriced-nothing"],
)
def test_charge(price, is_free, reported, seen, expected) -> None:  # type: ignore[no-untyped-def]
    """Upstream's figure first; a bound is flagged; an unknown price is never 0."""
    assert charge(price, is_free, reported, seen, ("",)) == expected


SEARCHING = load_catalog().price("anthropic", "claude-sonnet-4-5", 1_790_000_000_000)


def test_what_is_billed_by_the_piece_is_charged_with_the_tokens() -> None:
    """$3 and $15 per million tokens, and a cent for each search, with or without tokens."""
    usage = TokenUsage(input=1_000, output=100)

    assert charge(SEARCHING, False, usage, SEEN, ("",), UnitUsage(searches=2)).charged_nano == 4_500_000 + 20_000_000
    assert charge(SEARCHING, False, NO_USAGE, SEEN, ("",), UnitUsage(searches=2)).charged_nano == 20_000_000
    assert charge(SEARCHING, False, NO_USAGE, SEEN, ("",), UnitUsage()) == Charge(NO_USAGE, False, 0, 0)


def test_one_piece_without_a_price_makes_the_list_cost_unknown() -> None:
    """Never 0 for the part that nobody knows; what has a price is charged, or it would pass every budget."""
    pages = UnitUsage(pages=1)

    known = charge(SEARCHING, False, REPORTED, SEEN, ("",)).charged_nano
    assert known
    for is_free_unpriced in (False, True):
        charged = charge(SEARCHING, is_free_unpriced, REPORTED, SEEN, ("",), pages)
        assert charged == Charge(REPORTED, False, None, known)


def test_of_several_tiers_the_dearest_is_charged() -> None:
    """An upstream that does not name its tier is not paid by the cheap one that was asked for."""
    catalog = load_catalog()
    [flexible] = [price for price in [catalog.price("openai", "gpt-5", 1_790_000_000_000)] if price]
    costs = {tier: charge(flexible, False, REPORTED, SEEN, (tier,)).charged_nano or 0 for tier in ("", "flex")}
    assert costs["flex"] < costs[""]
    assert charge(flexible, False, REPORTED, SEEN, ("", "flex")).charged_nano == costs[""]


@pytest.mark.parametrize(
    ("seconds", "cap", "tokens"), [(0.0, None, 0), (-1.0, None, 0), (10.0, None, 2000), (10.0, 300, 300)]
)
def test_hidden_reasoning_goes_by_time_up_to_the_cap(seconds: float, cap: int | None, tokens: int) -> None:
    """What a reasoning model made before its first word cannot be seen."""
    assert hidden_reasoning(seconds, cap) == tokens
