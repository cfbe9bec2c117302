"""The text of messages, for a count where upstream reports no usage.

Decides, by the names of members, what a tokenizer would see of a body. What it would not see: ids, signatures, and
media, which nobody can count from here. Never raises.
"""

from collections.abc import Iterator
from typing import Any, cast

import msgspec

_PROMPT = ("system", "tools", "messages", "prompt")
_ANSWER = ("content", "completion")
_TEXTS = frozenset({"text", "thinking", "title", "context", "name", "description", "content"})
# The model reads and writes these as JSON.
_OBJECTS = frozenset({"input", "input_schema"})
# Sources whose data is text.
_TEXT_SOURCES = frozenset({"text", "content"})
_SOURCE_TEXTS = frozenset({"data", "content"})

_decode = msgspec.json.Decoder().decode
_encode = msgspec.json.Encoder().encode


def prompt_text(body: bytes) -> str:
    """All text of a request's body."""
    return _text_of(body, _PROMPT)


def answer_text(body: bytes) -> str:
    """All text of a whole answer."""
    return _text_of(body, _ANSWER)


def _text_of(body: bytes, names: tuple[str, ...]) -> str:
    try:
        decoded: Any = _decode(body)
        members = cast("dict[str, Any]", decoded) if type(decoded) is dict else {}
        return "\n".join([text for name in names if name in members for text in _texts(members[name], _TEXTS)])
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return ""


def _texts(value: Any, names: frozenset[str]) -> Iterator[str]:
    if type(value) is str:
        yield value
    elif type(value) is list:
        for inner in cast("list[Any]", value):
            yield from _texts(inner, names)
    elif type(value) is dict:
        members = cast("dict[str, Any]", value)
        for name, inner in members.items():
            if name in names:
                yield from _texts(inner, _TEXTS)
            elif name in _OBJECTS:
                yield _encode(inner).decode()
            elif (
                name == "source" and type(inner) is dict and cast("dict[str, Any]", inner).get("type") in _TEXT_SOURCES
            ):
                yield from _texts(inner, _SOURCE_TEXTS)
