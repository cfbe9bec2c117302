"""Request bodies: JSON into structs the way the contract's server (Go) reads it.

Names match in any case, `null` is the same as absent (except for a field whose type has None), unknown names are
ignored. Wrong types, broken JSON, a member said twice, deep nesting, numbers no field needs and characters the
database cannot hold are refused, never repaired.
"""

import re
from decimal import Decimal, InvalidOperation
from functools import cache
from typing import Any, TypeVar

import msgspec
from msgspec import inspect

from admin.errors import unreadable

MAX_DEPTH = 64
_LARGEST_INTEGER = 2**63 - 1
_MOST_DIGITS = 400
"""Of a number with a fraction or an exponent, and its largest exponent: far beyond what any field holds exactly."""

_NAME_OR_BRACKET = re.compile(rb'"([^"\\]*+(?:\\.[^"\\]*+)*+)"(\s*+:)?|[{}\[\]]', re.DOTALL)

T = TypeVar("T")
_decoder = msgspec.json.Decoder(float_hook=Decimal)


@cache
def _fields(struct: type) -> dict[str, tuple[str, Any]]:
    info = inspect.type_info(struct)
    assert isinstance(info, inspect.StructType)
    return {field.encode_name.casefold(): (field.encode_name, field.type) for field in info.fields}


def _only(kind: Any) -> Any:
    """The type inside `X | None`; null and absent are the same here."""
    if isinstance(kind, inspect.UnionType):
        kinds = [one for one in kind.types if not isinstance(one, inspect.NoneType)]
        return kinds[0] if len(kinds) == 1 else kind
    return kind


def _takes_none(kind: Any) -> bool:
    return isinstance(kind, inspect.UnionType) and any(isinstance(one, inspect.NoneType) for one in kind.types)


def _check_said_once(body: bytes, struct: type) -> None:
    """Raises Problem when an object of `body`, valid JSON, has a member twice: readers differ on which one counts."""
    fields = _fields(struct)
    objects: list[set[str] | None] = []
    where = "$"
    for token in _NAME_OR_BRACKET.finditer(body):
        text = token[0]
        if text in b"{[":
            objects.append(set() if text == b"{" else None)
        elif text in b"}]":
            objects.pop()
        elif token[2] is not None:
            name = msgspec.json.decode(b'"%s"' % token[1], type=str)
            members = objects[-1]
            assert members is not None  # a name stands in an object
            if len(objects) == 1:
                where = f"$.{fields.get(name.casefold(), ('...',))[0]}"
            if name in members:
                raise unreadable(f"a member is given twice - at `{where}`")
            members.add(name)


def _fitted(value: Any, kind: Any, where: str, depth: int) -> Any:
    """`value` with the names of `kind`'s fields, without nulls. Raises Problem for what msgspec would let pass."""
    if depth > MAX_DEPTH:
        raise unreadable(f"JSON is nested deeper than {MAX_DEPTH} levels")
    kind = _only(kind)
    if isinstance(value, str):
        if "\x00" in value:
            raise unreadable(f"a string holds the character U+0000 - at `{where}`")
        if isinstance(kind, inspect.DecimalType):
            raise unreadable(f"Expected `number`, got `str` - at `{where}`")
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        if abs(value) > _LARGEST_INTEGER:
            raise unreadable(f"a number is out of range - at `{where}`")
        return Decimal(value) if isinstance(kind, inspect.DecimalType) else value
    if isinstance(value, Decimal):
        _, digits, exponent = value.as_tuple()
        if len(digits) > _MOST_DIGITS or abs(int(exponent)) > _MOST_DIGITS:
            raise unreadable(f"a number is out of range - at `{where}`")
        return value
    if isinstance(value, list):
        item = kind.item_type if isinstance(kind, inspect.ListType) else None
        return [_fitted(one, item, f"{where}[{index}]", depth + 1) for index, one in enumerate(value)]
    if isinstance(value, dict):
        return _fitted_object(value, kind, where, depth)
    return value


def _fitted_object(value: dict[str, Any], kind: Any, where: str, depth: int) -> dict[str, Any]:
    if isinstance(kind, inspect.StructType):
        fields = _fields(kind.cls)
        found: dict[str, Any] = {}
        said: set[str] = set()
        for name, member in value.items():
            field_name, field_kind = fields.get(name.casefold(), (None, None))
            fitted = _fitted(member, field_kind, f"{where}.{field_name or '...'}", depth + 1)
            if field_name is None:
                continue
            if field_name in said:
                raise unreadable(f"a member is given twice - at `{where}.{field_name}`")
            said.add(field_name)
            if fitted is not None or _takes_none(field_kind):
                found[field_name] = fitted
        return found
    member_kind = kind.value_type if isinstance(kind, inspect.DictType) else None
    if any("\x00" in name for name in value):
        raise unreadable(f"a name holds the character U+0000 - at `{where}`")
    fitted_members = {name: _fitted(member, member_kind, f"{where}[...]", depth + 1) for name, member in value.items()}
    return {name: member for name, member in fitted_members.items() if member is not None}


def decode(body: bytes, struct: type[T]) -> T:
    """The struct that `body` holds. Raises Problem (400) with a message that names the field and never its value."""
    try:
        value = _decoder.decode(body)
        if not isinstance(value, dict):
            raise unreadable("the body must be a JSON object")
        fitted = _fitted(value, inspect.type_info(struct), "$", 1)
        _check_said_once(body, struct)
        return msgspec.convert(fitted, struct, builtin_types=(Decimal,))
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        detail = str(error) if isinstance(error, msgspec.DecodeError) else "JSON is not UTF-8"
        raise unreadable(detail) from None
    except InvalidOperation:
        raise unreadable("a number's exponent is out of range") from None
    except RecursionError:
        raise unreadable(f"JSON is nested deeper than {MAX_DEPTH} levels") from None
