"""Looks at the bodies of one API, so that no reader finds another call in them than we do.

Decides which spellings and repetitions are refused; it must not know an API's members, nor what is done with a value.
Some readers match names without regard to case and take the last one (Go's encoding/json, and upstreams built on
it): `"Model"` after `"model"` would be another call than the one that was checked. So the first look knows every
member of the API and fails on any other, at no cost beyond the parse; only then names are compared one by one.
"""

import enum
import itertools
from collections.abc import Callable, Collection, Mapping
from typing import Any, cast

import msgspec

from proxy.wire.body import BodyError, Member, Notes, Peek, ShapeError, find_members

Spans = dict[str, tuple[int, int]]

# Numbers what may come once and is no `once` type, so that what a second member of its name replaced is missed. A
# factory in C costs 0.05 µs an object where a hook costs 0.2.
_next_number = itertools.count().__next__


class _Number(Member):
    @staticmethod
    def note(notes: Notes, value: Any) -> None:
        raise BodyError("the body has an unknown member")


NUMBERED = ("number", _Number, msgspec.field(name=" number", default_factory=cast(Any, _next_number)))
"""The field of a struct that makes its objects count."""


class Text(enum.Enum):
    """The type of a text that counts as an object does: msgspec asks of every text it does not know what it stands for.

    The one it knows does not count, and is refused: no loss for a prompt.
    """

    SEEN = "\x00"

    @classmethod
    def _missing_(cls, value: object) -> "Text":
        _next_number()
        return cls.SEEN


def shape(name: str, fields: list[Any], passed_over: tuple[str, ...] = ()) -> Any:
    """A struct; with names to pass over it allows no others. Raw: a value costs little more than if it is skipped."""
    raw = [(other, msgspec.Raw, None) for other in passed_over]
    return msgspec.defstruct(name, fields + raw, gc=False, forbid_unknown_fields=bool(passed_over))


class BodyLook:
    """The looks at one API's bodies."""

    __slots__ = ("_acted_on", "_count", "_deep", "_inside", "_open", "_open_inside", "_read_closed")

    def __init__(
        self,
        fields: Callable[[bool, bool], list[Any]],
        *,
        passed_over: tuple[str, ...],
        acted_on: Collection[str],
        count: Callable[[Any], int] = lambda peeked: 0,
        inside: Mapping[str, frozenset[str]] = {},
        deep: Mapping[str, frozenset[str]] = {},
    ) -> None:
        """`fields` of the body, by whether other members may stand in the body and what is numbered, and in the rest.

        `acted_on`: names in the body that are spelt one way only. `inside`: the same by member, for the object or the
        objects of a list that it holds. `deep`: the same at any depth in it. `count`: how many numbered things there
        are in a body.
        """
        self._read_closed = Peek(shape("Body", fields(False, False), passed_over)).read
        self._open = Peek(shape("Body", fields(True, False)))
        self._open_inside = Peek(shape("Body", fields(True, True)))
        self._acted_on = frozenset(acted_on)
        self._count = count
        self._inside = inside
        self._deep = deep

    def read(self, body: bytes) -> tuple[Any, Notes, Spans | None]:
        """The struct, the notes, and where members stand, if that had to be found out. Raises BodyError.

        The note `is_unbounded` stands where something holds a member that nobody knows, so that its type alone does
        not tell what it is.
        """
        number = _next_number()
        try:
            peeked, notes = self._read_closed(body)
        except ShapeError:
            return self._look_closer(body)
        if _next_number() != number + self._count(peeked) + 1:
            raise self._repeated()
        return peeked, notes, None

    def _look(self, peek: Peek, body: bytes) -> tuple[Any, Notes]:
        number = _next_number()
        peeked, notes = peek.read(body)
        if _next_number() != number + self._count(peeked) + 1:
            raise self._repeated()
        return peeked, notes

    def _repeated(self) -> BodyError:
        return BodyError(f"one of {', '.join(f'`{name}`' for name in self._inside)} is given twice")

    def _look_closer(self, body: bytes) -> tuple[Any, Notes, Spans]:
        """The same of a body that has members we do not know: they are read by name, each of them."""
        is_known = True
        try:
            peeked, notes = self._look(self._open, body)
        except ShapeError:
            is_known = False
            peeked, notes = self._look(self._open_inside, body)
            notes["is_unbounded"] = True
        spans = find_members(body)
        refuse_other_spellings(spans, self._acted_on)
        for name, names in self._inside.items():
            if name in spans:
                refuse_other_spellings(_names_in(body[slice(*spans[name])]), names)
        if not is_known:
            for name, names in self._deep.items():
                if name in spans:
                    _refuse_deep(_decode(body[slice(*spans[name])]), names)
        return peeked, notes, spans


_decode = msgspec.json.Decoder().decode
_names_decoder = msgspec.json.Decoder(list[dict[str, msgspec.Raw]])


def _names_in(value: bytes) -> Collection[str]:
    """Names in an object, each only once, or in the objects of a list. None in anything else."""
    if value.startswith(b"{"):
        return find_members(value)
    return set[str]().union(*_names_decoder.decode(value)) if value.startswith(b"[") else ()


def refuse_other_spellings(names: Collection[str], acted_on: frozenset[str]) -> None:
    """Case folding takes in what Go folds beyond ASCII: the long s (U+017F) and the Kelvin sign (U+212A)."""
    for name in names:
        if name not in acted_on and name.casefold() in acted_on:
            raise BodyError(f"`{name}` must be spelt `{name.casefold()}`")


def _refuse_deep(value: Any, acted_on: frozenset[str]) -> None:
    # As deep as bodies may be: DEEPEST.
    if type(value) is dict:
        members = cast("dict[str, Any]", value)
        refuse_other_spellings(members, acted_on)
        value = list(members.values())
    if type(value) is list:
        for inner in cast("list[Any]", value):
            _refuse_deep(inner, acted_on)
