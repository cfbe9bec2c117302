"""The comparison with genai-prices, against that package itself where it is installed."""

from decimal import Decimal

import msgspec
import pytest

from deploy.catalog.check import disagreements
from shared.catalog import SHIPPED, read_entries

pytest.importorskip("genai_prices", reason="genai-prices is not installed")


def test_no_price_that_both_list_differs() -> None:
    _, entries = read_entries(SHIPPED)
    both = [
        line for line in disagreements(entries) if "ours -" not in line and ", " in line and not line.endswith(" -")
    ]

    assert both == []


def test_a_price_that_differs_is_told_with_both_amounts() -> None:
    _, entries = read_entries(SHIPPED)
    entry = entries["gpt-4o"]
    row = msgspec.structs.replace(entry.prices[-1], classes={"input": Decimal(3), "output": Decimal(10)})

    lines = list(disagreements({"gpt-4o": msgspec.structs.replace(entry, prices=(row,))}))

    assert "gpt-4o: default input: ours 3, gpt-4o 2.5" in lines
    assert "gpt-4o: default cached_input: ours -, gpt-4o 1.25" in lines


def test_a_model_that_they_do_not_know_is_told() -> None:
    _, entries = read_entries(SHIPPED)

    assert list(disagreements({"my-own": entries["gpt-4o"]})) == ["my-own: not in genai-prices"]
