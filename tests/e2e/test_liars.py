"""Callers who lie, hang up, or come at a bad moment; settings that are broken."""

import asyncio
import io
import signal
import socket
import time

import msgspec
import pytest

from tests.e2e.stack import CHAT, Stack, chat_body
from tests.fakes.upstream import FakeUpstream, Script
from tests.ports import free_port


async def leave_after(stack: Stack, key: str, body: dict[str, object], seconds: float) -> None:
    """A caller who hangs up so many seconds after sending."""
    encoded = msgspec.json.encode(body)
    with socket.create_connection(("127.0.0.1", stack.proxy_port)) as caller:
        head = f"POST {CHAT} HTTP/1.1\r\nhost: w\r\nx-api-key: {key}\r\ncontent-length: {len(encoded)}\r\n\r\n"
        caller.sendall(head.encode() + encoded)
        await asyncio.sleep(seconds)


async def test_leaving_before_the_head_cuts_upstream_and_is_paid(stack: Stack, upstream: FakeUpstream) -> None:
    """A stream whose caller is gone is cancelled though nothing of it came yet."""
    key = await stack.create_key(await stack.create_setting(), costLimitInUsd=1)
    upstream.default = Script(delay=8)
    await leave_after(stack, key["key"], chat_body(stream=True), 0.4)
    await upstream.until(lambda u: u.calls and u.calls[0].ended is not None, 2)
    [row] = await stack.events(key["keyId"], 1, 3)
    assert (row["outcome"], row["error_kind"], row["is_estimated"]) == ("cancelled", "caller_left", True)
    assert row["input_tokens"] > 0
    assert row["charged_cost_nano"] > 0


async def test_hanging_up_on_hidden_reasoning_is_not_free(stack: Stack, upstream: FakeUpstream) -> None:
    """What a reasoning model may have made before its first word is billed, by time."""
    key = await stack.create_key(await stack.create_setting())
    upstream.default = Script(delay=1.0, events=50, interval=0.05)
    await leave_after(stack, key["key"], chat_body(model="o3", stream=True), 1.6)
    [row] = await stack.events(key["keyId"], 1, 3)
    assert row["outcome"] == "cancelled"
    assert row["reasoning_tokens"] >= 150
    assert row["output_tokens"] >= 1


@pytest.mark.parametrize("size", [100_000, 8_000_000])
async def test_a_refusal_reaches_a_caller_who_is_still_sending(stack: Stack, size: int) -> None:
    """Not a broken pipe, which SDKs would retry."""
    body = io.BytesIO(b'{"model":"gpt-4o","x":"' + b"x" * size + b'"}')
    async with stack.http.post(stack.proxy_url + CHAT, data=body, headers={"x-api-key": "nobody"}) as answer:
        assert answer.status == 401


async def test_a_setting_whose_secret_does_not_open_is_passed_over(stack: Stack) -> None:
    """The key's other setting serves; with none left the answer is 500 without a trace of why."""
    bad, good = await stack.create_setting(), await stack.create_setting()
    await stack.rows("UPDATE provider_settings SET sealed = 'damaged' WHERE id = $1", bad)
    both = await stack.create_key(bad, settingId=None, settingIds=[bad, good])
    only = await stack.create_key(bad)
    assert (await stack.chat(both["key"]))[0] == 200
    status, _, body = await stack.chat(only["key"])
    assert (status, msgspec.json.decode(body)["error"]["message"]) == (500, "[Weir] internal authentication error")
    assert "Traceback" not in stack.log("proxy").read_text()


async def test_a_key_that_is_revoked_while_its_body_comes_is_refused(stack: Stack, upstream: FakeUpstream) -> None:
    """A prepared connection is no way past a revocation."""
    key = await stack.create_key(await stack.create_setting())
    encoded = msgspec.json.encode(chat_body())
    reader, writer = await asyncio.open_connection("127.0.0.1", stack.proxy_port)
    head = f"POST {CHAT} HTTP/1.1\r\nhost: w\r\nx-api-key: {key['key']}\r\ncontent-length: {len(encoded)}\r\n\r\n"
    writer.write(head.encode() + encoded[:5])
    await asyncio.sleep(0.3)
    await stack.admin("PATCH", f"/api/key-management/keys/{key['keyId']}", {"revoked": True})
    await asyncio.sleep(1.5)
    writer.write(encoded[5:])
    assert (await reader.readline()).startswith(b"HTTP/1.1 401")
    writer.close()
    assert upstream.calls == []


