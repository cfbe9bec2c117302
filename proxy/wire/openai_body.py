"""The shape of a chat completion's body, for `body_look` to look at.

Decides which members are read; it must not know what is done with a value.
"""

from typing import Any, Literal

from proxy.wire.body import Member, Notes, once
from proxy.wire.body_look import NUMBERED, BodyLook, shape

CAPS = ("max_completion_tokens", "max_tokens")
UNBOUNDING = ("web_search_options", "prediction", "chat_template")
"""Their mere presence makes the cost unknowable from the bytes: upstream searches the web, bills the rejected tokens of
a prediction as output, or makes of the messages what a template of the caller's says."""
RARE = (*UNBOUNDING, "modalities")
_ONCE = ("model", "stream", "n", "user", "service_tier", *CAPS, *RARE)

_TEXT_PARTS = frozenset({"text", "refusal"})
_CALLERS_TOOLS = frozenset({"function", "custom"})

# Names that the first look passes over. A name that is missing here costs time (a closer look), never correctness;
# in a part or a tool it makes the call unbounded. The second half is what compatible upstreams add.
_PASSED_OVER = (
    "temperature", "top_p", "frequency_penalty", "presence_penalty", "seed", "stop", "tool_choice", "response_format",
    "parallel_tool_calls", "reasoning_effort", "verbosity", "store", "metadata", "logprobs", "top_logprobs",
    "logit_bias", "audio", "function_call", "functions", "prompt_cache_key", "prompt_cache_retention",
    "safety_identifier",
    "top_k", "min_p", "repetition_penalty", "thinking", "reasoning", "chat_template_kwargs",
)  # fmt: skip
_PASSED_OVER_IN_OPTIONS = ("include_obfuscation", "continuous_usage_stats")
_PASSED_OVER_IN_MESSAGES = (
    "name", "tool_calls", "tool_call_id", "refusal", "function_call", "annotations", "reasoning_content", "reasoning",
    "cache_control",
)  # fmt: skip
_UsualRole = Literal["system", "developer", "user", "assistant", "tool", "function"]
_PASSED_OVER_IN_PARTS = ("text", "refusal", "image_url", "input_audio", "cache_control")
_PASSED_OVER_IN_FILES = ("file_data", "filename")
_PASSED_OVER_IN_TOOLS = ("function", "custom", "strict", "name", "description", "parameters", "cache_control")


class _PartType(Member):
    @staticmethod
    def note(notes: Notes, value: Any) -> None:
        if type(value) is not str or value not in _TEXT_PARTS:
            notes["is_unbounded"] = True


class _ToolType(Member):
    @staticmethod
    def note(notes: Notes, value: Any) -> None:
        if type(value) is not str or value not in _CALLERS_TOOLS:
            notes["is_unbounded"] = True


class _Audio(Member):
    """In a message: an answer given by voice earlier, by its id."""

    @staticmethod
    def note(notes: Notes, value: Any) -> None:
        if value is not None:
            notes["is_unbounded"] = True


class FileId(Member):
    """A file that upstream holds: its size is not in the bytes, and it may be another account's."""

    @staticmethod
    def note(notes: Notes, value: Any) -> None:
        """Keep the id."""
        notes["is_unbounded"] = True
        if type(value) is str:
            notes.setdefault("object_ids", []).append(value)


def stream_options(*, is_open: bool) -> Any:
    """The type of the member that asks for usage; `include_usage` is noted as if it were a member of the body."""
    passed_over = () if is_open else _PASSED_OVER_IN_OPTIONS
    options = shape("Options", [("include_usage", once("include_usage"), None), NUMBERED], passed_over)
    # Null options have no number: the closed look leaves them to the open one, whose walk counts every member.
    return options | None if is_open else options


def _fields(is_open: bool, is_open_inside: bool) -> list[Any]:
    file = shape("File", [("file_id", FileId, None)], () if is_open_inside else _PASSED_OVER_IN_FILES)
    part = shape(
        "Part",
        [("type", _PartType), ("file", file | None, None)],
        () if is_open_inside else _PASSED_OVER_IN_PARTS,
    )
    tool = shape("Tool", [("type", _ToolType | None, None)], () if is_open_inside else _PASSED_OVER_IN_TOOLS)
    content = str | list[part | str] | None
    inside = [("content", content, None), ("audio", _Audio, _Audio.mark), NUMBERED]
    if not is_open:
        # The decoder looks for names in this order, beginning after the one before; a Literal makes no object.
        inside.insert(0, ("role", _UsualRole, None))
    message = shape("Message", inside, () if is_open else _PASSED_OVER_IN_MESSAGES)
    return [
        ("messages", list[message]),
        ("stream_options", stream_options(is_open=is_open), None),
        ("tools", list[tool] | None, None),
        *[(name, once(name), None) for name in _ONCE],
    ]


look = BodyLook(
    _fields,
    passed_over=_PASSED_OVER,
    acted_on=(*_ONCE, "messages", "stream_options", "tools"),
    count=lambda peeked: len(peeked.messages) + (peeked.stream_options is not None),
    inside={"messages": frozenset({"content", "audio"}), "stream_options": frozenset({"include_usage"})},
    deep={"messages": frozenset({"file", "file_id"})},
).read
"""Reads a body: the struct, with `messages` and `stream_options`, and the notes of what is acted on.

The note `is_unbounded` stands where a message or a tool is not bounded by its bytes, `object_ids` where files are named
by id. Raises BodyError.
"""
