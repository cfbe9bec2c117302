"""The shape of a message's body, looked at so that no reader finds another call in it than we do.

Decides which members are read and which spellings are refused; it must not know what is done with a value. How it
looks is `body_look`'s. What this API adds at its top level mostly costs something, so a body with a member there that
nobody knows is unbounded, as is one with such a member in a block or a tool.

What is inside messages is told by hooks, which see every occurrence of a member, also one that a later one overrides.
So nothing here may ever make a call look smaller: a hook adds an image, an id or the note that a call is unbounded.
"""

from typing import Any, Literal, NamedTuple

import msgspec

from proxy.wire.body import BodyError, Member, Notes, once
from proxy.wire.body_look import NUMBERED, BodyLook, shape

UNBOUNDING = ("mcp_servers", "container", "thread", "compaction")
"""Their mere presence makes the cost unknowable from the bytes: upstream calls tools in a loop, goes on with what it
holds of an earlier call, or writes a summary that `max_tokens` does not cap."""
OTHER_MODELS = "fallbacks"
"""Lets upstream answer with other models than the one that was checked and priced."""
_ONCE = ("model", "max_tokens", "stream", "service_tier", "speed", "inference_geo", *UNBOUNDING, OTHER_MODELS)
_OBJECTS = {"metadata": "user_id", "thinking": "budget_tokens"}
"""And the member of each that is acted on."""
_WALKED = ("messages", "system", "tools", "context_management")
_FORMATS = ("output_config", "output_format")

# Blocks that are text, or whose size shows in their source. What stands for more than its bytes is not here: a
# `tool_reference` for a whole tool, the result of a server tool for what upstream kept of it.
_BOUNDED_BLOCKS = frozenset(
    {"text", "thinking", "redacted_thinking", "tool_use", "tool_result", "search_result", "image", "document"}
)
_BOUNDED_SOURCES = frozenset({"text", "content"})
_IMAGES = frozenset({"image/jpeg", "image/png", "image/gif", "image/webp"})
# An edit of these kinds only takes away; compacting, the other kind there is, makes upstream write a summary.
_BOUNDED_EDITS = frozenset({"clear_tool_uses_20250919", "clear_thinking_20251015"})
_SECOND_MODEL_TOOLS = "advisor"

# Names that the first look passes over. One that is missing here makes a call unbounded.
_PASSED_OVER = (
    "temperature", "top_p", "top_k", "stop_sequences", "tool_choice", "cache_control", "diagnostics",
    "user_profile_id", "workspace_id", "fallback_credit_token", "billing_policy",
)  # fmt: skip
_PASSED_OVER_IN_THINKING = ("type", "display")
_PASSED_OVER_IN_BLOCKS = (
    "text", "cache_control", "citations", "id", "name", "input", "caller", "tool_use_id", "is_error", "thinking",
    "signature", "data", "title", "context", "transformations",
)  # fmt: skip
_PASSED_OVER_IN_SOURCES = ("data", "url")
_PASSED_OVER_IN_TOOLS = (
    "name", "description", "input_schema", "cache_control", "strict", "defer_loading", "allowed_callers",
    "eager_input_streaming", "input_examples",
)  # fmt: skip
_PASSED_OVER_IN_EDITS = ("trigger", "keep", "clear_at_least", "exclude_tools", "clear_tool_inputs")
_UsualRole = Literal["user", "assistant", "system"]


class Looked(NamedTuple):
    """What was seen in a body."""

    notes: Notes
    """Members that are acted on, by name; `user_id` and `budget_tokens` as if they were members of the body.
    `is_unbounded`: the bytes do not bound the cost. `images`: how many. `object_ids`: ids of files in messages."""
    messages: int
    has_instructions: bool
    """It has tools or an output format, about which upstream instructs the model in words of its own."""


class _BlockType(Member):
    @staticmethod
    def note(notes: Notes, value: Any) -> None:
        if type(value) is not str or value not in _BOUNDED_BLOCKS:
            notes["is_unbounded"] = True


class _SourceType(Member):
    """Of images and documents: given as text, as bytes, or as a place where upstream gets them."""

    @staticmethod
    def note(notes: Notes, value: Any) -> None:
        if value == "base64":
            notes["encoded"] = notes.get("encoded", 0) + 1
        elif type(value) is not str or value not in _BOUNDED_SOURCES:
            notes["is_unbounded"] = True


class _MediaType(Member):
    """A PDF is compressed text, any amount of it, and pages that are read as images."""

    @staticmethod
    def note(notes: Notes, value: Any) -> None:
        if type(value) is str and value in _IMAGES:
            notes["images"] = notes.get("images", 0) + 1
        elif value != "text/plain":
            notes["is_unbounded"] = True


