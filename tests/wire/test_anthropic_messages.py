"""What a call for a message asks for."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.wire import FORMATS, Call
from proxy.wire.anthropic_messages import (
    TOKENS_OF_INSTRUCTIONS,
    TOKENS_PER_CALL,
    TOKENS_PER_IMAGE,
    TOKENS_PER_MESSAGE,
)
from proxy.wire.body import BodyError

MESSAGES = FORMATS["anthropic_messages"]
HI = [{"role": "user", "content": "hi"}]
PNG = {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="}
PDF = {"type": "base64", "media_type": "application/pdf", "data": "JVBERi0xLjQ="}
IMAGE = {"type": "image", "source": PNG, "cache_control": {"type": "ephemeral", "ttl": "1h"}}
TEXT = {"type": "text", "text": "what is this?", "citations": None}


def body_of(**members: Any) -> bytes:
    return msgspec.json.encode({"model": "claude-opus-4-5", "max_tokens": 1024, "messages": HI} | members)


def with_blocks(*blocks: Any, role: str = "user") -> bytes:
    return body_of(messages=[{"role": role, "content": list(blocks)}])


def bound_of(body: bytes, messages: int = 1) -> int:
    return len(body) + TOKENS_PER_MESSAGE * messages + TOKENS_PER_CALL


def test_a_call_is_what_its_body_says() -> None:
    body = body_of(
        stream=True,
        metadata={"user_id": "u-1"},
        service_tier="standard_only",
        thinking={"type": "enabled", "budget_tokens": 1000, "display": "omitted"},
        temperature=1.0,
        top_k=3,
        stop_sequences=["x"],
        system="be brief",
    )

    assert MESSAGES.read_call(body) == Call(
        requested_model="claude-opus-4-5",
        is_stream=True,
        user_id="u-1",
        output_cap=1024,
        least_output_cap=1001,
        prompt_bound=bound_of(body),
        may_write_cache=False,
        service_tier="standard_only",
    )


def test_what_is_null_was_not_given() -> None:
    names = (
        "stream", "metadata", "thinking", "service_tier", "speed", "container", "mcp_servers", "thread", "compaction",
        "fallbacks", "context_management", "system", "tools",
    )  # fmt: skip
    body = body_of(**dict.fromkeys(names))

    assert MESSAGES.read_call(body) == Call(
        requested_model="claude-opus-4-5", output_cap=1024, prompt_bound=bound_of(body), may_write_cache=False
    )


CUSTOM_TOOL = {"name": "get_weather", "description": "d", "input_schema": {"type": "web_search"}, "strict": True}
# Body -> what its prompt's bound has above the bytes and what every call of one message has.
BOUNDED: dict[str, tuple[bytes, int]] = {
    "text": (with_blocks(TEXT), 0),
    "system blocks": (body_of(system=[TEXT | {"cache_control": {"type": "ephemeral"}}]), 0),
    "a cache for the whole body": (body_of(cache_control={"type": "ephemeral", "ttl": "1h"}), 0),
    "thinking, adaptive": (body_of(thinking={"type": "adaptive", "display": None}), 0),
    "thinking, encrypted": (
        with_blocks(
            {"type": "thinking", "thinking": "", "signature": "EqQB"},
            {"type": "redacted_thinking", "data": "EmwK"},
            role="assistant",
        ),
        0,
    ),
    "tool use": (
        with_blocks({"type": "tool_use", "id": "t", "name": "n", "input": {"type": "image", "source": 7}}),
        0,
    ),
    "tool result, text": (with_blocks({"type": "tool_result", "tool_use_id": "t", "content": "12 degrees"}), 0),
    "tool result without content": (with_blocks({"type": "tool_result", "tool_use_id": "t", "is_error": True}), 0),
    "search result": (
        with_blocks({"type": "search_result", "source": "https://x", "title": "t", "content": [TEXT],
                     "citations": {"enabled": True}}),
        0,
    ),
    "document, text": (
        with_blocks({"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "d"}}),
        0,
    ),
    "document of blocks": (
        with_blocks({"type": "document", "source": {"type": "content", "content": [TEXT, IMAGE]}}),
        TOKENS_PER_IMAGE,
    ),
    "images": (with_blocks(TEXT, IMAGE, IMAGE | {"transformations": {}}), 2 * TOKENS_PER_IMAGE),
    "images in a document in a tool's result": (
        with_blocks(
            {"type": "tool_result", "tool_use_id": "t",
             "content": [IMAGE, {"type": "document", "source": {"type": "content", "content": [IMAGE]}}]}
        ),
        2 * TOKENS_PER_IMAGE,
    ),
    "tools": (body_of(tools=[CUSTOM_TOOL, CUSTOM_TOOL | {"type": "custom"}, {"type": None, "name": "x"}]),
              TOKENS_OF_INSTRUCTIONS),
    "a form for the output": (body_of(output_config={"format": {"type": "json_schema", "schema": {}}}),
                              TOKENS_OF_INSTRUCTIONS),
    "context that is cleared": (
        body_of(context_management={"edits": [{"type": "clear_thinking_20251015", "keep": "all"},
                                              {"type": "clear_tool_uses_20250919", "trigger": {}}]}),
        0,
    ),
    "no answer, to fill the cache": (body_of(max_tokens=0), 0),
}  # fmt: skip


@pytest.mark.parametrize(("body", "above"), BOUNDED.values(), ids=BOUNDED.keys())
def test_a_prompt_is_bounded_by_its_bytes(body: bytes, above: int) -> None:
    call = MESSAGES.read_call(body)

    assert not call.is_unbounded
    assert call.prompt_bound == bound_of(body) + above


UNBOUNDED: dict[str, bytes] = {
    "image by url": with_blocks({"type": "image", "source": {"type": "url", "url": "https://x/y.png"}}),
    "image by file": with_blocks({"type": "image", "source": {"type": "file", "file_id": "file_1"}}),
    "image with a file beside its bytes": with_blocks({"type": "image", "source": PNG | {"file_id": "file_1"}}),
    "pdf": with_blocks({"type": "document", "source": PDF}),
    "pdf by url": with_blocks({"type": "document", "source": {"type": "url", "url": "https://x/y.pdf"}}),
    "pdf beside an image": with_blocks(IMAGE, {"type": "document", "source": PDF}),
    "encoded bytes of nobody knows what": with_blocks({"type": "document", "source": {"type": "base64", "data": "x"}}),
    "two media types": with_blocks(TEXT).replace(
        b'"text":"what is this?"', b'"source":{"type":"base64","media_type":"image/png","media_type":"application/pdf"}'
    ),
    "pdf replaced by a text": b'{"model":"m","max_tokens":1,"messages":[{"role":"user","content":'
    b'[{"type":"document","source":{"type":"url","url":"u"},"source":{"type":"text","data":"d"}}]}]}',
    "content replaced": b'{"model":"m","max_tokens":1,"messages":[{"role":"user","content":'
    b'[{"type":"document","source":{"type":"url","url":"u"}}],"content":"hi"}]}',
    "pdf in a tool's result": with_blocks(
        {"type": "tool_result", "tool_use_id": "t", "content": [{"type": "document", "source": PDF}]}
    ),
    "a tool by reference": with_blocks(
        {"type": "tool_result", "tool_use_id": "t", "content": [{"type": "tool_reference", "tool_name": "x"}]}
    ),
    "a file in a container": with_blocks({"type": "container_upload", "file_id": "file_1"}),
    "a server tool's result": with_blocks(
        {"type": "code_execution_tool_result", "tool_use_id": "t", "content": {"type": "x", "stdout": ""}},
        role="assistant",
    ),
    "a block nobody knows": with_blocks({"type": "video", "source": PNG}),
    "a block with a member nobody knows": with_blocks(TEXT | {"depth": 3}),
    "blocks deeper than the API's": with_blocks(
        {"type": "tool_result", "tool_use_id": "t", "content": [
            {"type": "document", "source": {"type": "content", "content": [
                {"type": "tool_result", "tool_use_id": "t", "content": [TEXT]}]}}]}
    ),
    "web search": body_of(tools=[{"type": "web_search_20260318", "name": "web_search", "max_uses": 5}]),
    "code execution": body_of(tools=[CUSTOM_TOOL, {"type": "code_execution_20260521", "name": "code_execution"}]),
    "a tool whose type is a number": body_of(tools=[{"type": 1}]),
    "a tool with a member nobody knows": body_of(tools=[CUSTOM_TOOL | {"runs": "upstream"}]),
    "mcp": body_of(mcp_servers=[{"type": "url", "url": "https://x", "name": "n"}]),
    "container": body_of(container={"skills": [{"type": "anthropic", "skill_id": "pptx"}]}),
    "thread": body_of(thread={"type": "create"}),
    "compaction": body_of(compaction={"type": "summarize"}),
    "compacting as an edit": body_of(context_management={"edits": [{"type": "compact_20260112"}]}),
    "an edit nobody knows": body_of(context_management={"edits": [{"type": "grow", "by": 3}]}),
    "a member nobody knows": body_of(deep_research=True),
}  # fmt: skip


@pytest.mark.parametrize("body", UNBOUNDED.values(), ids=UNBOUNDED.keys())
def test_what_the_bytes_do_not_tell_is_unbounded(body: bytes) -> None:
    assert MESSAGES.read_call(body).is_unbounded


REFUSED: dict[str, bytes] = {
    "no model": msgspec.json.encode({"max_tokens": 1, "messages": HI}),
    "model null": body_of(model=None),
    "model too long": body_of(model="x" * 257),
    "no cap": msgspec.json.encode({"model": "m", "messages": HI}),
    "cap null": body_of(max_tokens=None),
    "cap negative": body_of(max_tokens=-1),
    "cap a fraction": body_of(max_tokens=1.5),
    "cap a text": body_of(max_tokens="1"),
    "cap true": body_of(max_tokens=True),
    "cap too large": body_of(max_tokens=2**31),
    "no messages": b'{"model":"m","max_tokens":1}',
    "messages a text": body_of(messages="hi"),
    "content a number": body_of(messages=[{"role": "user", "content": 1}]),
    "a block without a type": with_blocks({"text": "x"}),
    "stream a text": body_of(stream="true"),
    "user a number": body_of(metadata={"user_id": 7}),
    "user too long": body_of(metadata={"user_id": "x" * 513}),
    "budget a text": body_of(thinking={"type": "enabled", "budget_tokens": "1024"}),
    "tier a number": body_of(service_tier=1),
    "speed a number": body_of(speed=1),
    "other models": body_of(fallbacks=[{"model": "claude-opus-5"}]),
    "other models of upstream's choice": body_of(fallbacks="default"),
    "a second model": body_of(tools=[{"type": "advisor_20260301", "name": "advisor", "model": "claude-opus-5"}]),
    "model twice": b'{"model":"a","max_tokens":1,"messages":[],"model":"b"}',
    "model twice, escaped": b'{"model":"a","max_tokens":1,"messages":[],"mod\\u0065l":"b"}',
    "cap twice": b'{"model":"a","max_tokens":1,"messages":[],"max_tokens":2}',
    "messages twice": b'{"model":"a","max_tokens":1,"messages":[{"role":"user","content":"x"}],"messages":[]}',
    "metadata twice": b'{"model":"a","max_tokens":1,"messages":[],"metadata":{"user_id":"u"},"metadata":{}}',
    "metadata and null": b'{"model":"a","max_tokens":1,"messages":[],"metadata":{"user_id":"u"},"metadata":null}',
    "null and metadata": b'{"model":"a","max_tokens":1,"messages":[],"metadata":null,"metadata":{"user_id":"u"}}',
    "thinking twice": b'{"model":"a","max_tokens":1,"messages":[],"thinking":{"budget_tokens":9},"thinking":{}}',
    "budget twice": b'{"model":"a","max_tokens":1,"messages":[],"thinking":{"budget_tokens":9,"budget_tokens":1}}',
    "Model": body_of(Model="b"),
    "MAX_TOKENS": body_of(MAX_TOKENS=1),
    "messages with a long s": msgspec.json.encode(
        {"model": "m", "max_tokens": 1, "messages": HI, "me\u017f\u017fages": HI}
    ),
    "Metadata": body_of(Metadata={"user_id": "u"}),
    "User_id": body_of(metadata={"user_id": "a", "User_id": "b"}),
    "Budget_tokens": body_of(thinking={"type": "enabled", "Budget_tokens": 5}),
    "Content": body_of(messages=[{"role": "user", "content": "hi", "Content": "ho"}]),
    "Fallbacks": body_of(Fallbacks=[{"model": "b"}]),
    "File_id": with_blocks({"type": "document", "source": {"type": "file", "File_id": "file_1"}}),
    "65 levels": body_of(tools=[{"name": "x", "input_schema": msgspec.Raw(b"[" * 62 + b"]" * 62)}]),
    "10,000 levels": b'{"model":"m","max_tokens":1,"messages":' + b"[" * 10_000 + b"]" * 10_000 + b"}",
    "not UTF-8": b'{"model":"m","max_tokens":1,"messages":[{"role":"user","content":"\xff"}]}',
    "UTF-16": body_of().decode().encode("utf-16"),
    "not JSON": b'{"model":"m","max_tokens":1,"messages":[]',
    "a list": b"[]",
    "empty": b"",
}


@pytest.mark.parametrize("body", REFUSED.values(), ids=REFUSED.keys())
def test_a_body_that_is_no_call_is_refused(body: bytes) -> None:
    with pytest.raises(BodyError) as caught:
        MESSAGES.read_call(body)

    assert caught.value.kind == "body_invalid"


@pytest.mark.parametrize(
    ("members", "tier"),
    [
        ({"service_tier": "auto"}, "auto"),
        ({"speed": "standard", "service_tier": "auto"}, "auto"),
        ({"speed": "fast", "service_tier": "standard_only"}, "fast"),
        ({"inference_geo": "us", "service_tier": "standard_only"}, "us"),
        ({"inference_geo": "us", "speed": "fast"}, "us-fast"),
        ({"inference_geo": "global", "speed": None}, ""),
        ({"inference_geo": "moon"}, "moon"),
    ],
)
def test_what_a_call_may_be_billed_as_has_one_name(members: dict[str, Any], tier: str) -> None:
    assert MESSAGES.read_call(body_of(**members)).service_tier == tier


@pytest.mark.parametrize(
    ("body", "may_write"),
    [
        (body_of(), False),
        (body_of(cache_control={"type": "ephemeral"}), True),
        (with_blocks(IMAGE), True),
        (body_of(tools=[{"name": "x", "cache_control": {"type": "ephemeral", "ttl": "1h"}}]), True),
        (body_of(tools=[{"name": "x"}]).replace(b'"name"', b'"c\\u0061che_control":{"type":"ephemeral"},"name"'), True),
        (body_of(system="about cache_control"), True),
    ],
)
def test_a_prompt_is_written_to_the_cache_only_where_the_body_says_so(body: bytes, may_write: bool) -> None:
    """However it spells it."""
    assert MESSAGES.read_call(body).may_write_cache is may_write


def test_what_belongs_to_an_account_is_named() -> None:
    """Files, wherever they stand and and the container and the message that a call goes on with."""
    file = {"type": "document", "source": {"type": "file", "file_id": "file_1"}}
    body = body_of(
        messages=[
            {"role": "user", "content": [file, {"type": "container_upload", "file_id": "file_2"}]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t", "content": [file]}]},
        ],
        container={"id": "container_1", "skills": []},
        thread={"type": "continue", "previous_message_id": "msg_1"},
    )

    ids = MESSAGES.read_call(body).object_ids
    assert ids == ("file_1", "file_2", "file_1", "container_1", "msg_1")
    assert MESSAGES.read_call(body_of(container="container_2")).object_ids == ("container_2",)
    assert MESSAGES.read_call(body_of(container={"skills": []})).object_ids == ()


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["type", "source", "content", "file_id", "media_type", "data", "text", "budget_tokens", "x"]
            ),
            inner | st.sampled_from(["text", "image", "base64", "image/png", "url", "tool_result", "document"]),
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(st.lists(JSON, max_size=3), JSON, JSON, JSON)
def test_no_body_breaks_the_look(blocks: list[Any], thinking: Any, tools: Any, extra: Any) -> None:
    """It is a call or it is refused; and of a call the bytes are a bound, or it says that they are not."""
    body = body_of(
        messages=[{"role": "user", "content": blocks}], thinking=thinking, tools=tools, context_management=extra
    )
    try:
        call = MESSAGES.read_call(body)
    except BodyError:
        return
    assert call.prompt_bound > len(body)
