"""Money: exact integers of nano-USD, from decimal text and back."""

from decimal import Decimal, localcontext

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.money import LARGEST_LIMIT_NANO, NANO_PER_USD, cost_nano, nano_to_usd, usd_text, usd_to_nano


@pytest.mark.parametrize(
    ("amount", "nano"),
    [
        ("0", 0),
        ("1", 1_000_000_000),
        ("0.1", 100_000_000),
        ("0.000000001", 1),
        ("1e-9", 1),
        ("2.5E3", 2_500_000_000_000),
        (7, 7_000_000_000),
        (Decimal("0.30"), 300_000_000),
        ("-1.5", -1_500_000_000),
        ("100001", 100_001_000_000_000),
        ("8999999.999999999", 8_999_999_999_999_999),
        ("9999999999999.999999999", 9_999_999_999_999_999_999_999),
        # Half up at the tenth decimal, away from zero.
        ("0.0000000004", 0),
        ("0.0000000005", 1),
        ("0.00000000049999999999999999999999999999999999", 0),
        ("0.0000000014999", 1),
        ("0.0000000015", 2),
        ("-0.0000000005", -1),
        ("1234567890123.0000000005", 1_234_567_890_123_000_000_001),
        ("1234567890123.0000000004999999999999999999", 1_234_567_890_123_000_000_000),
    ],
)
def test_an_amount_in_usd_becomes_nano_usd(amount: Decimal | str | int, nano: int) -> None:
    assert usd_to_nano(amount) == nano


@pytest.mark.parametrize(
    "amount", ["", "ten", "1,5", "$1", "NaN", "sNaN", "Infinity", "-Infinity", "1e13", "1e400", "0x1"]
)
def test_what_is_no_amount_is_refused(amount: str) -> None:
    with pytest.raises(ValueError, match="not an amount of money"):
        usd_to_nano(amount)


def test_a_float_is_refused_even_where_it_looks_exact() -> None:
    with pytest.raises(ValueError, match="float"):
        usd_to_nano(0.5)  # type: ignore[arg-type]


def test_the_precision_of_the_process_does_not_matter() -> None:
    with localcontext() as context:
        context.prec = 3

        assert usd_to_nano("123456.789012345") == 123_456_789_012_345


@given(st.integers(-(10**21), 10**21))
def test_nano_usd_survive_the_way_to_usd_and_back(nano: int) -> None:
    assert usd_to_nano(nano_to_usd(nano)) == nano
    assert usd_to_nano(f"{nano_to_usd(nano):f}") == nano


@pytest.mark.parametrize(
    ("nano", "text"),
    [
        (0, "0"),
        (1, "0.000000001"),
        (100_000_000, "0.1"),
        (1_000_000_000, "1"),
        (100_000_000_000, "100"),
        (100_001_000_000_000, "100001"),
        (-1_500_000_000, "-1.5"),
        (8_999_999_999_999_999, "8999999.999999999"),
    ],
)
def test_an_amount_prints_without_exponent_and_without_trailing_zeros(nano: int, text: str) -> None:
    assert f"{nano_to_usd(nano):f}" == text


@pytest.mark.parametrize(
    ("nano", "text"),
    [
        (0, "$0.000000000"),
        (100_000_000, "$0.100000000"),
        (8_999_999_999_999_999, "$8999999.999999999"),
        (-1, "-$0.000000001"),
        (-1_500_000_000, "-$1.500000000"),
    ],
)
def test_people_see_all_nine_decimals(nano: int, text: str) -> None:
    assert usd_text(nano) == text


@pytest.mark.parametrize(
    ("pairs", "nano"),
    [
        ([], 0),
        ([(1_000_000, 2_500_000_000)], 2_500_000_000),
        ([(1000, 2_500_000_000), (100, 10_000_000_000)], 3_500_000),
        ([(1, 499_999)], 0),
        ([(1, 500_000)], 1),
        ([(1, 400_000), (1, 100_000)], 1),
        ([(1, 400_000), (1, 400_000), (1, 400_000)], 1),
    ],
)
def test_a_cost_is_the_sum_of_units_times_prices_rounded_half_up_once(pairs: list[tuple[int, int]], nano: int) -> None:
    assert cost_nano(pairs) == nano


def test_the_largest_limit_is_exact_as_a_double() -> None:
    assert int(float(LARGEST_LIMIT_NANO)) == LARGEST_LIMIT_NANO == 9_000_000 * NANO_PER_USD
    assert LARGEST_LIMIT_NANO < 2**53
