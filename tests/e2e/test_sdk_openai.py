"""The official OpenAI SDK on every endpoint besides chat (see test_sdk), and LangChain; directly and through Weir."""

from collections.abc import AsyncIterator
from typing import Any

import langchain_openai
import openai
import pytest

from tests.e2e.sdk_doors import DOORS, UNKNOWN_KEY, Door, door_of, weir_door
from tests.e2e.stack import Stack
from tests.fakes import scripts
from tests.fakes.upstream import FakeUpstream, Script

TEXT = "Water finds its way over"
MESSAGES: Any = [{"role": "user", "content": "Say hello."}]
FUNCTION: Any = {"name": "weather", "parameters": {"type": "object", "properties": {}}}
MODEL, EMBEDDER, COMPLETER = "gpt-4o", "text-embedding-3-small", "gpt-3.5-turbo-instruct"


@pytest.fixture(scope="module", params=DOORS)
async def door(request: pytest.FixtureRequest, stack: Stack, upstream: FakeUpstream) -> Door:
    return await door_of(request.param, stack, upstream)


@pytest.fixture
async def client(door: Door) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(base_url=door.openai_url, api_key=door.key, max_retries=0) as sdk:
        yield sdk


async def test_streamed_tools(client: openai.AsyncOpenAI, upstream: FakeUpstream) -> None:
    """The helper puts a tool call together from its pieces."""
    upstream.default = Script(makes="tool")
    tools: Any = [{"type": "function", "function": FUNCTION}]
    async with client.chat.completions.stream(model=MODEL, messages=MESSAGES, tools=tools) as stream:
        completion = await stream.get_final_completion()
    [call] = completion.choices[0].message.tool_calls or []
    assert (call.function.name, call.function.arguments) == ("weather", scripts.TOOL_INPUT)


async def test_completions(client: openai.AsyncOpenAI) -> None:
    """Plain, and streamed with the usage that was asked for."""
    plain = await client.completions.create(model=COMPLETER, prompt="Say hello.")
    assert plain.choices[0].text == TEXT
    stream = await client.completions.create(
        model=COMPLETER, prompt="Say hello.", stream=True, stream_options={"include_usage": True}
    )
    chunks = [chunk async for chunk in stream]
    assert "".join(chunk.choices[0].text for chunk in chunks[:-1]) == TEXT
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens == 5


async def test_a_response_and_its_life(client: openai.AsyncOpenAI, upstream: FakeUpstream) -> None:
    """Created, continued, shown, listed, cancelled, deleted."""
    upstream.default = Script(cached_tokens=4, reasoning_tokens=2)
    made = await client.responses.create(model=MODEL, input="Say hello.", metadata={"order": "7"})
    assert made.output_text == TEXT
    assert made.usage is not None
    assert made.usage.input_tokens_details.cached_tokens == 4
    again = await client.responses.create(model=MODEL, input="And again.", previous_response_id=made.id)
    assert again.previous_response_id == made.id
    assert (await client.responses.retrieve(made.id)).id == made.id
    assert [item.type async for item in client.responses.input_items.list(made.id, limit=7)] == ["message"]
    assert upstream.calls[-1].path == f"/v1/responses/{made.id}/input_items?limit=7"
    assert (await client.responses.cancel(made.id)).status == "cancelled"
    await client.responses.delete(made.id)
    assert upstream.calls[-1].path == f"/v1/responses/{made.id}"


@pytest.mark.parametrize(("makes", "kinds"), [("text", ["message"]), ("thinking", ["reasoning", "message"]),
                                               ("tool", ["function_call"])])  # fmt: skip
async def test_a_streamed_response(
    client: openai.AsyncOpenAI, upstream: FakeUpstream, makes: Any, kinds: list[str]
) -> None:
    """Typed events, which the helper accumulates."""
    upstream.default = Script(makes=makes)
    tools: Any = [{"type": "function", "strict": False, **FUNCTION}]
    async with client.responses.stream(model=MODEL, input="Say hello.", tools=tools) as stream:
        numbers = [event.sequence_number async for event in stream if hasattr(event, "sequence_number")]
        response = await stream.get_final_response()
    assert numbers == sorted(set(numbers))
    assert [item.type for item in response.output] == kinds


async def test_embeddings(client: openai.AsyncOpenAI, upstream: FakeUpstream) -> None:
    """The SDK asks for base64 and gets numbers."""
    answer = await client.embeddings.create(model=EMBEDDER, input=["a", "b"], user="ann")
    assert [one.embedding for one in answer.data] == [[0.5, -0.25, 0.125]] * 2
    assert upstream.calls[0].json["encoding_format"] == "base64"


async def test_moderations_and_models(client: openai.AsyncOpenAI) -> None:
    """They cost nothing and pass as they are."""
    assert not (await client.moderations.create(input="Say hello.")).results[0].flagged
    assert (await client.models.retrieve(MODEL)).id == MODEL


ERRORS = (
    (400, openai.BadRequestError), (401, openai.AuthenticationError), (403, openai.PermissionDeniedError),
    (404, openai.NotFoundError), (429, openai.RateLimitError), (500, openai.InternalServerError),
    (529, openai.InternalServerError),
)  # fmt: skip


