"""JSON Schemas of the structs on the wire, with what their docstrings say. It reads nothing but our own source."""

import ast
import inspect
import textwrap
from collections.abc import Iterable
from itertools import pairwise
from typing import Any

import msgspec

REFERENCE = "#/components/schemas/{name}"
_NUMBER = {"type": "number"}
_DECIMAL = {"type": "string", "format": "decimal"}


def schemas_of(kinds: Iterable[Any], *, has_text_decimals: bool) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """A schema per kind, as references, and the named schemas that they lead to."""
    wanted = list(kinds)
    references, named = msgspec.json.schema_components(wanted, ref_template=REFERENCE)
    structs = {struct.__name__: struct for struct in _structs(wanted)}
    return (
        [_tidy(schema, has_text_decimals) for schema in references],
        {name: _told(_tidy(schema, has_text_decimals), structs[name]) for name, schema in named.items()},
    )


def _structs(kinds: Iterable[Any]) -> set[type]:
    """Every struct in the kinds, however deep."""
    found: set[type] = set()
    waiting: list[Any] = [msgspec.inspect.type_info(kind) for kind in kinds]
    while waiting:
        info = waiting.pop()
        if isinstance(info, msgspec.inspect.StructType):
            if info.cls not in found:
                found.add(info.cls)
                waiting += [field.type for field in info.fields]
        elif isinstance(info, msgspec.inspect.UnionType):
            waiting += info.types
        elif isinstance(info, msgspec.inspect.DictType):
            waiting.append(info.value_type)
        else:
            waiting += [info.item_type] if hasattr(info, "item_type") else []
    return found


def _tidy(schema: Any, has_text_decimals: bool) -> Any:
    """Without what says nothing to a caller: titles, and defaults that stand for "not said"."""
    if isinstance(schema, list):
        return [_tidy(one, has_text_decimals) for one in schema]
    if not isinstance(schema, dict):
        return schema
    tidy: dict[str, Any] = {}
    for name, value in schema.items():
        if name == "properties":
            tidy[name] = {member: _tidy(one, has_text_decimals) for member, one in value.items()}
        elif name not in ("title", "default") and not (name == "required" and not value):
            tidy[name] = _tidy(value, has_text_decimals)
    return dict(_NUMBER) if tidy == _DECIMAL and not has_text_decimals else tidy


def _told(schema: dict[str, Any], struct: type) -> dict[str, Any]:
    for name, text in field_texts(struct).items():
        # Beside a reference too: 3.1 allows it, and readers show it.
        schema["properties"][name] = {**schema["properties"][name], "description": text}
    if "description" in schema:
        schema["description"] = schema["description"].partition(". ")[0].rstrip(".") + "."
    return schema


def field_texts(struct: Any) -> dict[str, str]:
    """What stands below the fields of a struct in its source, by their names on the wire."""
    names = dict(zip(struct.__struct_fields__, struct.__struct_encode_fields__, strict=True))
    [definition] = ast.parse(textwrap.dedent(inspect.getsource(struct))).body
    assert isinstance(definition, ast.ClassDef)
    texts: dict[str, str] = {}
    for field, below in pairwise(definition.body):
        if (
            isinstance(field, ast.AnnAssign)
            and isinstance(field.target, ast.Name)
            and isinstance(below, ast.Expr)
            and isinstance(below.value, ast.Constant)
            and isinstance(below.value.value, str)
        ):
            texts[names[field.target.id]] = " ".join(below.value.value.split())
    return texts
