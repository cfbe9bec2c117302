"""OpenAI's chat completions: what a call asks for, and the body that goes upstream.

Decides what is read from a body and which of its members are edited. Limits, prices and keys are unknown here.
"""

from typing import Any, cast

import msgspec

from proxy.wire.body import BodyError, Notes, append, edit, find_members, set_nested
from proxy.wire.format import Answer, Call
from proxy.wire.openai_body import CAPS, RARE, UNBOUNDING, read_body
from proxy.wire.openai_stream import ChatStream
from proxy.wire.openai_usage import LONGEST_TEXT, clean_text, read_usage
from shared.usage import NO_USAGE

LONGEST_USER = 512
MOST_CHOICES = 128
LARGEST_CAP = 2**31 - 1

# A token stands for at least one byte of text, and JSON never spells a text in fewer bytes than it has; so the
# body's length bounds all that the caller wrote: messages, tools, schemas. What a chat template adds around a message
# (role and separators, 3 to 8 tokens) is paid for by the JSON around it (`{"role":"user","content":""},`, 29 bytes),
# but counted again here; what it adds once per call (a default system prompt, the preamble to tools) is not in the
# bytes at all.
TOKENS_PER_MESSAGE = 8
TOKENS_PER_CALL = 128


def read_call(body: bytes) -> Call:
    """What the body asks for. Raises BodyError (a Refusal)."""
    notes, messages, has_stream_options = read_body(body)
    model = notes.get("model")
    if type(model) is not str or not model or len(model) > LONGEST_TEXT or "\x00" in model:
        raise BodyError(f"`model` must be a text of 1 to {LONGEST_TEXT} characters")
    stream = notes.get("stream")
    if stream is not None and type(stream) is not bool:
        raise BodyError("`stream` must be true or false")
    # Most bodies have few of these: looking first is cheaper than calling.
    return Call(
        requested_model=model,
        is_stream=stream is True,
        user_id=_text(notes, "user", LONGEST_USER) if "user" in notes else "",
        output_cap=_output_cap(notes) if "max_tokens" in notes or "max_completion_tokens" in notes else None,
        choices=(_count(notes, "n", MOST_CHOICES) or 1) if "n" in notes else 1,
        prompt_bound=len(body) + TOKENS_PER_MESSAGE * messages + TOKENS_PER_CALL,
        is_unbounded="is_unbounded" in notes or (not notes.keys().isdisjoint(RARE) and _is_unbounded(notes)),
        asked_usage=_asks_usage(notes["include_usage"]) if "include_usage" in notes else False,
        service_tier=_text(notes, "service_tier", LONGEST_TEXT) if "service_tier" in notes else "",
        has_stream_options=has_stream_options,
    )


def _text(notes: Notes, name: str, longest: int) -> str:
    value = notes.get(name)
    if value is None:
        return ""
    if type(value) is not str or len(value) > longest or "\x00" in value:
        raise BodyError(f"`{name}` must be a text of at most {longest} characters")
    return value


def _count(notes: Notes, name: str, most: int) -> int | None:
    value = notes.get(name)
    if value is None:
        return None
    if type(value) is not int or not 1 <= value <= most:
        raise BodyError(f"`{name}` must be a whole number from 1 to {most}")
    return value


def _output_cap(notes: Notes) -> int | None:
    cap, older_cap = (_count(notes, name, LARGEST_CAP) for name in CAPS)
    if cap is not None and older_cap is not None and cap != older_cap:
        raise BodyError("max_tokens and max_completion_tokens differ")
    return cap or older_cap


def _is_unbounded(notes: Notes) -> bool:
    modalities = notes.get("modalities")
    if modalities is not None and type(modalities) is not list:
        raise BodyError("`modalities` must be a list")
    is_voice = any(modality != "text" for modality in cast("list[Any]", modalities or []))
    return is_voice or any(notes.get(name) is not None for name in UNBOUNDING)


def _asks_usage(include: Any) -> bool:
    if include is not None and type(include) is not bool:
        raise BodyError("`include_usage` must be true or false")
    return include is True


def forward(call: Call, body: bytes, model: str | None, output_cap: int | None) -> bytes:
    """The body for upstream: another model, a lower cap, usage asked for in streams. Else the very same bytes.

    Raises BodyError where a body that must be edited names a member twice, whichever it is.
    """
    is_usage_added = call.is_stream and not call.asked_usage
    if output_cap is None and (model is None or model == call.requested_model):
        if not is_usage_added:
            return body
        if not call.has_stream_options:
            return append(body, (("stream_options", _USAGE_ASKED),))
    spans = find_members(body)
    changes: dict[str, bytes] = {}
    if model is not None and model != call.requested_model:
        changes["model"] = msgspec.json.encode(model)
    if output_cap is not None:
        changes |= _lower_caps(body, spans, output_cap)
    if is_usage_added:
        span = spans.get("stream_options")
        changes["stream_options"] = set_nested(body, span, {"include_usage": b"true"}) if span else _USAGE_ASKED
    return edit(body, changes, spans)


_USAGE_ASKED = b'{"include_usage":true}'


def _lower_caps(body: bytes, spans: dict[str, tuple[int, int]], output_cap: int) -> dict[str, bytes]:
    """Every cap that the caller gave, lowered; where there is none, the one that also holds reasoning tokens."""
    given = {name: msgspec.json.decode(body[slice(*spans[name])]) for name in CAPS if name in spans}
    caps = {name: cap for name, cap in given.items() if cap is not None} or {CAPS[0]: output_cap}
    return {name: b"%d" % min(cap, output_cap) for name, cap in caps.items()}


class _AnswerHead(msgspec.Struct, gc=False):
    id: Any = None
    model: Any = None
    service_tier: Any = None
    usage: msgspec.Raw = msgspec.Raw(b"")
    choices: msgspec.Raw = msgspec.Raw(b"")
    error: Any = None


_answer_decoder = msgspec.json.Decoder(_AnswerHead)


def read_answer(body: bytes) -> Answer:
    """What a whole answer says of itself. Never raises."""
    try:
        head = _answer_decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        return Answer(why_no_usage=f"upstream's answer cannot be read: {error}")
    usage, why = read_usage(head.usage)
    if usage is None and head.error is not None and not head.choices:
        usage = NO_USAGE  # only an error, whatever the status says: no work was done
    return Answer(usage, clean_text(head.id), clean_text(head.model), clean_text(head.service_tier), why)


def open_stream(call: Call) -> ChatStream:
    """The watcher of a stream; usage that the caller did not ask for is hidden."""
    most = None if call.output_cap is None else call.output_cap * call.choices
    return ChatStream(hide_usage=not call.asked_usage, most_output=most)
