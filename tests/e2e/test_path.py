"""What a caller meets on the proxy's port: health, CORS, refusals, streams byte for byte, bad input."""

import asyncio
import io
import socket
from typing import Any

import aiohttp
import msgspec
import pytest

from tests.e2e.stack import CHAT, MODELS, Stack, chat_body
from tests.fakes import scripts
from tests.fakes.upstream import NAMED, FakeUpstream, Script

MASK_STARS = "*" * 46


@pytest.fixture(scope="module")
async def key(stack: Stack) -> str:
    return (await stack.create_key(await stack.create_setting()))["key"]


async def post(stack: Stack, key: str, body: bytes, **headers: str) -> tuple[int, dict[str, Any]]:
    headers = {"content-type": "application/json", "x-api-key": key, **headers}
    async with stack.http.post(stack.proxy_url + CHAT, data=body, headers=headers) as answer:
        return answer.status, msgspec.json.decode(await answer.read())


# ---------------------------------------------------------------------------------------------- health, CORS, 404


@pytest.mark.parametrize(("method", "path"), [("GET", "/api/health"), ("POST", "/api/health"), ("GET", "/health")])
async def test_health(stack: Stack, method: str, path: str) -> None:
    """Status, timestamp and uptime, without a key."""
    async with stack.http.request(method, stack.proxy_url + path) as answer:
        assert answer.status == 200
        told = await answer.json()
    assert told["status"] == "ok"
    assert set(told) == {"status", "timestamp", "uptime"}


async def test_readiness_is_told_apart(stack: Stack) -> None:
    """With the age of the view and the state of the limiter."""
    async with stack.http.get(f"{stack.proxy_url}/health/ready") as answer:
        assert answer.status == 200
        told = await answer.json()
    assert told["status"] == "ready"
    assert told["snapshot_age_seconds"] < 5
    assert told["limiter_ready"] is True


async def test_a_preflight_is_allowed(stack: Stack) -> None:
    """OPTIONS on any path: 204 with what was asked for (contract §4.4)."""
    asked = {
        "origin": "https://app.example",
        "access-control-request-method": "POST",
        "access-control-request-headers": "authorization, content-type",
    }
    async with stack.http.options(stack.proxy_url + CHAT, headers=asked) as answer:
        assert answer.status == 204
        assert answer.headers["access-control-allow-origin"] == "https://app.example"
        assert answer.headers["access-control-allow-methods"] == "POST"
        assert answer.headers["access-control-allow-headers"] == "authorization, content-type"


@pytest.mark.parametrize("path", ["/", "/api/providers/openai/v1/fine_tuning/jobs", CHAT + "/", "/api/keys"])
async def test_an_unknown_path_is_404_in_the_dialect(stack: Stack, key: str, path: str) -> None:
    """With our request id, and the path in the message."""
    async with stack.http.get(stack.proxy_url + path, headers={"x-api-key": key}) as answer:
        assert answer.status == 404
        error = (await answer.json())["error"]
        assert answer.headers["x-weir-request-id"] == answer.headers["x-request-id"]
    assert error["code"] == "404"
    assert error["message"].startswith("[Weir] route not supported")


# ------------------------------------------------------------------------------------------------- credentials


@pytest.mark.parametrize("form", ["x-api-key", "api-key", "authorization"])
async def test_every_form_of_credential_works(stack: Stack, key: str, form: str) -> None:
    """x-api-key, api-key and Authorization (contract §4.3)."""
    value = f"Bearer {key}" if form == "authorization" else key
    async with stack.http.post(stack.proxy_url + CHAT, json=chat_body(), headers={form: value}) as answer:
        assert answer.status == 200


@pytest.mark.parametrize(
    ("headers", "message"),
    [
        ({}, "[Weir] api key not found in header"),
        ({"authorization": "Bearer "}, "[Weir] api key not found in header"),
        ({"x-api-key": "nobody-knows-me"}, f"[Weir] key nobod{MASK_STARS} is not found"),
        ({"x-api-key": "abc"}, "[Weir] key a***** is not found"),
    ],
)
async def test_bad_credentials_are_401(stack: Stack, headers: dict[str, str], message: str) -> None:
    """With the contract's messages (§4.4), and never the key in full."""
    async with stack.http.post(stack.proxy_url + CHAT, json=chat_body(), headers=headers) as answer:
        assert answer.status == 401
        error = (await answer.json())["error"]
    assert (error["message"], error["code"]) == (message, "401")


