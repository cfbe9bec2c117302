"""The shape of a response's body, for `body_look` to look at.

Decides which members are read, and what in the input and the tools the bytes do not bound; it must not know what is
done with a value. An item may come in many kinds, and new ones come often: those that are text of the caller's own are
listed, anything else makes a call unbounded, which costs it a lane of its own and nothing else.
"""

from typing import Any, Literal, cast

from proxy.wire.body import BodyError, Member, Notes, once
from proxy.wire.body_look import NUMBERED, BodyLook, Text, shape
from proxy.wire.openai_body import FileId

UNBOUNDING = ("previous_response_id", "prompt", "context_management")
"""Their mere presence makes the cost unknowable from the bytes: upstream adds what it holds of earlier answers or of
a template, or writes a summary of its own."""
RARE = (*UNBOUNDING, "conversation", "background")
_ONCE = ("model", "stream", "max_output_tokens", "service_tier", "user", "safety_identifier", *RARE)

_TEXT_ITEMS = frozenset({
    "message", "reasoning", "function_call", "function_call_output", "custom_tool_call", "custom_tool_call_output",
    "local_shell_call", "local_shell_call_output", "shell_call", "shell_call_output", "apply_patch_call",
    "apply_patch_call_output",
})  # fmt: skip
_TEXT_PARTS = frozenset({"input_text", "output_text", "text", "refusal", "summary_text", "reasoning_text"})
_CALLERS_TOOLS = frozenset({"function", "custom"})

# Names that the first look passes over. One that is missing here costs time (a closer look), never correctness; in an
# item's parts or a tool it makes the call unbounded.
_PASSED_OVER = (
    "instructions", "temperature", "top_p", "top_logprobs", "reasoning", "text", "tool_choice", "parallel_tool_calls",
    "max_tool_calls", "include", "store", "metadata", "truncation", "stream_options", "prompt_cache_key",
    "prompt_cache_retention", "moderation", "access_programs", "image",
)  # fmt: skip
_PASSED_OVER_IN_ITEMS = (
    "id", "status", "name", "call_id", "arguments", "input", "summary", "phase", "namespace", "caller", "action",
    "operation", "max_output_length", "environment",
)  # fmt: skip
_PASSED_OVER_IN_PARTS = ("text", "refusal", "annotations", "logprobs", "prompt_cache_breakpoint")
_PASSED_OVER_IN_TOOLS = (
    "name", "description", "parameters", "strict", "format", "defer_loading", "allowed_callers", "output_schema",
)  # fmt: skip
_PASSED_OVER_IN_CACHE = ("mode", "ttl", "prewarm")
_UsualRole = Literal["system", "developer", "user", "assistant"]


def _is_one_of(kinds: frozenset[str]) -> type[Member]:
    """The type of a `type` member: any other kind is not bounded by its bytes."""

    class Kind(Member):
        @staticmethod
        def note(notes: Notes, value: Any) -> None:
            if type(value) is not str or value not in kinds:
                notes["is_unbounded"] = True

    return Kind


class _ItemType(Member):
    """Reasoning is bounded where it comes along, sealed; it is not where upstream looks it up by its id."""

    @staticmethod
    def note(notes: Notes, value: Any) -> None:
        if value == "reasoning":
            notes["reasonings"] = notes.get("reasonings", 0) + 1
        elif type(value) is not str or value not in _TEXT_ITEMS:
            notes["is_unbounded"] = True


class _Unbounding(Member):
    """Images and files, wherever they are."""

    @staticmethod
    def note(notes: Notes, value: Any) -> None:
        if value is not None:
            notes["is_unbounded"] = True


class _StoreIds(Member):
    """Stores of files that upstream searches."""

    @staticmethod
    def note(notes: Notes, value: Any) -> None:
        notes["is_unbounded"] = True
        for inner in cast("list[Any]", value) if type(value) is list else [value]:
            note_id(notes, inner)


class _Container(Member):
    """Where upstream runs code: one that exists, by its id, or what a new one is made of."""

    @staticmethod
    def note(notes: Notes, value: Any) -> None:
        notes["is_unbounded"] = True
        note_id(notes, value)
        refuse_held(value)


