"""A streamed answer put together: the one JSON object that the same call would have got without streaming.

For logs, after the stream: what a caller gets is never touched. Only a stream that ended as its format says, and in
which nothing is unknown that might matter, is put together; any other stays what it was, byte by byte. Pure. To add a
format: a function from frames to bytes that raises NotWhole when in doubt, and a row in ASSEMBLERS.
"""

from collections.abc import Callable, Iterator

import msgspec

from proxy.wire import anthropic_assemble, openai_assemble
from proxy.wire.pieces import NotWhole
from proxy.wire.sse import iter_data

ASSEMBLERS: dict[str, Callable[[Iterator[tuple[str, bytes]]], bytes]] = {
    "openai_chat": openai_assemble.assemble_chat,
    "openai_completions": openai_assemble.assemble_completion,
    "openai_responses": openai_assemble.assemble_response,
    "anthropic_messages": anthropic_assemble.assemble_message,
    "anthropic_complete": anthropic_assemble.assemble_completion,
}
"""By the name of a format (FORMATS)."""


def assemble(format_name: str, relayed: bytes) -> bytes:
    """The answer that `relayed`, the bytes of a whole stream, stands for. Never raises.

    `relayed` itself where the format has no row or its frames do not surely make one whole answer.
    """
    assembler = ASSEMBLERS.get(format_name)
    if assembler is None:
        return relayed
    try:
        return assembler(iter_data(relayed))
    except (NotWhole, msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return relayed