async def test_the_stored_digest_is_no_credential(stack: Stack) -> None:
    """Neither what the database holds nor the plain SHA-256 of a key opens anything."""
    created = await stack.create_key(await stack.create_setting())
    [row] = await stack.rows("SELECT digest FROM keys WHERE id = $1", created["keyId"])
    for attempt in (row["digest"].hex(), created["key"][:-1] + "!"):
        assert (await stack.chat(attempt))[0] == 401


async def test_junk_writes_nothing(stack: Stack) -> None:
    """Unauthenticated calls leave no event."""
    before = await stack.rows("SELECT count(*) AS n FROM events WHERE key_id = ''")
    for number in range(6):
        await stack.chat(f"junk-{number}")
    await asyncio.sleep(1)
    assert await stack.rows("SELECT count(*) AS n FROM events WHERE key_id = ''") == before


async def test_refusals_of_a_known_key_are_counted_not_piled_up(stack: Stack) -> None:
    """The first 10 of a minute are rows."""
    created = await stack.create_key(await stack.create_setting(allowedModels=["gpt-4o"]))
    for _ in range(30):
        assert (await stack.chat(created["key"], chat_body(model="o3")))[0] == 403
    await asyncio.sleep(1.5)
    rows = await stack.events(created["keyId"], 10)
    assert 10 <= len(rows) <= 20
    assert {row["error_kind"] for row in rows} == {"model_forbidden"}


# ------------------------------------------------------------------------------------------------------- bodies


@pytest.mark.parametrize(
    "body",
    [
        b"", b"{", b"[]", b"null", b'"text"', b"\xff\xfe", b'{"model":"gpt-4o"', b'{"messages":[]}',
        b'{"model":"","messages":[]}', b'{"model":7,"messages":[]}', b'{"model":"gpt-4o","model":"gpt-4o-mini"}',
        b'{"model":"gpt-4o","mod\\u0065l":"gpt-4o-mini","messages":[]}', b'{"model":"gpt-4o","stream":"yes"}',
        b'{"model":"gpt-4o","messages":[]} trailing', b'{"model":"gpt-4o","x":' + b"[" * 70 + b"]" * 70 + b"}",
        b'{"model":"gpt-4o","x":' + b"[" * 100_000 + b"}", b'{"model":"gpt-4o","n":' + b"9" * 1_000_000 + b"}",
        b'{"model":"gpt-4o","max_tokens":-1}', b'{"model":"gpt-4o","max_tokens":"9"}', b'{"model":"gpt-4o","n":0}',
    ],
)  # fmt: skip
async def test_a_body_that_cannot_be_read_is_400_and_goes_nowhere(
    stack: Stack, upstream: FakeUpstream, key: str, body: bytes
) -> None:
    """Never a way around a check: nothing reaches upstream."""
    status, told = await post(stack, key, body)
    assert status == 400
    assert told["error"]["message"].startswith("[Weir] ")
    assert upstream.calls == []


async def test_a_body_over_the_limit_is_413(stack: Stack, key: str) -> None:
    """Declared or real."""
    body = io.BytesIO(b'{"model":"' + b"x" * (11 << 20) + b'"}')
    async with stack.http.post(stack.proxy_url + CHAT, data=body, headers={"x-api-key": key}) as answer:
        assert answer.status == 413


async def test_a_compressed_body_is_refused(stack: Stack, key: str) -> None:
    """It could hide what the checks must read."""
    assert (await post(stack, key, b"x", **{"content-encoding": "gzip"}))[0] == 415


async def test_a_wrong_timeout_is_400(stack: Stack, key: str) -> None:
    """Contract §4.4, step 2."""
    status, told = await post(stack, key, msgspec.json.encode(chat_body()), **{"x-request-timeout": "soon"})
    assert (status, told["error"]["message"]) == (400, "[Weir] invalid timeout")


async def test_a_request_that_comes_back_is_508(stack: Stack, key: str) -> None:
    """A hop header marks what already passed a Weir."""
    assert (await post(stack, key, b"{}", **{"x-weir-hop": "1"}))[0] == 508


async def test_two_hosts_are_400(stack: Stack) -> None:
    """RFC 9112 §3.2; checked on a raw socket, for no client sends it."""
    reader, writer = await asyncio.open_connection("127.0.0.1", stack.proxy_port)
    writer.write(f"GET {MODELS} HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n".encode())
    assert (await reader.readline()).startswith(b"HTTP/1.1 400")
    writer.close()


