"""The official Anthropic SDK: directly at the scripted upstream, and through Weir."""

from collections.abc import AsyncIterator
from typing import Any

import anthropic
import pytest

from tests.e2e.sdk_doors import DOORS, UNKNOWN_KEY, Door, door_of, weir_door
from tests.e2e.stack import Stack
from tests.fakes.anthropic_answers import MODELS, SIGNATURE
from tests.fakes.upstream import FakeUpstream, Script

TEXT = "Water finds its way over"
MESSAGES: Any = [{"role": "user", "content": "Say hello."}]
TOOLS: Any = [{"name": "weather", "input_schema": {"type": "object", "properties": {}}}]
MODEL = MODELS[0]
ASKED: Any = {"model": MODEL, "max_tokens": 2048, "messages": MESSAGES}


@pytest.fixture(scope="module", params=DOORS)
async def door(request: pytest.FixtureRequest, stack: Stack, upstream: FakeUpstream) -> Door:
    return await door_of(request.param, stack, upstream)


@pytest.fixture
async def client(door: Door) -> AsyncIterator[anthropic.AsyncAnthropic]:
    async with anthropic.AsyncAnthropic(base_url=door.anthropic_url, api_key=door.key, max_retries=0) as sdk:
        yield sdk


async def test_a_message(client: anthropic.AsyncAnthropic, upstream: FakeUpstream, door: Door) -> None:
    """Upstream's answer and its own request id; upstream gets the operator's credential and the caller's version."""
    answer = await client.messages.create(**ASKED, extra_headers={"anthropic-beta": "some-beta-2026-01-01"})
    [block] = answer.content
    assert block.type == "text"
    assert block.text == TEXT
    assert answer._request_id == "req_fake"
    [call] = upstream.calls
    assert call.credential == ("sk-direct" if door.is_direct else "sk-upstream-canary")
    assert call.header("anthropic-version") == client.default_headers["anthropic-version"]
    assert call.header("anthropic-beta") == "some-beta-2026-01-01"
    assert not any(door.key in value for _, value in call.headers) or door.is_direct


async def test_a_streamed_message(client: anthropic.AsyncAnthropic) -> None:
    """Every event, and what the helper makes of them."""
    async with client.messages.stream(**ASKED) as stream:
        texts = [text async for text in stream.text_stream]
        answer = await stream.get_final_message()
    assert "".join(texts) == TEXT
    assert len(texts) == 5
    assert answer.usage.output_tokens == 5


async def test_thinking(client: anthropic.AsyncAnthropic, upstream: FakeUpstream) -> None:
    """Thoughts and their signature arrive byte for byte, and go back as they came."""
    upstream.default = Script(makes="thinking", reasoning_tokens=2)
    thinking: Any = {"type": "enabled", "budget_tokens": 1024}
    async with client.messages.stream(**ASKED, thinking=thinking) as stream:
        answer = await stream.get_final_message()
    thought, text = answer.content
    assert thought.type == "thinking"
    assert (thought.signature, text.type) == (SIGNATURE, "text")
    history: Any = [*MESSAGES, {"role": "assistant", "content": answer.content}, *MESSAGES]
    await client.messages.create(model=MODEL, max_tokens=2048, messages=history, thinking=thinking)
    assert upstream.calls[-1].json["messages"][1]["content"][0]["signature"] == SIGNATURE
    assert upstream.calls[-1].json["thinking"] == thinking


@pytest.mark.parametrize("streams", [False, True], ids=["plain", "streamed"])
async def test_tools(client: anthropic.AsyncAnthropic, upstream: FakeUpstream, streams: bool) -> None:
    """A tool call, whole or put together from pieces of JSON."""
    upstream.default = Script(makes="tool")
    if streams:
        async with client.messages.stream(**ASKED, tools=TOOLS) as stream:
            answer = await stream.get_final_message()
    else:
        answer = await client.messages.create(**ASKED, tools=TOOLS)
    [block] = answer.content
    assert block.type == "tool_use"
    assert (block.name, block.input, answer.stop_reason) == ("weather", {"place": "Wehr"}, "tool_use")
    assert upstream.calls[0].json["tools"] == TOOLS


async def test_cache_control(client: anthropic.AsyncAnthropic, upstream: FakeUpstream) -> None:
    """Marks reach upstream as given; what was read and written comes back by class."""
    upstream.default = Script(prompt_tokens=900, cached_tokens=500, written_tokens=200, written_1h_tokens=100)
    system: Any = [{"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral", "ttl": "1h"}}]
    usage = (await client.messages.create(**ASKED, system=system)).usage
    assert usage.cache_creation is not None
    assert (usage.input_tokens, usage.cache_read_input_tokens, usage.cache_creation_input_tokens) == (100, 500, 300)
    assert usage.cache_creation.ephemeral_1h_input_tokens == 100
    assert upstream.calls[0].json["system"] == system