class _FileId(Member):
    @staticmethod
    def note(notes: Notes, value: Any) -> None:
        notes["is_unbounded"] = True
        if type(value) is str:
            notes.setdefault("object_ids", []).append(value)


class _ToolType(Member):
    @staticmethod
    def note(notes: Notes, value: Any) -> None:
        if type(value) is str and value.casefold().startswith(_SECOND_MODEL_TOOLS):
            raise BodyError(f"tool type `{value[:100]}`: a second model cannot be checked and priced yet")
        if value != "custom":
            notes["is_unbounded"] = True


class _EditType(Member):
    @staticmethod
    def note(notes: Notes, value: Any) -> None:
        if type(value) is not str or value not in _BOUNDED_EDITS:
            notes["is_unbounded"] = True


def _block(depth: int, is_open: bool) -> Any:
    """A content block, which may hold others: a tool's result holds a document, a document holds images."""
    if depth == 0:
        # As deep as the API goes. An open look takes what is deeper as it is: such a call is unbounded.
        content: Any = msgspec.Raw if is_open else str
    else:
        content = str | list[_block(depth - 1, is_open)]
        if is_open:
            content |= dict[str, msgspec.Raw] | None
    file_id = ("file_id", _FileId, None)
    source = shape(
        "Source",
        [("type", _SourceType), ("media_type", _MediaType, None), ("content", content, None), file_id],
        () if is_open else _PASSED_OVER_IN_SOURCES,
    )
    return shape(
        "Block",
        # The source of a search result is the place where it was found.
        [("type", _BlockType), ("source", source | str | None, None), ("content", content, None), file_id],
        () if is_open else _PASSED_OVER_IN_BLOCKS,
    )


def _only(name: str, fields: list[Any], *, is_open: bool) -> Any:
    """A struct that has no members to pass over."""
    return msgspec.defstruct(name, fields, gc=False, forbid_unknown_fields=not is_open)


def _fields(is_open: bool, is_open_inside: bool) -> list[Any]:
    text = str | list[_block(2, is_open_inside)]
    # A Literal makes no object; an open look leaves out what is only there to be known.
    role: list[Any] = [] if is_open else [("role", _UsualRole, None)]
    message = _only("Message", [*role, ("content", text, None), NUMBERED], is_open=is_open)
    metadata = _only("Metadata", [("user_id", once("user_id"), None), NUMBERED], is_open=is_open)
    thinking = shape(
        "Thinking",
        [("budget_tokens", once("budget_tokens"), None), NUMBERED],
        () if is_open else _PASSED_OVER_IN_THINKING,
    )
    tool = shape("Tool", [("type", _ToolType | None, None)], () if is_open_inside else _PASSED_OVER_IN_TOOLS)
    context_edit = shape("Edit", [("type", _EditType)], () if is_open_inside else _PASSED_OVER_IN_EDITS)
    edits = _only("Edits", [("edits", list[context_edit] | None, None)], is_open=is_open_inside)
    return [
        ("messages", list[message]),
        ("system", text | None, None),
        ("tools", list[tool] | None, None),
        ("context_management", edits | None, None),
        # Null ones have no number: the closed look leaves them to the open one, whose walk counts every member.
        ("metadata", metadata | None if is_open else metadata, None),
        ("thinking", thinking | None if is_open else thinking, None),
        *[(name, msgspec.Raw, None) for name in _FORMATS],
        *[(name, once(name), None) for name in _ONCE],
    ]


def _count_numbered(peeked: Any) -> int:
    return len(peeked.messages) + (peeked.metadata is not None) + (peeked.thinking is not None)


_LOOK = BodyLook(
    _fields,
    passed_over=_PASSED_OVER,
    acted_on=(*_ONCE, *_OBJECTS, *_WALKED),
    count=_count_numbered,
    inside={"messages": frozenset({"content"}), **{name: frozenset({member}) for name, member in _OBJECTS.items()}},
    deep={"messages": frozenset({"file_id"})},
)
_KNOWN = frozenset((*_ONCE, *_OBJECTS, *_WALKED, *_FORMATS, *_PASSED_OVER))


def look(body: bytes) -> Looked:
    """What is acted on. Raises BodyError."""
    peeked, notes, spans = _LOOK.read(body)
    if notes.get("encoded", 0) > notes.get("images", 0) or (spans is not None and not _KNOWN.issuperset(spans)):
        notes["is_unbounded"] = True
    has_instructions = bool(peeked.tools or peeked.output_config or peeked.output_format)
    return Looked(notes, len(peeked.messages), has_instructions)
