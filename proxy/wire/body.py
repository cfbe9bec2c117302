r"""JSON object bodies: a checked look at the few members we act on, and an edit that keeps every other byte.

Decides whether a body is one that both we and upstream read the same way; it must not know what a member means.
The look is one msgspec pass. msgspec keeps the last of two members of one name while upstream may keep the first, so
members we act on are custom types: msgspec hands every occurrence to the hook, also one spelt with escapes, and the
second is an error. (Measured: a hook costs 0.15 µs a member; searching the bytes for each name costs 5 µs per 26 kB
and has to be defended against `mod\u0065l`.)
"""

import re
from collections.abc import Iterable, Mapping
from itertools import accumulate
from typing import Any, ClassVar

import msgspec

from shared.errors import Refusal

DEEPEST = 64
"""Levels of objects and arrays, the body itself included (design §4)."""
MOST_MEMBERS = 1000
"""Top-level members of a body that is edited: far beyond any API, small enough to walk."""

Notes = dict[str, Any]
"""What a peek has seen, by member name."""


class BodyError(Refusal):
    """The body is not what we must read. The message is safe for the caller."""

    def __init__(self, message: str) -> None:
        super().__init__("body_invalid", message)


class ShapeError(BodyError):
    """The body is JSON, but not of the shape that was looked for."""


class Member:
    """Base of the types that make msgspec call the hook for each occurrence of a member."""

    __slots__ = ()
    once_name: ClassVar[str] = ""
    """Not empty: `notes[once_name]` is the value, and a second occurrence is a BodyError."""
    mark: ClassVar["Member"]
    """What stands for the value in the decoded struct."""

    def __init_subclass__(cls) -> None:
        cls.mark = cls()

    @staticmethod
    def note(notes: Notes, value: Any) -> None:
        """Told of each occurrence, in order, also of those that a later one overrides. Not called for `once` types."""


def once(name: str) -> type[Member]:
    """The type of a member that is acted on and may come only once."""
    return type(name, (Member,), {"__slots__": (), "once_name": name})


class Peek:
    """Looks at bodies of one shape. For one thread at a time: the notes are shared with the decoder's hook."""

    __slots__ = ("_decode", "_notes")

    def __init__(self, shape: type[msgspec.Struct]) -> None:
        self._notes = notes = Notes()

        def hook(kind: type[Member], value: Any) -> Member:
            name = kind.once_name
            if not name:
                kind.note(notes, value)
            elif name in notes:
                raise BodyError(f"`{name}` is given twice")
            else:
                notes[name] = value
            return kind.mark

        self._decode = msgspec.json.Decoder(shape, dec_hook=hook).decode

    def read(self, body: bytes) -> tuple[Any, Notes]:
        """The struct, and the notes, which are good until the next read. Raises BodyError, ShapeError."""
        self._notes.clear()
        try:
            peeked = self._decode(body)
            if not body.isascii():
                body.decode()
        except msgspec.ValidationError as error:
            raise ShapeError(f"the body is not as expected: {error}") from None
        except msgspec.DecodeError as error:
            raise BodyError(f"the body is not valid JSON: {error}") from None
        except UnicodeDecodeError:
            raise BodyError("the body is not UTF-8") from None
        except RecursionError:
            raise _too_deep() from None
        if _is_too_deep(body):
            raise _too_deep()
        return peeked, self._notes


def _too_deep() -> BodyError:
    return BodyError(f"the body is nested deeper than {DEEPEST} levels")


_TO_STEPS = bytes.maketrans(b"[{]}", b"\x01\x01\xff\xff")
_NOT_STRUCTURE = bytes(set(range(256)) - set(b'[]{}"'))
_LEAF = b"\x01\xff"
_USUAL_DEPTH = 8


