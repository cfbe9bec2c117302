"""How an operation of the admin API is told: the row type of the rooms' `docs.py`.

A room has OPERATIONS: (method, the contract's template) -> Operation. What fields mean stands at the structs, as
docstrings; what they may hold, and an example, stands in the row.
"""

from typing import Any

import msgspec

Route = tuple[str, str]
"""Method and template, for example `("PATCH", "/api/provider-settings/:id")`."""


class Query(msgspec.Struct, frozen=True):
    """A query parameter."""

    name: str
    text: str
    is_list: bool = False
    """May be given several times."""
    kind: str = "string"
    values: tuple[str, ...] = ()
    """All that it may hold. Empty: anything."""


class Operation(msgspec.Struct, frozen=True, kw_only=True):
    """One row of the document."""

    name: str
    """The operationId; unique."""
    tag: str
    """The resource it belongs to."""
    summary: str
    text: str = ""
    query: tuple[Query, ...] = ()
    path_texts: dict[str, str] = {}
    """What the template's parameters are."""
    body: type | None = None
    """The struct that the body is read into."""
    required: tuple[str, ...] = ()
    """Members of the body that must be there, in the names of the wire."""
    refined: dict[str, dict[str, Any]] = {}
    """What a member of the body may hold beyond its type, as JSON Schema."""
    example: dict[str, Any] | None = None
    """A body that works as it stands, once its ids are real ones."""
    answer: Any = None
    """The struct of a successful answer, or `list[struct]`. None: an empty body."""
    answer_headers: dict[str, str] = {}
    errors: tuple[int, ...] = ()
    """Statuses of its own; those of every operation are added."""
    is_open: bool = False
    """Answered without the key."""
    has_text_decimals: bool = False
    """Its decimals are strings on the wire, not numbers."""
