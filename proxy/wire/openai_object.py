"""Calls on an object that exists at upstream: its body passes as it is, and nothing is metered.

Whether the object is the caller's is decided elsewhere, by its id in the path.
"""

from typing import Any

import msgspec

from proxy.wire.format import Answer, Call
from proxy.wire.openai_usage import clean_text

_CALL = Call()
_NO_USAGE = "the endpoint reports none"


def read_call(body: bytes) -> Call:
    """The same call for every body: nothing in it is acted on."""
    return _CALL


def forward(call: Call, body: bytes, model: str | None, output_cap: int | None) -> bytes:
    """The very same bytes."""
    return body


class _AnswerHead(msgspec.Struct, gc=False):
    id: Any = None
    model: Any = None


_answer_decoder = msgspec.json.Decoder(_AnswerHead)


def read_answer(body: bytes) -> Answer:
    """The object's id and model, where it says so. The usage in it is of the call that made it. Never raises."""
    try:
        head = _answer_decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return Answer(why_no_usage=_NO_USAGE)
    return Answer(None, clean_text(head.id), clean_text(head.model), "", _NO_USAGE)