async def test_what_never_reached_upstream_counts_for_nothing(stack: Stack) -> None:
    """Neither half-sent bodies nor an upstream that is not there are requests in the rollup."""
    gone = await stack.create_setting(setting={"apikey": "k", "url": f"http://127.0.0.1:{free_port()}"})
    key = await stack.create_key(gone, rateLimitOverTime=3, rateLimitUnit="d")
    for _ in range(5):
        status, _, body = await stack.chat(key["key"])
        assert status == 502
    assert b"[Weir] " in body
    rows = await stack.events(key["keyId"], 5)
    assert {(row["outcome"], row["error_kind"]) for row in rows} == {("refused", "upstream_unreachable")}
    assert await stack.rows("SELECT * FROM spend_hours WHERE key_id = $1", key["keyId"]) == []


async def test_refused_calls_tell_the_rate(stack: Stack) -> None:
    """429 carries both families of rate headers."""
    key = await stack.create_key(await stack.create_setting(), rateLimitOverTime=1, rateLimitUnit="d")
    assert (await stack.chat(key["key"]))[0] == 200
    status, headers, _ = await stack.chat(key["key"])
    assert (status, headers["x-ratelimit-limit"], headers["x-ratelimit-remaining"]) == (429, "1", "0")
    assert int(headers["x-ratelimit-reset"]) > time.time()
    assert headers["x-should-retry"] == "false"


async def test_sigterm_waits_for_calls_whose_caller_is_gone(stack: Stack, upstream: FakeUpstream) -> None:
    """A call answered early by its own deadline is drained, billed by its usage and shipped before the exit."""
    key = await stack.create_key(await stack.create_setting())
    upstream.default = Script(delay=2.0, prompt_tokens=50, completion_tokens=7)
    assert (await stack.chat(key["key"], headers={"x-request-timeout": "200ms"}))[0] == 504
    await leave_after(stack, key["key"], chat_body(), 0.2)
    process = stack.processes["proxy"]
    process.send_signal(signal.SIGTERM)
    assert await asyncio.wait_for(process.wait(), 15) == 0
    rows = await stack.events(key["keyId"], 2, 2)
    assert [(row["input_tokens"], row["output_tokens"], row["is_estimated"]) for row in rows] == [(50, 7, False)] * 2
    await stack.start_proxy()


async def test_a_caller_s_hurry_is_no_way_around_a_limit(stack: Stack) -> None:
    """Streams with a deadline too short to connect in count as requests."""
    key = await stack.create_key(await stack.create_setting(), rateLimitOverTime=2, rateLimitUnit="d")
    hurry = {"x-request-timeout": "1us"}
    statuses = [(await stack.chat(key["key"], chat_body(stream=True), hurry))[0] for _ in range(4)]
    assert statuses[2:] == [429, 429]


async def test_notes_in_utf_8_are_kept(stack: Stack) -> None:
    """As BricksLLM keeps them."""
    key = await stack.create_key(await stack.create_setting())
    encoded = msgspec.json.encode(chat_body())
    reader, writer = await asyncio.open_connection("127.0.0.1", stack.proxy_port)
    writer.write(
        f"POST {CHAT} HTTP/1.1\r\nhost: w\r\nx-api-key: {key['key']}\r\nx-custom-event-id: ünï\r\n"
        f"content-length: {len(encoded)}\r\n\r\n".encode()
        + encoded
    )
    assert (await reader.readline()).startswith(b"HTTP/1.1 200")
    writer.close()
    [row] = await stack.events(key["keyId"], 1)
    assert row["custom_id"] == "ünï"