def _is_too_deep(body: bytes) -> bool:
    """Whether a valid JSON text is nested deeper than DEEPEST. Linear, in C throughout, and not fooled by strings."""
    # `replace` finds with memchr and stops after DEEPEST + 1 hits: 1.5 µs for 26 kB where `count` takes 10.
    openings = 2 * len(body) - len(body.replace(b"{", b"", DEEPEST + 1)) - len(body.replace(b"[", b"", DEEPEST + 1))
    if openings <= DEEPEST:
        return False
    if body.rfind(b'\\"') >= 0:
        body = b"".join(b"".join(body.split(b"\\\\")).split(b'\\"'))
    # Whether a bracket is in a string is the parity of the quotes before it, which a pair of quotes does not change.
    steps = body.translate(_TO_STEPS, _NOT_STRUCTURE).replace(b'""', b"")
    if b'"' in steps:
        steps = b"".join(steps.split(b'"')[::2])
    for _ in range(_USUAL_DEPTH):
        # Takes away one level exactly: the outer pair only becomes adjacent by it.
        steps = steps.replace(_LEAF, b"")
        if not steps:
            return False
    # What is left, as signed bytes: one level up or down each.
    return _USUAL_DEPTH + max(accumulate(memoryview(steps).cast("b"))) > DEEPEST


# --- the shallow edit ---

_NAME = re.compile(rb'[ \t\n\r]*("[^"\\]*+(?:\\.[^"\\]*+)*+")[ \t\n\r]*:[ \t\n\r]*', re.DOTALL)
_COMMA_OR_END = re.compile(rb"[ \t\n\r]*([,}])")
_members_decoder = msgspec.json.Decoder(dict[str, msgspec.Raw])
_name_decoder = msgspec.json.Decoder(str)


def find_members(body: bytes) -> dict[str, tuple[int, int]]:
    """Start and end of each top-level member's value. Raises BodyError where a name is given twice."""
    try:
        values = _members_decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise BodyError("the body is not a valid JSON object") from None
    if len(values) > MOST_MEMBERS:
        raise BodyError(f"the body has more than {MOST_MEMBERS} members")
    spans: dict[str, tuple[int, int]] = {}
    at = body.index(b"{") + 1
    while len(spans) < len(values):
        name_match = _NAME.match(body, at)
        name = _name_decoder.decode(name_match[1]) if name_match else ""
        if name_match is None or name in spans:
            raise BodyError(f"`{name[:100]}` is given twice")
        start = name_match.end()
        value = bytes(values[name])
        # msgspec holds the last value of a name; a different one here is an earlier one, and so is a longer number.
        end_match = _COMMA_OR_END.match(body, start + len(value)) if body.startswith(value, start) else None
        if end_match is None:
            raise BodyError(f"`{name[:100]}` is given twice")
        spans[name] = (start, start + len(value))
        at = end_match.end()
    if spans and body[at - 1 : at] != b"}":
        raise BodyError("a member is given twice")
    return spans


def edit(body: bytes, changes: Mapping[str, bytes], spans: Mapping[str, tuple[int, int]] | None = None) -> bytes:
    """The body with top-level members set to the given JSON values: replaced where they stand, else appended.

    Every other byte stays. `spans` saves the walk when `find_members` was called before. Raises BodyError.
    """
    if spans is None:
        spans = find_members(body)
    pieces: list[bytes] = []
    at = 0
    for (start, end), value in sorted((spans[name], value) for name, value in changes.items() if name in spans):
        pieces += (body[at:start], value)
        at = end
    pieces.append(body[at:])
    missing = [(name, value) for name, value in changes.items() if name not in spans]
    edited = b"".join(pieces)
    return append(edited, missing, is_empty=not spans) if missing else edited


def append(body: bytes, members: Iterable[tuple[str, bytes]], *, is_empty: bool = False) -> bytes:
    """The body with members added at its end. The caller knows that it has none of these names."""
    end = body.rindex(b"}")
    text = b",".join(b'"%b":%b' % (name.encode(), value) for name, value in members)
    return b"%b%b%b%b" % (body[:end], b"" if is_empty else b",", text, body[end:])


def set_nested(body: bytes, span: tuple[int, int], changes: Mapping[str, bytes]) -> bytes:
    """The new value of the object or null at `span`, with members set as `edit` sets them."""
    value = body[slice(*span)]
    return edit(b"{}" if value == b"null" else value, changes)