async def test_the_classes_of_a_cached_prompt_are_billed_apart(stack: Stack, upstream: FakeUpstream) -> None:
    """Fresh, read, written for minutes, written for an hour: each in its own column of the event."""
    setting = await stack.create_setting(provider="anthropic")
    made = await stack.create_key(setting)
    upstream.default = Script(prompt_tokens=900, cached_tokens=500, written_tokens=200, written_1h_tokens=100)
    url = f"{stack.proxy_url}/api/providers/anthropic"
    async with anthropic.AsyncAnthropic(base_url=url, api_key=made["key"], max_retries=0) as client:
        await client.messages.create(**ASKED)
    [row] = await stack.events(made["keyId"], 1)
    told = [row[f"{name}_tokens"] for name in ("input", "cached_input", "cache_write_5m", "cache_write_1h", "output")]
    assert told == [100, 500, 200, 100, 5]


async def test_token_counts_and_models(client: anthropic.AsyncAnthropic, upstream: FakeUpstream) -> None:
    """They cost nothing and pass as they are, pages too."""
    assert (await client.messages.count_tokens(model=MODEL, messages=MESSAGES)).input_tokens == 10
    assert [model.id async for model in client.models.list(limit=7)] == list(MODELS)
    assert upstream.calls[-1].path == "/v1/models?limit=7"
    assert (await client.models.retrieve(MODEL)).id == MODEL


ERRORS = (
    (400, anthropic.BadRequestError), (401, anthropic.AuthenticationError), (403, anthropic.PermissionDeniedError),
    (404, anthropic.NotFoundError), (429, anthropic.RateLimitError), (500, anthropic.InternalServerError),
    (529, anthropic.InternalServerError),
)  # fmt: skip


@pytest.mark.parametrize(("status", "kind"), ERRORS, ids=[str(status) for status, _ in ERRORS])
async def test_upstream_s_errors_are_the_sdk_s_own(
    client: anthropic.AsyncAnthropic, upstream: FakeUpstream, status: int, kind: type[anthropic.APIStatusError]
) -> None:
    """On every endpoint, streamed or not; with upstream's body."""
    upstream.default = Script(status=status)
    for ask in (
        client.messages.create(**ASKED),
        client.messages.create(**ASKED, stream=True),
        client.messages.count_tokens(model=MODEL, messages=MESSAGES),
        client.models.retrieve(MODEL),
    ):
        with pytest.raises(kind) as caught:
            await ask
        assert caught.value.status_code == status
        assert isinstance(caught.value.body, dict)
        assert caught.value.body["error"]["message"] == f"the fake says {status}"


async def test_an_error_event_raises(client: anthropic.AsyncAnthropic, upstream: FakeUpstream) -> None:
    """Upstream's own error after status 200 reaches the SDK."""
    upstream.default = Script(error_event=True)
    with pytest.raises(anthropic.APIStatusError, match="overloaded_error"):
        async with client.messages.stream(**ASKED) as stream:
            await stream.get_final_message()


async def test_a_cut_stream_raises(stack: Stack, upstream: FakeUpstream) -> None:
    """Weir's error event is the dialect's, so the SDK raises instead of returning half a message."""
    weir = await weir_door(stack)
    upstream.default = Script(cut_after=5, cut_with="fin")
    async with anthropic.AsyncAnthropic(base_url=weir.anthropic_url, api_key=weir.key, max_retries=0) as client:
        with pytest.raises(anthropic.APIStatusError, match=r"\[Weir\]"):
            async with client.messages.stream(**ASKED) as stream:
                await stream.get_final_message()


async def test_weir_s_refusals_are_the_sdk_s_own(stack: Stack) -> None:
    """An unknown key, and a key's own rate limit: in Anthropic's shape, with Weir's request id."""
    weir = await weir_door(stack, rateLimitOverTime=1, rateLimitUnit="h")
    async with anthropic.AsyncAnthropic(base_url=weir.anthropic_url, api_key=UNKNOWN_KEY, max_retries=0) as stranger:
        for ask in (stranger.messages.create(**ASKED, stream=True), stranger.models.retrieve(MODEL)):
            with pytest.raises(anthropic.AuthenticationError) as refused:
                await ask
            assert refused.value.type == "authentication_error"
            assert "[Weir] " in refused.value.message
            assert refused.value.request_id == refused.value.response.headers["x-weir-request-id"]
    async with anthropic.AsyncAnthropic(base_url=weir.anthropic_url, api_key=weir.key, max_retries=0) as client:
        await client.messages.create(**ASKED)
        with pytest.raises(anthropic.RateLimitError) as limited:
            await client.messages.create(**ASKED)
    assert int(limited.value.response.headers["retry-after"]) > 0
