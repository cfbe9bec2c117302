"""OpenAI's responses: what a call asks for, the body that goes upstream, and what an answer says of itself.

Decides what is read and which members are edited. Limits, prices, keys and whose an object is are unknown here.
"""

from typing import Any

import msgspec

from proxy.wire.body import BodyError, Notes
from proxy.wire.format import Answer, Call
from proxy.wire.openai_members import (
    LARGEST_CAP,
    LONGEST_USER,
    TOKENS_PER_CALL,
    TOKENS_PER_MESSAGE,
    edit_call,
    read_count,
    read_flag,
    read_ids,
    read_model,
    read_text,
)
from proxy.wire.openai_responses_body import RARE, UNBOUNDING, note_id, read_body, refuse_held
from proxy.wire.openai_responses_stream import ResponseStream
from proxy.wire.openai_usage import LONGEST_TEXT, clean_text, is_given, read_responses_usage, read_tool_units
from shared.usage import NO_USAGE

_CAP = "max_output_tokens"


def read_call(body: bytes) -> Call:
    """What the body asks for. Raises BodyError (a Refusal)."""
    notes, items = read_body(body)
    is_unbounded = "is_unbounded" in notes
    if not notes.keys().isdisjoint(RARE):
        is_unbounded = _read_rare(notes) or is_unbounded
    return Call(
        requested_model=read_model(notes),
        is_stream=read_flag(notes, "stream") if "stream" in notes else False,
        user_id=_user(notes) if "user" in notes or "safety_identifier" in notes else "",
        output_cap=read_count(notes, _CAP, LARGEST_CAP) if _CAP in notes else None,
        prompt_bound=len(body) + TOKENS_PER_MESSAGE * items + TOKENS_PER_CALL,
        is_unbounded=is_unbounded,
        service_tier=read_text(notes, "service_tier", LONGEST_TEXT) if "service_tier" in notes else "",
        object_ids=read_ids(notes) if "object_ids" in notes else (),
    )


def _user(notes: Notes) -> str:
    """The later API has a new name for the same."""
    return read_text(notes, "user", LONGEST_USER) or read_text(notes, "safety_identifier", LONGEST_USER)


def _read_rare(notes: Notes) -> bool:
    """Whether one of the rare members makes the cost unbounded; those that cannot be served are refused."""
    if notes.get("conversation") is not None:
        raise BodyError("`conversation` is not offered: whose it is cannot be told; use `previous_response_id`")
    if read_flag(notes, "background"):
        raise BodyError("`background` is not offered: what such a call used is known only after it was answered")
    earlier = notes.get("previous_response_id")
    if earlier is not None and type(earlier) is not str:
        raise BodyError("`previous_response_id` must be a text")
    note_id(notes, earlier)
    refuse_held(notes.get("prompt"))
    return any(notes.get(name) is not None for name in UNBOUNDING)


def forward(call: Call, body: bytes, model: str | None, output_cap: int | None) -> bytes:
    """The body for upstream: another model, a lower cap. Else the very same bytes. Raises BodyError."""
    return edit_call(call, body, model, output_cap, (_CAP,))


class _AnswerHead(msgspec.Struct, gc=False):
    id: Any = None
    model: Any = None
    service_tier: Any = None
    usage: msgspec.Raw = msgspec.Raw(b"")
    tool_usage: msgspec.Raw = msgspec.Raw(b"")
    output: msgspec.Raw = msgspec.Raw(b"")
    error: Any = None


_answer_decoder = msgspec.json.Decoder(_AnswerHead)


def read_answer(body: bytes) -> Answer:
    """What a whole answer says of itself. Never raises."""
    try:
        head = _answer_decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        return Answer(why_no_usage=f"upstream's answer cannot be read: {error}")
    usage, why = read_responses_usage(head.usage)
    if usage is None and head.error is not None and not is_given(head.usage) and bytes(head.output) in _NO_OUTPUT:
        usage = NO_USAGE  # only an error, whatever the status says: no work was done
    units, why_no_units = read_tool_units(head.tool_usage, head.output)
    if why_no_units:
        usage, why = None, why_no_units
    return Answer(usage, clean_text(head.id), clean_text(head.model), clean_text(head.service_tier), why, units)


_NO_OUTPUT = (b"", b"null", b"[]")


def open_stream(call: Call) -> ResponseStream:
    """The watcher of a stream."""
    return ResponseStream(most_output=call.output_cap)