# ------------------------------------------------------------------------------------------------------ streams


async def raw_stream(stack: Stack, key: str, body: dict[str, Any]) -> tuple[int, bytes]:
    async with stack.http.post(stack.proxy_url + CHAT, json=body, headers={"x-api-key": key}) as answer:
        return answer.status, await answer.read()


@pytest.mark.parametrize("split", [0, 1, 7, 1000])
@pytest.mark.parametrize("asks", [True, False])
async def test_a_stream_is_relayed_byte_for_byte(
    stack: Stack, upstream: FakeUpstream, key: str, split: int, asks: bool
) -> None:
    """What the caller gets equals what upstream sent, less the usage frame that only Weir asked for."""
    upstream.default = Script(events=20, split=split)
    body = chat_body(stream=True, **({"stream_options": {"include_usage": True}} if asks else {}))
    _, got = await raw_stream(stack, key, body)
    [call] = upstream.calls
    sent = scripts.events(call.script, call.json, call.number)
    hidden = [frame for frame in sent if b'"choices":[]' in frame]
    assert len(hidden) == 1
    assert got == b"".join(frame for frame in sent if asks or frame not in hidden)


async def test_a_cut_stream_ends_with_an_error_event(stack: Stack, upstream: FakeUpstream) -> None:
    """The partial frame is dropped, the error event follows, no [DONE]; prompt and seen tokens are billed."""
    created = await stack.create_key(await stack.create_setting())
    upstream.default = Script(events=10, cut_after=4)
    status, got = await raw_stream(stack, created["key"], chat_body(stream=True))
    frames = [frame for frame in got.split(b"\n\n") if frame]
    assert status == 200
    assert b"[DONE]" not in got
    assert b'"error"' in frames[-1]
    assert all(msgspec.json.decode(frame.removeprefix(b"data: ")) for frame in frames)

    [row] = await stack.events(created["keyId"], 1)
    assert (row["outcome"], row["error_kind"], row["is_estimated"]) == ("cut", "upstream_cut", True)
    assert row["output_tokens"] >= 1
    assert row["charged_cost_nano"] > 0


async def test_a_caller_who_leaves_a_stream_cuts_upstream_and_pays(stack: Stack, upstream: FakeUpstream) -> None:
    """Upstream is cancelled at once; the prompt and what was seen are billed, flagged."""
    created = await stack.create_key(await stack.create_setting())
    upstream.default = Script(events=1000, interval=0.02)
    async with aiohttp.ClientSession() as http:
        answer = await http.post(
            stack.proxy_url + CHAT, json=chat_body(stream=True), headers={"x-api-key": created["key"]}
        )
        await answer.content.readuntil(b"\n\n")
        answer.close()
    await upstream.until(lambda u: u.calls[0].ended is not None, 2)
    [row] = await stack.events(created["keyId"], 1)
    assert (row["outcome"], row["is_estimated"]) == ("cancelled", True)
    assert row["input_tokens"] > 0
    assert row["charged_cost_nano"] > 0


async def test_a_caller_who_leaves_a_plain_call_pays_by_its_usage(stack: Stack, upstream: FakeUpstream) -> None:
    """The call is drained: hanging up is never free."""
    created = await stack.create_key(await stack.create_setting())
    upstream.default = Script(delay=0.6, prompt_tokens=100, completion_tokens=7)
    with socket.create_connection(("127.0.0.1", stack.proxy_port)) as caller:
        body = msgspec.json.encode(chat_body())
        caller.sendall(
            f"POST {CHAT} HTTP/1.1\r\nhost: w\r\nx-api-key: {created['key']}\r\n"
            f"content-length: {len(body)}\r\n\r\n".encode()
            + body
        )
        await asyncio.sleep(0.2)
    [row] = await stack.events(created["keyId"], 1)
    assert (row["input_tokens"], row["output_tokens"], row["is_estimated"]) == (100, 7, False)


async def test_a_caller_s_timeout_ends_the_wait_not_the_bill(stack: Stack, upstream: FakeUpstream) -> None:
    """x-request-timeout: 504 in time; the call is drained and billed."""
    created = await stack.create_key(await stack.create_setting())
    upstream.default = Script(delay=0.8, prompt_tokens=50, completion_tokens=5)
    status, _, _ = await stack.chat(created["key"], headers={"x-request-timeout": "200ms"})
    assert status == 504
    [row] = await stack.events(created["keyId"], 1)
    assert (row["status"], row["outcome"], row["input_tokens"], row["output_tokens"]) == (504, "cancelled", 50, 5)


