"""Lists of any length: read in steps and sent as they are read, so neither memory nor a connection waits for a reader.

A step begins where the last one ended (by the order's own columns, not by an offset), so no transaction spans a list:
a row that exists throughout is told exactly once, a row that comes or goes meanwhile may or may not be. When a step
fails, the answer ends inside its JSON and cannot be taken for a whole list.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from typing import Any

import msgspec
import structlog
from litestar import Response
from litestar.response import Stream

from admin.answers import JSON, encode

STEP = 500
"""Most rows in one step: some 15 ms, the database included."""

_log = structlog.get_logger()


async def answer_list(
    steps: AsyncIterator[Sequence[msgspec.Struct]], head: bytes = b"[", tail: bytes = b"]"
) -> Response[Any]:
    """All that `steps` yields, as JSON between `head` and `tail`; what the first two of them raise is raised here."""
    first, second = await anext(steps, ()), await anext(steps, None)
    if second is None:
        return Response(head + _members(first) + tail, status_code=200, media_type=JSON)
    return Stream(_told([first, second], steps, head, tail), status_code=200, media_type=JSON)


def _members(rows: Sequence[msgspec.Struct]) -> bytes:
    return encode(rows)[1:-1]


async def _told(
    read: Sequence[Sequence[msgspec.Struct]], steps: AsyncIterator[Sequence[msgspec.Struct]], head: bytes, tail: bytes
) -> AsyncGenerator[bytes]:
    yield head + b",".join(_members(rows) for rows in read if rows)
    try:
        async for rows in steps:
            if rows:
                yield b"," + _members(rows)
    except Exception as error:
        # The status has left already: only this line tells what happened.
        _log.error("a list was cut short", error=type(error).__name__)
        raise
    yield tail
