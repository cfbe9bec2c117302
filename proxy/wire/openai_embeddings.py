"""OpenAI's embeddings: what a call asks for, and what an answer says of itself.

Decides what is read from a body. There is no output that costs anything, and never a stream.
"""

from typing import Any

import msgspec

from proxy.wire.body import BodyError, once
from proxy.wire.body_look import BodyLook
from proxy.wire.format import Answer, Call
from proxy.wire.openai_members import (
    LONGEST_USER,
    edit_call,
    read_flag,
    read_model,
    read_prompts,
    read_text,
)
from proxy.wire.openai_usage import clean_text, is_given, read_embeddings_usage
from shared.usage import NO_USAGE

TOKENS_PER_INPUT = 8
"""What an upstream may add to each input: marks of its beginning and end, an instruction's prefix."""

_UNBOUNDING = ("messages",)
"""Their mere presence makes the cost unknowable from the bytes: compatible upstreams take images there."""
_ONCE = ("model", "input", "user", "stream", *_UNBOUNDING)
_PASSED_OVER = ("encoding_format", "dimensions", "input_type", "truncate", "truncate_prompt_tokens", "task")


def _fields(is_open: bool, is_open_inside: bool) -> list[Any]:
    return [(name, once(name), None) for name in _ONCE]


_look = BodyLook(_fields, passed_over=_PASSED_OVER, acted_on=_ONCE)


def read_call(body: bytes) -> Call:
    """What the body asks for. Raises BodyError (a Refusal)."""
    _, notes, _ = _look.read(body)
    given = notes.get("input")
    if given is None and notes.get("messages") is None:
        raise BodyError("`input` must be a text, a list of texts, or tokens")
    if read_flag(notes, "stream"):
        raise BodyError("embeddings are not streamed")
    inputs = read_prompts(given)
    return Call(
        requested_model=read_model(notes),
        user_id=read_text(notes, "user", LONGEST_USER),
        output_cap=0,
        prompt_bound=(len(body) if inputs.tokens is None else inputs.tokens) + TOKENS_PER_INPUT * inputs.number,
        is_unbounded=any(notes.get(name) is not None for name in _UNBOUNDING) or not inputs.is_plain,
    )


def forward(call: Call, body: bytes, model: str | None, output_cap: int | None) -> bytes:
    """The body for upstream, with another model maybe; there is no output to cap."""
    return edit_call(call, body, model, None)


class _AnswerHead(msgspec.Struct, gc=False):
    id: Any = None
    model: Any = None
    usage: msgspec.Raw = msgspec.Raw(b"")
    data: msgspec.Raw = msgspec.Raw(b"")
    error: Any = None


_answer_decoder = msgspec.json.Decoder(_AnswerHead)


def read_answer(body: bytes) -> Answer:
    """What a whole answer says of itself. Never raises."""
    try:
        head = _answer_decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        return Answer(why_no_usage=f"upstream's answer cannot be read: {error}")
    usage, why = read_embeddings_usage(head.usage)
    if usage is None and head.error is not None and not is_given(head.data):
        usage = NO_USAGE  # only an error, whatever the status says: no work was done
    return Answer(usage, clean_text(head.id), clean_text(head.model), "", why)
