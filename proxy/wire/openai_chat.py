"""OpenAI's chat completions: what a call asks for, and the body that goes upstream.

Decides what is read from a body and which of its members are edited. Limits, prices and keys are unknown here.
"""

from typing import Any, cast

import msgspec

from proxy.wire.body import BodyError, Notes, append, find_members, set_nested
from proxy.wire.format import Answer, Call
from proxy.wire.openai_body import CAPS, RARE, UNBOUNDING, look
from proxy.wire.openai_members import (
    LARGEST_CAP,
    LONGEST_USER,
    MOST_CHOICES,
    TOKENS_PER_CALL,
    TOKENS_PER_MESSAGE,
    edit_call,
    read_count,
    read_flag,
    read_ids,
    read_model,
    read_text,
)
from proxy.wire.openai_stream import ChatStream
from proxy.wire.openai_usage import LONGEST_TEXT, clean_text, read_usage
from shared.usage import NO_USAGE


def read_call(body: bytes) -> Call:
    """What the body asks for. Raises BodyError (a Refusal)."""
    peeked, notes, spans = look(body)
    # Looking first is cheaper than calling, and most bodies have few of these.
    model = notes.get("model")
    if type(model) is not str or not 0 < len(model) <= LONGEST_TEXT or "\x00" in model:
        model = read_model(notes)
    return Call(
        requested_model=model,
        is_stream="stream" in notes and (notes["stream"] is True or read_flag(notes, "stream")),
        user_id=read_text(notes, "user", LONGEST_USER) if "user" in notes else "",
        output_cap=_output_cap(notes) if "max_tokens" in notes or "max_completion_tokens" in notes else None,
        choices=(read_count(notes, "n", MOST_CHOICES) or 1) if "n" in notes else 1,
        prompt_bound=len(body) + TOKENS_PER_MESSAGE * len(peeked.messages) + TOKENS_PER_CALL,
        is_unbounded="is_unbounded" in notes or (not notes.keys().isdisjoint(RARE) and _is_unbounded(notes)),
        asked_usage=read_flag(notes, "include_usage") if "include_usage" in notes else False,
        service_tier=read_text(notes, "service_tier", LONGEST_TEXT) if "service_tier" in notes else "",
        has_stream_options=peeked.stream_options is not None or (spans is not None and "stream_options" in spans),
        object_ids=read_ids(notes) if "object_ids" in notes else (),
    )


def _output_cap(notes: Notes) -> int | None:
    cap, older_cap = (read_count(notes, name, LARGEST_CAP) for name in CAPS)
    if cap is not None and older_cap is not None and cap != older_cap:
        raise BodyError("max_tokens and max_completion_tokens differ")
    return cap or older_cap


def _is_unbounded(notes: Notes) -> bool:
    modalities = notes.get("modalities")
    if modalities is not None and type(modalities) is not list:
        raise BodyError("`modalities` must be a list")
    is_voice = any(modality != "text" for modality in cast("list[Any]", modalities or []))
    return is_voice or any(notes.get(name) is not None for name in UNBOUNDING)


def forward(call: Call, body: bytes, model: str | None, output_cap: int | None, caps: tuple[str, ...] = CAPS) -> bytes:
    """The body for upstream: another model, a lower cap, usage asked for in streams. Else the very same bytes.

    Raises BodyError where a body that must be edited names a member twice, whichever it is.
    """
    if not call.is_stream or call.asked_usage:
        return edit_call(call, body, model, output_cap, caps)
    if not call.has_stream_options and output_cap is None and (model is None or model == call.requested_model):
        return append(body, (("stream_options", _USAGE_ASKED),))
    spans = find_members(body)
    span = spans.get("stream_options")
    options = set_nested(body, span, {"include_usage": b"true"}) if span else _USAGE_ASKED
    return edit_call(call, body, model, output_cap, caps, {"stream_options": options}, spans)


_USAGE_ASKED = b'{"include_usage":true}'


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