@pytest.mark.parametrize(("status", "kind"), ERRORS, ids=[str(status) for status, _ in ERRORS])
async def test_upstream_s_errors_are_the_sdk_s_own(
    client: openai.AsyncOpenAI, upstream: FakeUpstream, status: int, kind: type[openai.APIStatusError]
) -> None:
    """On every endpoint, streamed or not; with upstream's own message and code."""
    upstream.default = Script(status=status)
    for ask in (
        client.responses.create(model=MODEL, input="x"),
        client.responses.create(model=MODEL, input="x", stream=True),
        client.completions.create(model=COMPLETER, prompt="x"),
        client.embeddings.create(model=EMBEDDER, input="x"),
        client.moderations.create(input="x"),
        client.models.retrieve(MODEL),
    ):
        with pytest.raises(kind) as caught:
            await ask
        assert caught.value.status_code == status
        assert f"the fake says {status}" in caught.value.message


async def test_a_response_that_is_nobody_s(stack: Stack) -> None:
    """Another account's response and one that never was look alike: 404."""
    weir = await weir_door(stack)
    async with openai.AsyncOpenAI(base_url=weir.openai_url, api_key=weir.key, max_retries=0) as client:
        with pytest.raises(openai.NotFoundError):
            await client.responses.retrieve("resp_of_nobody")
        with pytest.raises(openai.NotFoundError):
            await client.responses.create(model=MODEL, input="x", previous_response_id="resp_of_nobody")


async def test_weir_s_refusals_are_the_sdk_s_own(stack: Stack) -> None:
    """An unknown key, and a key's own rate limit: on every endpoint the errors that an application handles already."""
    weir = await weir_door(stack, rateLimitOverTime=1, rateLimitUnit="h")
    async with openai.AsyncOpenAI(base_url=weir.openai_url, api_key=UNKNOWN_KEY, max_retries=0) as stranger:
        for ask in (
            stranger.responses.create(model=MODEL, input="x"),
            stranger.responses.retrieve("resp_1"),
            stranger.embeddings.create(model=EMBEDDER, input="x"),
            stranger.completions.create(model=COMPLETER, prompt="x", stream=True),
        ):
            with pytest.raises(openai.AuthenticationError) as refused:
                await ask
            assert "[Weir] " in refused.value.message
            assert refused.value.request_id
    async with openai.AsyncOpenAI(base_url=weir.openai_url, api_key=weir.key, max_retries=0) as client:
        await client.embeddings.create(model=EMBEDDER, input="x")
        with pytest.raises(openai.RateLimitError) as limited:
            await client.responses.create(model=MODEL, input="x")
    assert int(limited.value.response.headers["retry-after"]) > 0


async def test_a_cut_response_raises(stack: Stack, upstream: FakeUpstream) -> None:
    """A stream that breaks off is an error in the SDK, never a short answer."""
    weir = await weir_door(stack)
    upstream.default = Script(cut_after=5, cut_with="fin")
    async with openai.AsyncOpenAI(base_url=weir.openai_url, api_key=weir.key, max_retries=0) as client:
        events: list[Any] = []
        told = ""
        try:
            events += [event async for event in await client.responses.create(model=MODEL, input="x", stream=True)]
            told = events[-1].message  # the SDK hands an error event of this API on, where it raises those of chat
        except openai.APIError as error:
            told = error.message
    assert told.startswith("[Weir] ")
    assert "response.completed" not in [event.type for event in events]


# ------------------------------------------------------------------------------------------------------ LangChain


@pytest.fixture
async def options(door: Door) -> AsyncIterator[dict[str, Any]]:
    """What every model of LangChain's is given; it leaves its own connections open."""
    async with openai.DefaultAsyncHttpxClient() as http:
        yield {"base_url": door.openai_url, "api_key": door.key, "max_retries": 0, "http_async_client": http}


async def test_langchain(options: dict[str, Any]) -> None:
    """Chat, streamed chat with its usage, responses, embeddings."""
    chat = langchain_openai.ChatOpenAI(model=MODEL, stream_usage=True, **options)
    answer = await chat.ainvoke("Say hello.")
    assert answer.text == TEXT
    assert answer.usage_metadata is not None
    assert answer.usage_metadata["output_tokens"] == 5
    chunks = [chunk async for chunk in chat.astream("Say hello.")]
    assert "".join(chunk.text for chunk in chunks) == TEXT
    assert sum(chunk.usage_metadata["output_tokens"] for chunk in chunks if chunk.usage_metadata) == 5
    responses = langchain_openai.ChatOpenAI(model=MODEL, use_responses_api=True, **options)
    assert (await responses.ainvoke("Say hello.")).text == TEXT
    embedder = langchain_openai.OpenAIEmbeddings(model=EMBEDDER, check_embedding_ctx_length=False, **options)
    assert await embedder.aembed_documents(["a", "b"]) == [[0.5, -0.25, 0.125]] * 2


async def test_langchain_tools(options: dict[str, Any], upstream: FakeUpstream) -> None:
    """A tool call comes back parsed."""
    upstream.default = Script(makes="tool")
    chat = langchain_openai.ChatOpenAI(model=MODEL, **options).bind_tools([{"type": "function", "function": FUNCTION}])
    [call] = (await chat.ainvoke("Weather?")).tool_calls
    assert (call["name"], call["args"]) == ("weather", {"place": "Wehr"})
