"""How success is answered: 200 and JSON, decimals as exact JSON numbers; and how queries are read."""

from decimal import Decimal
from typing import Any
from uuid import UUID

import msgspec
from litestar import Request, Response

from admin.errors import Problem

_encoder = msgspec.json.Encoder(decimal_format="number")
JSON = "application/json; charset=utf-8"


def encode(content: Any) -> bytes:
    """`content`, a struct or a list of them, as JSON."""
    return _encoder.encode(content)


def answer(content: Any, headers: dict[str, str] | None = None) -> Response[bytes]:
    """Success with `content`, a struct or a list of them, as JSON."""
    return Response(encode(content), status_code=200, media_type=JSON, headers=headers)


def nothing() -> Response[bytes]:
    """Success with an empty body, as the contract answers a deletion."""
    return Response(b"", status_code=200, media_type=JSON)


def query_values(request: Request[Any, Any, Any], name: str) -> list[str]:
    """The values of a repeated query parameter that are not empty. Raises Problem for U+0000."""
    values = [value for value in request.query_params.getall(name, []) if value]
    if any("\x00" in value for value in values):
        raise Problem(400, "bad-request", "bad request", f"the query parameter {name} holds the character U+0000")
    return values


def query_value(request: Request[Any, Any, Any], name: str) -> str:
    """The first value of a query parameter, or an empty string."""
    return next(iter(query_values(request, name)), "")


def parse_id(text: str) -> UUID | None:
    """The id in `text`; None when it is no UUID, which no row can have."""
    try:
        return UUID(text)
    except ValueError:
        return None


def remote_address(request: Request[Any, Any, Any]) -> str:
    """Who asked, for the audit log."""
    return request.client.host if request.client else ""


def scaled(value: Decimal, decimals: int) -> int:
    """`value` times 10**decimals, exactly. Raises ValueError when digits would be lost."""
    sign, digits, exponent = value.as_tuple()
    assert isinstance(exponent, int)  # JSON has neither NaN nor Infinity
    shift = exponent + decimals
    if shift < 0:
        lost, digits = digits[shift:] if -shift <= len(digits) else digits, digits[:shift]
        if any(lost):
            raise ValueError(f"has more than {decimals} decimals")
        shift = 0
    if len(digits) + shift > 32 and any(digits):
        raise ValueError("is too large")
    number = int("".join(map(str, digits)) or "0") * 10**shift if any(digits) else 0
    return -number if sign else number


def unscaled(number: int, decimals: int) -> Decimal:
    """The exact inverse of `scaled`, without trailing zeros."""
    value = Decimal(number).scaleb(-decimals).normalize()
    return value.quantize(Decimal(1)) if value == value.to_integral_value() else value
