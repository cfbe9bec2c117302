"""The caller's side over ASGI: bodies under a cap and a deadline, answers in two messages."""

import asyncio
from collections.abc import Iterable
from typing import Any

import pytest

from proxy.adapters.downstream import DISCARD_FACTOR, AsgiDownstream
from proxy.ports import CallerLeft
from shared.errors import Refusal

LEFT = {"type": "http.disconnect"}


class Caller:
    """ASGI's receive and send, from a list of messages; None waits for ever."""

    def __init__(self, messages: Iterable[dict[str, Any] | None]) -> None:
        self.messages = list(messages)
        self.sent: list[Any] = []

    async def receive(self) -> Any:
        message = self.messages.pop(0)
        if message is None:
            await asyncio.Event().wait()
        return message

    async def send(self, message: Any) -> None:
        self.sent.append(message)


def part(body: bytes, more: bool = False) -> dict[str, Any]:
    return {"type": "http.request", "body": body, "more_body": more}


def down(caller: Caller, max_bytes: int = 10, seconds: float = 5) -> AsgiDownstream:
    scope = {
        "method": "POST",
        "path": "/x",
        "query_string": b"",
        "headers": [(b"host", b"w"), (b"origin", b"https://a")],
    }
    return AsgiDownstream(scope, caller.receive, caller.send, max_bytes, seconds)


@pytest.mark.parametrize("parts", [[b"0123456789"], [b"01234", b"56789"], [b"", b"", b"0123456789", b""]])
async def test_a_body_is_gathered(parts: list[bytes]) -> None:
    """Whole, however it comes, up to the limit."""
    messages = [part(piece, number < len(parts) - 1) for number, piece in enumerate(parts)]
    assert await down(Caller(messages)).body(None) == b"0123456789"


@pytest.mark.parametrize(
    ("declared", "messages"),
    [
        (b"11", [part(b"0123456789a")]),
        (None, [part(b"0123456789a")]),
        (None, [part(b"01234", True), part(b"56789a", True), part(b"b")]),
        (b"99999999999999", [part(b"x" * 20, True)] * DISCARD_FACTOR),
    ],
)
async def test_a_body_over_the_limit_is_refused_after_it_was_read_a_while(
    declared: bytes | None, messages: list[dict[str, Any]]
) -> None:
    """So that a caller who is still sending gets the answer, and nobody can make us read for ever."""
    with pytest.raises(Refusal) as caught:
        await down(Caller(messages)).body(declared)
    assert caught.value.kind == "body_too_large"


async def test_a_body_that_stops_coming_is_refused_in_time() -> None:
    """The deadline is for the whole body."""
    with pytest.raises(Refusal) as caught:
        await down(Caller([part(b"0", True), None]), seconds=0.05).body(None)
    assert caught.value.kind == "body_timeout"
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0


async def test_a_cancellation_of_others_is_not_taken_for_the_deadline() -> None:
    """Whoever cancels the request gets it cancelled."""
    reading = asyncio.ensure_future(down(Caller([None])).body(None))  # noqa: TID251
    await asyncio.sleep(0)
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading


@pytest.mark.parametrize("messages", [[LEFT], [part(b"0", True), LEFT]])
async def test_a_caller_who_leaves_is_told_apart(messages: list[dict[str, Any]]) -> None:
    """There is nobody to answer."""
    with pytest.raises(CallerLeft):
        await down(Caller(messages)).body(None)


async def test_an_answer_is_two_messages_and_a_stream_ends_empty() -> None:
    """What granian sends fastest; `is_started` from the head on."""
    caller = Caller([])
    whole = down(caller)
    await whole.answer(200, [(b"a", b"b")], b"body")
    assert whole.is_started
    assert [message["type"] for message in caller.sent] == ["http.response.start", "http.response.body"]

    caller = Caller([])
    stream = down(caller)
    await stream.start(200, [])
    await stream.write(b"data: x\n\n")
    await stream.end()
    assert [message.get("more_body") for message in caller.sent] == [None, True, None]
    assert stream.origin == b"https://a"
