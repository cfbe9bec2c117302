"""The shape of a chat completion's body, looked at so that no reader finds another call in it than we do.

Decides which members are read and which spellings are refused; it must not know what is done with a value.
Some readers match names without regard to case and take the last one (Go's encoding/json, and upstreams built on
it): `"Model"` after `"model"` would be another call than the one that was checked. So the first look knows every
member of the API and fails on any other, at no cost beyond the parse; only then names are compared one by one.
"""

import itertools
from collections.abc import Collection
from typing import Any, Literal, cast

import msgspec

from proxy.wire.body import BodyError, Member, Notes, Peek, ShapeError, find_members, once

CAPS = ("max_completion_tokens", "max_tokens")
UNBOUNDING = ("web_search_options", "prediction")
"""Their mere presence makes the cost unknowable from the bytes: upstream searches the web, or bills the rejected
tokens of a prediction as output."""
RARE = (*UNBOUNDING, "modalities")
_ONCE = ("model", "stream", "n", "user", "service_tier", *CAPS, *RARE)
_ACTED_ON = frozenset((*_ONCE, "messages", "stream_options", "tools"))
_IN_MESSAGES = frozenset({"content", "audio"})
_IN_OPTIONS = frozenset({"include_usage"})

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
_PASSED_OVER_IN_PARTS = ("text", "refusal", "image_url", "input_audio", "file", "cache_control")
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


# Numbers every object of two kinds that is decoded, so that messages which a second `messages` member replaced are
# missed, and so are options. A factory in C costs 0.05 µs an object where a hook costs 0.2.
_next_number = itertools.count().__next__


class _Number(Member):
    @staticmethod
    def note(notes: Notes, value: Any) -> None:
        raise BodyError("the body has an unknown member")


_NUMBERED = ("number", _Number, msgspec.field(name=" number", default_factory=cast(Any, _next_number)))


def _shape(name: str, fields: list[Any], passed_over: tuple[str, ...] = ()) -> Any:
    """A struct; with names to pass over it allows no others. Raw: a value costs little more than if it is skipped."""
    raw = [(other, msgspec.Raw, None) for other in passed_over]
    return msgspec.defstruct(name, fields + raw, gc=False, forbid_unknown_fields=bool(passed_over))


def _peek(*, is_open: bool, is_open_inside: bool) -> Peek:
    """`is_open`: other members may stand in the body, in messages and options. `is_open_inside`: in parts and tools."""
    part = _shape("Part", [("type", _PartType)], () if is_open_inside else _PASSED_OVER_IN_PARTS)
    tool = _shape("Tool", [("type", _ToolType | None, None)], () if is_open_inside else _PASSED_OVER_IN_TOOLS)
    content = str | list[part | str] | None
    inside = [("content", content, None), ("audio", _Audio, _Audio.mark), _NUMBERED]
    if not is_open:
        # The decoder looks for names in this order, beginning after the one before; a Literal makes no object.
        inside.insert(0, ("role", _UsualRole, None))
    message = _shape("Message", inside, () if is_open else _PASSED_OVER_IN_MESSAGES)
    options = _shape(
        "Options",
        [("include_usage", once("include_usage"), None), _NUMBERED],
        () if is_open else _PASSED_OVER_IN_OPTIONS,
    )
    # Null options have no number: the closed look leaves them to the open one, whose walk counts every member.
    fields = [
        ("messages", list[message]),
        ("stream_options", options | None if is_open else options, None),
        ("tools", list[tool] | None, None),
        *[(name, once(name), None) for name in _ONCE],
    ]
    return Peek(_shape("Body", fields, () if is_open else _PASSED_OVER))


_closed = _peek(is_open=False, is_open_inside=False)
_open = _peek(is_open=True, is_open_inside=False)
_open_inside = _peek(is_open=True, is_open_inside=True)


def read_body(body: bytes) -> tuple[Notes, int, bool]:
    """The members that are acted on, the number of messages, and whether there are stream options, maybe null.

    The note `is_unbounded` stands where a message or a tool is not bounded by its bytes; `include_usage` is noted as
    if it were a member of the body. Raises BodyError.
    """
    try:
        notes, messages, has_options = _look(_closed, body)
    except ShapeError:
        return _look_closer(body)
    return notes, messages, has_options


def _look(peek: Peek, body: bytes) -> tuple[Notes, int, bool]:
    number = _next_number()
    peeked, notes = peek.read(body)
    messages = len(peeked.messages)
    has_options = peeked.stream_options is not None
    if _next_number() != number + messages + has_options + 1:
        raise BodyError("`messages` or `stream_options` is given twice")
    return notes, messages, has_options


def _look_closer(body: bytes) -> tuple[Notes, int, bool]:
    """The same of a body that has members we do not know: they are read by name, each of them."""
    try:
        notes, messages, _ = _look(_open, body)
    except ShapeError:
        notes, messages, _ = _look(_open_inside, body)
        # What a part or a tool is cannot be told by its type alone when it has a member nobody knows.
        notes["is_unbounded"] = True
    spans = find_members(body)
    _refuse_other_spellings(spans, _ACTED_ON)
    _refuse_other_spellings(set[str]().union(*_names_decoder.decode(body[slice(*spans["messages"])])), _IN_MESSAGES)
    has_options = "stream_options" in spans
    if has_options and body[spans["stream_options"][0]] == ord("{"):
        _refuse_other_spellings(find_members(body[slice(*spans["stream_options"])]), _IN_OPTIONS)
    return notes, messages, has_options


_names_decoder = msgspec.json.Decoder(list[dict[str, msgspec.Raw]])


def _refuse_other_spellings(names: Collection[str], acted_on: frozenset[str]) -> None:
    """Case folding takes in what Go folds beyond ASCII: the long s (U+017F) and the Kelvin sign (U+212A)."""
    for name in names:
        if name not in acted_on and name.casefold() in acted_on:
            raise BodyError(f"`{name}` must be spelt `{name.casefold()}`")