@pytest.mark.parametrize(
    ("name", "status", "outcome"),
    [
        ("error_400", 400, "completed"),
        ("error_500", 500, "completed"),
        ("error_429", 429, "completed"),
        ("redirect", 302, "completed"),
        ("garbage", 502, "failed"),
        ("cut_before_head", 502, "failed"),
        ("huge_header", 502, "failed"),
        ("not_json", 200, "completed"),
        ("wrong_usage", 200, "completed"),
        ("huge_usage", 200, "completed"),
        ("error_with_200", 200, "completed"),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
async def test_a_hostile_upstream_harms_nobody(
    stack: Stack, upstream: FakeUpstream, name: str, status: int, outcome: str, stream: bool
) -> None:
    """Its status is relayed or answered for it; one event each; no wrong number is believed."""
    created = await stack.create_key(await stack.create_setting(), costLimitInUsd=1)
    upstream.default = NAMED[name]
    async with stack.http.post(
        stack.proxy_url + CHAT, json=chat_body(stream=stream), headers={"x-api-key": created["key"]},
        allow_redirects=False,
    ) as answer:  # fmt: skip
        await answer.read()
        assert answer.status == status
        assert "x-ratelimit-remaining-requests" not in answer.headers
        assert "location" not in answer.headers
    [row] = await stack.events(created["keyId"], 1)
    assert (row["outcome"], row["status"]) == (outcome, status)
    assert 0 <= row["charged_cost_nano"] < 10_000_000_000
    assert row["input_tokens"] < 1 << 40
    assert len(upstream.calls) == 1


async def test_events_tell_what_the_caller_said(stack: Stack, key: str) -> None:
    """X-CUSTOM-EVENT-ID, X-METADATA and the body's user."""
    _, headers, _ = await stack.chat(
        key, chat_body(user="ann"), {"x-custom-event-id": "order-7", "x-metadata": '{"team":"blue"}'}
    )
    deadline = asyncio.get_running_loop().time() + 5
    while not (found := await stack.admin("GET", "/api/events?customId=order-7")):
        assert asyncio.get_running_loop().time() < deadline
        await asyncio.sleep(0.1)
    [event] = found
    assert event["userId"] == "ann"
    assert event["correlationId"] == headers["x-weir-request-id"]
    assert event["status"] == 200


async def test_no_secret_in_any_log(stack: Stack, key: str) -> None:
    """Neither a gateway key nor the provider's key nor a prompt is ever written down."""
    await stack.chat(key, chat_body(messages=[{"role": "user", "content": "canary-of-the-prompt"}]))
    await asyncio.sleep(0.3)
    written = stack.log("proxy").read_text() + stack.log("admin").read_text()
    written += b"".join(p.read_bytes() for p in (stack.folder / "data").rglob("*.seg")).decode(errors="replace")
    for canary in (key, "sk-upstream-canary", "canary-of-the-prompt", stack.admin_key):
        assert canary not in written
    assert '"request_id"' in written


async def test_a_broken_header_of_upstreams_costs_nobody_the_answer(
    stack: Stack, upstream: FakeUpstream, key: str
) -> None:
    """A control character in it would end the caller's answer: it stays behind."""
    head = b"HTTP/1.1 200 OK\r\nx-request-id: a\x01b\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n"
    upstream.next(Script(raw=head + b"{}"))
    status, headers, body = await stack.chat(key)
    assert (status, body) == (200, b"{}")
    assert "x-request-id" not in headers


@pytest.mark.parametrize("path", [CHAT, "/api/providers/anthropic/v1/messages"])
async def test_large_headers_are_refused_in_the_dialect(stack: Stack, path: str) -> None:
    """With an id to ask about; 60,000 bytes are not large."""
    for size, expected in ((60_000, 401), (100_000, 431), (200_000, 431)):
        headers = {"x-api-key": "sk-nobody-knows-this-key", "x-metadata": "x" * size}
        async with stack.http.post(stack.proxy_url + path, json={}, headers=headers) as answer:
            told = await answer.json()
            assert answer.status == expected, told
            assert answer.headers["x-weir-request-id"]
            assert (told.get("type") == "error") is ("anthropic" in path)
