"""Wire formats, sans-IO: bytes in, records and bytes out.

FORMATS is how the gateway speaks of a format without naming one. To add one: a module with these four functions, and
a row.
"""

from proxy.wire import none, openai_chat
from proxy.wire.format import Answer, Call, Format, Stream

__all__ = ["FORMATS", "Answer", "Call", "Format", "Stream"]

FORMATS: dict[str, Format] = {
    "none": Format(
        read_call=none.read_call,
        forward=none.forward,
        open_stream=none.open_stream,
        read_answer=none.read_answer,
    ),
    "openai_chat": Format(
        read_call=openai_chat.read_call,
        forward=openai_chat.forward,
        open_stream=openai_chat.open_stream,
        read_answer=openai_chat.read_answer,
    ),
}
