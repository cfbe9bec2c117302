"""Decimals become integers and come back without a digit lost."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from admin.answers import answer, scaled, unscaled


@given(st.integers(-9 * 10**15, 9 * 10**15), st.sampled_from([9, 12]))
def test_scaled_undoes_unscaled(number: int, decimals: int) -> None:
    """Whatever is stored is answered so that it would be stored again as the same."""
    assert scaled(unscaled(number, decimals), decimals) == number


@given(st.decimals(0, 9_000_000, places=9))
def test_unscaled_undoes_scaled(value: Decimal) -> None:
    """Nine decimals of USD are exact."""
    assert unscaled(scaled(value, 9), 9) == value


EXACT = [
    ("0", 0),
    ("0.000000001", 1),
    ("1e-9", 1),
    ("0.10", 100_000_000),
    ("0.1000000000000000000000000000000000", 100_000_000),
    ("0e-999999", 0),
    ("0e999999", 0),
    ("9000000", 9_000_000_000_000_000),
    ("9E6", 9_000_000_000_000_000),
    ("-2.5", -2_500_000_000),
]


@pytest.mark.parametrize(("text", "nano"), EXACT)
def test_amounts_are_exact(text: str, nano: int) -> None:
    """The decimal text decides, not a float near it."""
    assert scaled(Decimal(text), 9) == nano


@pytest.mark.parametrize("text", ["1e-10", "0.0000000005", "1.0000000001", "1e999999999", "1e-999999999"])
def test_what_does_not_fit_is_refused(text: str) -> None:
    """Nothing is rounded, and no exponent makes the process work."""
    with pytest.raises(ValueError, match=r"decimals|large"):
        scaled(Decimal(text), 9)


def test_decimals_are_json_numbers() -> None:
    """Not strings, and without a float's error."""
    assert answer({"a": unscaled(100_000_000, 9), "b": unscaled(10**13, 9)}).content == b'{"a":0.1,"b":10000}'
