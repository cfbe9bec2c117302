"""llama.cpp's server behind Weir, in the place of each provider: an upstream that nobody here wrote, with real tokens.

What it reports to its caller is what the event must say, to the token and the nano-USD.
"""

from collections.abc import Iterator
from typing import Any

import anthropic
import asyncpg
import openai
import pytest

from tests.e2e.stack import Stack, chat_body
from tests.fakes.upstream import FakeUpstream

MODEL = "tiny"
MESSAGES: Any = [{"role": "user", "content": "Say hello."}]
# As many tokens as are asked for: a model of noise may end a text at any of them.
EIGHT: Any = {"max_tokens": 8, "extra_body": {"ignore_eos": True}}
# USD per 1000 tokens: one token costs 1,000 nano-USD in, 2,000 out.
PROMPT_NANO, COMPLETION_NANO = 1000, 2000
COST_MAP = {"promptCostPerModel": {MODEL: 0.001}, "completionCostPerModel": {MODEL: 0.002},
            "embeddingsCostPerModel": {MODEL: 0.001}}  # fmt: skip


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """llama.cpp's own HTTP server on a tiny random model; its base URL."""
    from tests.e2e.tiny_llama import serve_tiny_llama

    with serve_tiny_llama(tmp_path_factory.mktemp("llama")) as url:
        yield url


@pytest.fixture
async def made(stack: Stack, llama: str) -> dict[str, Any]:
    """A key for all three providers, with prices and a budget; each spells the address in another way."""
    settings = [
        await stack.create_setting(
            provider="openai", setting={"apikey": "none", "url": f"{llama}/v1/"}, costMap=COST_MAP
        ),
        await stack.create_setting(provider="anthropic", setting={"apikey": "none", "url": llama}, costMap=COST_MAP),
        await stack.create_setting(provider="vllm", setting={"url": f"{llama}/"}, costMap=COST_MAP),
    ]
    return await stack.create_key("", settingId=None, settingIds=settings, costLimitInUsd=5)


def openai_at(stack: Stack, provider: str, key: str) -> openai.AsyncOpenAI:
    url = f"{stack.proxy_url}/api/providers/{provider}/v1"
    return openai.AsyncOpenAI(base_url=url, api_key=key, max_retries=0)


def assert_billed(row: asyncpg.Record, prompt: int, completion: int) -> None:
    """The event has these tokens, as upstream told them, and costs them."""
    assert (row["outcome"], row["is_estimated"]) == ("completed", False)
    assert row["input_tokens"] + row["cached_input_tokens"] == prompt
    assert row["output_tokens"] == completion
    assert row["charged_cost_nano"] == prompt * PROMPT_NANO + completion * COMPLETION_NANO


@pytest.mark.parametrize("provider", ["openai", "vllm"])
async def test_chat(stack: Stack, made: dict[str, Any], provider: str) -> None:
    """Plain and streamed; the usage that only Weir asked for is hidden from the caller and billed."""
    async with openai_at(stack, provider, made["key"]) as sdk:
        plain = await sdk.chat.completions.create(model=MODEL, messages=MESSAGES, **EIGHT)
        stream = await sdk.chat.completions.create(model=MODEL, messages=MESSAGES, stream=True, **EIGHT)
        chunks = [chunk async for chunk in stream]
    assert plain.usage is not None
    assert chunks
    assert all(chunk.choices for chunk in chunks)
    first, second = await stack.events(made["keyId"], 2)
    assert_billed(first, plain.usage.prompt_tokens, plain.usage.completion_tokens)
    assert_billed(second, plain.usage.prompt_tokens, 8)


@pytest.mark.parametrize("provider", ["openai", "vllm"])
async def test_completions(stack: Stack, made: dict[str, Any], provider: str) -> None:
    """The older text endpoint, plain and streamed."""
    async with openai_at(stack, provider, made["key"]) as sdk:
        plain = await sdk.completions.create(model=MODEL, prompt="Say hello.", **EIGHT)
        stream = await sdk.completions.create(model=MODEL, prompt="Say hello.", stream=True, **EIGHT)
        chunks = [chunk async for chunk in stream]
    assert plain.usage is not None
    assert all(chunk.choices for chunk in chunks)
    first, second = await stack.events(made["keyId"], 2)
    assert_billed(first, plain.usage.prompt_tokens, plain.usage.completion_tokens)
    assert_billed(second, plain.usage.prompt_tokens, plain.usage.completion_tokens)


