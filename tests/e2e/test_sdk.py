"""The official OpenAI SDK's chat against Weir, in front of the scripted upstream."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import openai
import pytest

from tests.e2e.stack import Stack
from tests.fakes.upstream import FakeUpstream, Script

MESSAGES: Any = [{"role": "user", "content": "Say hello."}]
TOOLS: Any = [{"type": "function", "function": {"name": "weather", "parameters": {"type": "object", "properties": {}}}}]


@pytest.fixture(scope="module")
async def key(stack: Stack) -> str:
    return (await stack.create_key(await stack.create_setting()))["key"]


@pytest.fixture
async def client(stack: Stack, key: str) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(base_url=stack.openai_url, api_key=key, max_retries=0) as sdk:
        yield sdk


async def test_a_plain_call(client: openai.AsyncOpenAI, upstream: FakeUpstream) -> None:
    """The SDK sees upstream's answer and upstream's own request id."""
    upstream.default = Script(events=3, headers=(("x-request-id", "req_upstream"),))
    answer = await client.chat.completions.create(model="gpt-4o", messages=MESSAGES)
    assert answer.choices[0].message.content == "Water finds its"
    assert answer.usage is not None
    assert answer.usage.completion_tokens == 3
    assert answer._request_id == "req_upstream"

    [call] = upstream.calls
    sent = dict(call.headers)
    assert sent["authorization"] == "Bearer sk-upstream-canary"
    assert sent["accept-encoding"] == "identity"
    assert "cookie" not in sent


async def test_a_sync_client(stack: Stack, key: str) -> None:
    """The synchronous client, from a thread."""

    def call() -> str | None:
        with openai.OpenAI(base_url=stack.openai_url, api_key=key, max_retries=0) as sdk:
            return sdk.chat.completions.create(model="gpt-4o", messages=MESSAGES).choices[0].message.content

    assert await asyncio.to_thread(call)


async def test_a_stream_without_asking_for_usage(client: openai.AsyncOpenAI, upstream: FakeUpstream) -> None:
    """Weir asks upstream for the usage and hides the frame that the caller did not ask for."""
    stream = await client.chat.completions.create(model="gpt-4o", messages=MESSAGES, stream=True)
    chunks = [chunk async for chunk in stream]
    assert all(chunk.choices for chunk in chunks)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == "Water finds its way over"
    assert upstream.calls[0].json["stream_options"] == {"include_usage": True}


async def test_a_stream_with_usage(client: openai.AsyncOpenAI) -> None:
    """A caller who asks for usage gets it, as upstream sent it."""
    stream = await client.chat.completions.create(
        model="gpt-4o", messages=MESSAGES, stream=True, stream_options={"include_usage": True}
    )
    chunks = [chunk async for chunk in stream]
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens == 5
    assert chunks[-1].choices == []


async def test_tools_pass_untouched(client: openai.AsyncOpenAI, upstream: FakeUpstream) -> None:
    """Tools reach upstream as they were given; unknown fields too."""
    await client.chat.completions.create(
        model="gpt-4o", messages=MESSAGES, tools=TOOLS, tool_choice="auto", extra_body={"some_new_field": {"x": [1.50]}}
    )
    sent = upstream.calls[0].json
    assert sent["tools"] == TOOLS
    assert sent["some_new_field"] == {"x": [1.5]}


async def test_models(client: openai.AsyncOpenAI) -> None:
    """The model list is upstream's."""
    assert [model.id async for model in client.models.list()] == ["gpt-4o", "gpt-4o-mini"]


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        (Script(status=400), openai.BadRequestError),
        (Script(status=429), openai.RateLimitError),
        (Script(status=503), openai.InternalServerError),
        (Script(cut_after=-1), openai.InternalServerError),
    ],
    ids=["400", "429", "503", "cut"],
)
async def test_upstream_errors_are_the_sdk_s_own(
    client: openai.AsyncOpenAI, upstream: FakeUpstream, script: Script, expected: type[Exception]
) -> None:
    """Upstream's status reaches the SDK, which raises what it always raises."""
    upstream.default = script
    with pytest.raises(expected):
        await client.chat.completions.create(model="gpt-4o", messages=MESSAGES)


async def test_refusals_are_the_sdk_s_own(stack: Stack) -> None:
    """An unknown key is the SDK's AuthenticationError, with Weir's request id."""
    async with openai.AsyncOpenAI(base_url=stack.openai_url, api_key="sk-nobody", max_retries=0) as sdk:
        with pytest.raises(openai.AuthenticationError) as caught:
            await sdk.chat.completions.create(model="gpt-4o", messages=MESSAGES)
    assert "[Weir] key sk-no**********" in caught.value.message
    assert caught.value.request_id == caught.value.response.headers["x-weir-request-id"]


async def test_a_stream_that_upstream_cuts_raises_in_the_sdk(
    client: openai.AsyncOpenAI, upstream: FakeUpstream
) -> None:
    """The error event of the OpenAI dialect becomes the SDK's APIError; no chunk is lost before it."""
    upstream.default = Script(cut_after=3)
    seen = 0
    stream = await client.chat.completions.create(model="gpt-4o", messages=MESSAGES, stream=True)
    with pytest.raises(openai.APIError):  # noqa: PT012 - where it is raised depends on the cut
        async for _ in stream:
            seen += 1
    assert seen >= 2
