"""OpenAI's moderations: free, so nothing is metered; a model is read where one is named.

Decides what is read from a body, which goes upstream as it is.
"""

from typing import Any

from proxy.wire.body import once
from proxy.wire.body_look import BodyLook
from proxy.wire.format import Call
from proxy.wire.openai_members import edit_call, read_model

_ONCE = ("model",)


def _fields(is_open: bool, is_open_inside: bool) -> list[Any]:
    return [(name, once(name), None) for name in _ONCE]


_look = BodyLook(_fields, passed_over=("input",), acted_on=_ONCE)


def read_call(body: bytes) -> Call:
    """What the body asks for. Raises BodyError (a Refusal)."""
    _, notes, _ = _look.read(body)
    return Call(requested_model=read_model(notes) if notes.get("model") is not None else "", output_cap=0)


def forward(call: Call, body: bytes, model: str | None, output_cap: int | None) -> bytes:
    """The body for upstream, with another model maybe; a default model stays upstream's to choose."""
    return edit_call(call, body, model if call.requested_model else None, None)
