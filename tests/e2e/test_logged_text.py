"""`shouldLogRequest` and `shouldLogResponse`: the event keeps the very bytes, capped; nothing else does."""

import asyncio
from typing import Any

import msgspec
import pytest

from tests.e2e.stack import CHAT, Stack, chat_body
from tests.fakes.upstream import FakeUpstream, Script

SECRET = "a word that is nowhere else: Kaffeeklappe"


async def event_of(stack: Stack, key: dict[str, Any]) -> Any:
    return (await stack.events(key["keyId"], 1))[0]


@pytest.mark.parametrize(
    ("request_kept", "response_kept"), [(False, False), (True, False), (False, True), (True, True)]
)
async def test_what_is_asked_for_is_kept(
    stack: Stack, upstream: FakeUpstream, request_kept: bool, response_kept: bool
) -> None:
    """Byte for byte, each by its own flag; never in a log."""
    key = await stack.create_key(
        await stack.create_setting(), shouldLogRequest=request_kept, shouldLogResponse=response_kept
    )
    body = msgspec.json.encode(chat_body(messages=[{"role": "user", "content": SECRET}]))
    headers = {"authorization": f"Bearer {key['key']}", "content-type": "application/json"}
    async with stack.http.post(stack.proxy_url + CHAT, data=body, headers=headers) as answer:
        assert answer.status == 200
        told = await answer.read()
    event = await event_of(stack, key)
    assert (event["request"] or b"") == (body if request_kept else b"")
    assert (event["response"] or b"") == (told if response_kept else b"")
    assert not event["is_request_cut"]
    assert not event["is_response_cut"]
    assert SECRET not in stack.log("proxy").read_text()


async def test_a_stream_is_kept_as_one_answer(stack: Stack, upstream: FakeUpstream) -> None:
    """The object that a plain call would have got; one that broke off, as it was relayed."""
    key = await stack.create_key(await stack.create_setting(), shouldLogResponse=True)
    assert (await stack.chat(key["key"], chat_body(stream=True)))[0] == 200
    kept = msgspec.json.decode((await event_of(stack, key))["response"])
    assert kept["object"] == "chat.completion"
    assert kept["choices"][0]["message"]["content"]

    upstream.next(Script(cut_after=2))
    key = await stack.create_key(await stack.create_setting(), shouldLogResponse=True)
    _, _, relayed = await stack.chat(key["key"], chat_body(stream=True))
    event = await event_of(stack, key)
    assert event["outcome"] == "cut"
    assert relayed.startswith(event["response"])
    assert event["response"].startswith(b"data: ")


async def test_long_text_is_capped_and_says_so(stack: Stack, upstream: FakeUpstream) -> None:
    """At LOGGED_BODY_BYTES each; the call itself is not touched."""
    key = await stack.create_key(await stack.create_setting(), shouldLogRequest=True, shouldLogResponse=True)
    upstream.next(Script(padding=100_000, events=1))
    body = chat_body(messages=[{"role": "user", "content": "x" * 200_000}])
    status, _, told = await stack.chat(key["key"], body)
    assert status == 200
    event = await event_of(stack, key)
    assert len(event["request"]) == 65_536
    assert event["is_request_cut"]
    assert told.startswith(event["response"])
    assert event["is_response_cut"] is (len(told) > 65_536)


async def test_a_refusal_keeps_what_was_asked(stack: Stack, upstream: FakeUpstream) -> None:
    """Of calls that never reached upstream, too: that is when one looks."""
    key = await stack.create_key(
        await stack.create_setting(), shouldLogRequest=True, rateLimitOverTime=1, rateLimitUnit="d"
    )
    statuses = [(await stack.chat(key["key"]))[0] for _ in range(2)]
    assert statuses == [200, 429]
    events = await stack.events(key["keyId"], 2)
    refused = next(event for event in events if event["outcome"] == "refused")
    assert msgspec.json.decode(refused["request"])["messages"]


async def test_many_logged_streams_at_once(stack: Stack, upstream: FakeUpstream) -> None:
    """Each its own."""
    key = await stack.create_key(await stack.create_setting(), shouldLogRequest=True, shouldLogResponse=True)
    bodies = [chat_body(stream=True, messages=[{"role": "user", "content": f"number {n}"}]) for n in range(50)]
    answers = await asyncio.gather(*(stack.chat(key["key"], body) for body in bodies))
    assert {status for status, _, _ in answers} == {200}
    events = await stack.events(key["keyId"], 50)
    asked = {msgspec.json.decode(event["request"])["messages"][0]["content"] for event in events}
    assert asked == {f"number {n}" for n in range(50)}
    assert all(msgspec.json.decode(event["response"])["id"] == event["upstream_response_id"] for event in events)