class _ComparedId(Member):
    """An answer whose prompt upstream compares with this one's, for a diagnosis; it costs nothing."""

    @staticmethod
    def note(notes: Notes, value: Any) -> None:
        note_id(notes, value)


def note_id(notes: Notes, value: Any) -> None:
    """Keep the id of an object."""
    if type(value) is str:
        notes.setdefault("object_ids", []).append(value)


_HELD = frozenset({"file_id", "file_ids", "container_id", "skill_id"})


def refuse_held(value: Any) -> None:
    """Refuse objects by id in a value that is read whole, where a second member of the name would not be seen."""
    if type(value) is dict:
        members = cast("dict[str, Any]", value)
        for name in members:
            if name.casefold() in _HELD:
                raise BodyError(f"`{name}` is not offered in containers and prompt templates")
        value = list(members.values())
    if type(value) is list:
        for inner in cast("list[Any]", value):
            refuse_held(inner)


def _fields(is_open: bool, is_open_inside: bool) -> list[Any]:
    tool = shape(
        "Tool",
        [
            ("type", _is_one_of(_CALLERS_TOOLS) | None, None),
            ("vector_store_ids", _StoreIds | None, None),
            *[(name, _Container | None, None) for name in ("container", "environment")],
        ],
        () if is_open_inside else _PASSED_OVER_IN_TOOLS,
    )
    part = shape(
        "Part",
        [
            ("type", _is_one_of(_TEXT_PARTS) | None, None),
            ("image_url", _Unbounding | None, None),
            ("file_id", FileId | None, None),
            *[(name, _Unbounding | None, None) for name in ("file_data", "file_url", "input_audio")],
        ],
        () if is_open_inside else _PASSED_OVER_IN_PARTS,
    )
    content = str | list[part | str]
    fields = [
        ("type", _ItemType | None, None),
        ("content", content | None, None),
        ("output", content | part | None, None),
        ("tools", list[tool] | None, None),
        ("encrypted_content", str | None, None),
        NUMBERED,
    ]
    if not is_open:
        fields.insert(0, ("role", _UsualRole | None, None))
    item = shape("Item", fields, () if is_open else _PASSED_OVER_IN_ITEMS)
    cache = shape("Cache", [("comparison_response_id", _ComparedId, None)], () if is_open else _PASSED_OVER_IN_CACHE)
    given = Text | list[item]
    return [
        # Null has no number: the closed look leaves it to the open one, whose walk counts every member.
        ("input", given | None if is_open else given, None),
        ("tools", list[tool] | None, None),
        ("prompt_cache_options", cache | None, None),
        *[(name, once(name), None) for name in _ONCE],
    ]


def _count(peeked: Any) -> int:
    given: Any = peeked.input
    return int(given is not None) if type(given) is not list else len(cast("list[Any]", given))


_look = BodyLook(
    _fields,
    passed_over=_PASSED_OVER,
    acted_on=(*_ONCE, "input", "tools", "prompt_cache_options"),
    count=_count,
    inside={
        "input": frozenset({"type", "content", "output", "tools", "encrypted_content"}),
        "tools": frozenset({"vector_store_ids", "container", "environment"}),
        "prompt_cache_options": frozenset({"comparison_response_id"}),
    },
    deep={"input": frozenset({"file_id", "vector_store_ids", "container"})},
)


def read_body(body: bytes) -> tuple[Notes, int]:
    """The members that are acted on, and the number of items.

    The note `is_unbounded` stands where an item or a tool is not bounded by its bytes, `object_ids` where they name
    files and the like by id. Raises BodyError.
    """
    peeked, notes, _ = _look.read(body)
    given: Any = peeked.input
    items = cast("list[Any]", given) if type(given) is list else []
    if "is_unbounded" not in notes:
        sealed = 0
        for item in items:
            if item.encrypted_content is not None:
                sealed += 1
            if item.type is None and item.content is None:
                notes["is_unbounded"] = True  # a reference to an item that upstream holds
        if notes.get("reasonings", 0) > sealed:
            notes["is_unbounded"] = True
    return notes, len(items)