@pytest.mark.parametrize("provider", ["openai", "vllm"])
async def test_embeddings_and_models(stack: Stack, llama: str, made: dict[str, Any], provider: str) -> None:
    """Vectors as the server makes them; the list of models is its own."""
    async with (
        openai_at(stack, provider, made["key"]) as sdk,
        openai.AsyncOpenAI(base_url=f"{llama}/v1", api_key="none", max_retries=0) as direct,
    ):
        through = await sdk.embeddings.create(model=MODEL, input=["Say", "hello."])
        straight = await direct.embeddings.create(model=MODEL, input=["Say", "hello."])
        assert [model.id async for model in sdk.models.list()] == [model.id async for model in direct.models.list()]
    assert [one.embedding for one in through.data] == [one.embedding for one in straight.data]
    rows = await stack.events(made["keyId"], 2)
    [row] = [row for row in rows if row["method"] == "POST"]
    assert_billed(row, through.usage.prompt_tokens, 0)


async def test_responses(stack: Stack, made: dict[str, Any]) -> None:
    """Plain and streamed, by typed events."""
    async with openai_at(stack, "openai", made["key"]) as sdk:
        plain = await sdk.responses.create(model=MODEL, input="Say hello.", max_output_tokens=8)
        stream = await sdk.responses.create(model=MODEL, input="Say hello.", max_output_tokens=8, stream=True)
        events = [event async for event in stream]
    assert plain.usage is not None
    assert events[-1].type == "response.completed"
    first, second = await stack.events(made["keyId"], 2)
    assert_billed(first, plain.usage.input_tokens, plain.usage.output_tokens)
    told = events[-1].response.usage
    assert told is not None
    assert_billed(second, told.input_tokens, told.output_tokens)


async def test_messages(stack: Stack, made: dict[str, Any]) -> None:
    """Plain, streamed and counted, by Anthropic's SDK."""
    url = f"{stack.proxy_url}/api/providers/anthropic"
    async with anthropic.AsyncAnthropic(base_url=url, api_key=made["key"], max_retries=0) as sdk:
        plain = await sdk.messages.create(model=MODEL, messages=MESSAGES, max_tokens=8)
        async with sdk.messages.stream(model=MODEL, messages=MESSAGES, max_tokens=8) as stream:
            streamed = await stream.get_final_message()
        counted = await sdk.messages.count_tokens(model=MODEL, messages=MESSAGES)
    rows = await stack.events(made["keyId"], 3)
    for row, answer in zip(rows[:2], (plain, streamed), strict=True):
        assert counted.input_tokens == answer.usage.input_tokens + (answer.usage.cache_read_input_tokens or 0)
        assert_billed(row, counted.input_tokens, answer.usage.output_tokens)
    assert rows[2]["charged_cost_nano"] == 0


async def test_its_errors_pass_as_they_are(stack: Stack, made: dict[str, Any]) -> None:
    """Its refusal of a body that Weir lets through is the SDK's own error."""
    async with openai_at(stack, "vllm", made["key"]) as sdk:
        with pytest.raises(openai.BadRequestError, match="array"):
            await sdk.chat.completions.create(model=MODEL, messages="none")  # type: ignore[call-overload]


async def test_a_model_without_a_price_may_be_free(stack: Stack, llama: str) -> None:
    """A setting that says so: the list cost stays unknown, the charge is nothing."""
    setting = await stack.create_setting(provider="vllm", setting={"url": llama}, unpriced="free")
    key = await stack.create_key(setting)
    async with openai_at(stack, "vllm", key["key"]) as sdk:
        await sdk.chat.completions.create(model=MODEL, messages=MESSAGES, **EIGHT)
    [row] = await stack.events(key["keyId"], 1)
    assert row["input_tokens"] + row["cached_input_tokens"] > 0
    assert (row["list_cost_nano"], row["charged_cost_nano"]) == (None, 0)


async def test_a_server_without_a_credential_gets_none(stack: Stack, upstream: FakeUpstream) -> None:
    """vLLM's apikey is optional: without it neither ours nor the caller's goes there."""
    setting = await stack.create_setting(provider="vllm", setting={"url": f"{upstream.url}/vllm"}, unpriced="free")
    key = await stack.create_key(setting)
    url = f"{stack.proxy_url}/api/providers/vllm/v1/chat/completions"
    for headers in (
        {"authorization": f"Bearer {key['key']}"},
        {"x-api-key": key["key"], "authorization": "Bearer mine"},
    ):
        async with stack.http.post(url, json=chat_body(model=MODEL), headers=headers) as answer:
            assert answer.status == 200, await answer.text()
    for call in upstream.calls:
        assert {name.lower() for name, _ in call.headers}.isdisjoint({"authorization", "x-api-key", "api-key"})
    assert len(upstream.calls) == 2
