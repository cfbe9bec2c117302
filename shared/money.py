"""Money inside Weir: integers of nano-USD, never floats.

A price is integer nano-USD per million units ($2.50 per million tokens = 2_500_000_000). A cost is the sum of
units x price, rounded half up once, at the end. JSON numbers enter through their decimal text.
"""

from collections.abc import Iterable
from decimal import ROUND_HALF_UP, Context, Decimal, InvalidOperation

NANO_PER_USD = 1_000_000_000
UNITS_PER_PRICE = 1_000_000

# Redis Lua reads counters as doubles, exact up to 2**53 nano-USD ($9,007,199): the largest limit stays below.
LARGEST_LIMIT_NANO = 9_000_000 * NANO_PER_USD


def usd_to_nano(amount: Decimal | str | int) -> int:
    """Nano-USD of an amount in USD, half up beyond the ninth decimal.

    Raises ValueError when it is not a finite number. Floats are not accepted: pass the decimal text they came from.
    """
    if isinstance(amount, float):
        raise ValueError(f"a float is not an amount of money: {amount!r}")
    try:
        value = Decimal(amount)
    except InvalidOperation:
        raise ValueError(f"not an amount of money: {amount!r}") from None
    if not value.is_finite() or value.adjusted() > 12:
        raise ValueError(f"not an amount of money: {amount!r}")
    # The default context would round to 28 digits first, and so twice.
    exact = Context(prec=len(value.as_tuple().digits) + 24)
    return int(exact.multiply(value, Decimal(NANO_PER_USD)).to_integral_value(rounding=ROUND_HALF_UP))


def nano_to_usd(nano: int) -> Decimal:
    """The exact amount in USD, without trailing zeros and never in exponent form when printed with `f`."""
    value = Decimal(nano).scaleb(-9).normalize()
    return value if value.as_tuple().exponent <= 0 else value.quantize(Decimal(1))  # type: ignore[operator]


def usd_text(nano: int) -> str:
    """For people: `$0.100000000`, always nine decimals."""
    sign = "-" if nano < 0 else ""
    whole, rest = divmod(abs(nano), NANO_PER_USD)
    return f"{sign}${whole}.{rest:09d}"


def cost_nano(units_and_prices: Iterable[tuple[int, int]]) -> int:
    """Cost in nano-USD of (units, price in nano-USD per million units) pairs, rounded half up once."""
    total = sum(units * price for units, price in units_and_prices)
    return (total + UNITS_PER_PRICE // 2) // UNITS_PER_PRICE
