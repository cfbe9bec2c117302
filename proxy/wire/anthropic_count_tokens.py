"""Counting a message's tokens: free, and its body is a message's without what makes an answer.

Decides only which model is asked about, so that a key's models hold here too. The answer has no usage: it is one.
"""

from proxy.wire import none
from proxy.wire.anthropic_body import look
from proxy.wire.anthropic_messages import object_ids
from proxy.wire.format import Answer, Call
from proxy.wire.none import UnmeteredStream
from proxy.wire.openai_members import edit_call, read_model


def read_call(body: bytes) -> Call:
    """The model, and the files that are counted. Raises BodyError (a Refusal)."""
    notes = look(body).notes
    return Call(requested_model=read_model(notes), object_ids=object_ids(notes))


def forward(call: Call, body: bytes, model: str | None, output_cap: int | None) -> bytes:
    """The body for upstream, maybe with another model. Raises BodyError."""
    return edit_call(call, body, model, None)


def read_answer(body: bytes) -> Answer:
    """An answer that says nothing of itself."""
    return none.read_answer(body)


def open_stream(call: Call) -> UnmeteredStream:
    """There are no streams here."""
    return none.open_stream(call)
