"""What a response's body asks for, what goes upstream, and what a whole answer says of itself."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.wire import FORMATS, Call
from proxy.wire.body import BodyError
from proxy.wire.openai_members import TOKENS_PER_CALL, TOKENS_PER_MESSAGE
from shared.usage import NO_UNITS, NO_USAGE, TokenUsage, UnitUsage

RESPONSES = FORMATS["openai_responses"]


def body_of(**members: Any) -> bytes:
    return msgspec.json.encode({"model": "gpt-5-mini", "input": "hi"} | members)


def item(**members: Any) -> bytes:
    return body_of(input=[{"role": "user", "content": "hi"}, members])


def part(**members: Any) -> bytes:
    return item(role="user", content=[{"type": "input_text", "text": "what is this?"}, members])


def tool(kind: str, **members: Any) -> bytes:
    return body_of(tools=[{"type": kind} | members])


def test_a_call_is_what_its_body_says() -> None:
    body = body_of(
        input=[{"role": "user", "content": "hi"}], instructions="Be brief.", max_output_tokens=40, stream=True,
        user="u-1", safety_identifier="s-1", prompt_cache_key="k", service_tier="flex", store=False,
        previous_response_id="resp_1", prompt_cache_options={"comparison_response_id": "resp_2", "ttl": "12h"},
    )  # fmt: skip

    assert RESPONSES.read_call(body) == Call(
        requested_model="gpt-5-mini",
        is_stream=True,
        user_id="u-1",
        output_cap=40,
        prompt_bound=len(body) + TOKENS_PER_MESSAGE + TOKENS_PER_CALL,
        is_unbounded=True,
        service_tier="flex",
        object_ids=("resp_2", "resp_1"),
    )


def test_what_is_null_was_not_given() -> None:
    names = (
        "input", "instructions", "max_output_tokens", "stream", "user", "safety_identifier", "service_tier", "store",
        "previous_response_id", "conversation", "prompt", "background", "tools", "context_management",
        "prompt_cache_options", "stream_options",
    )  # fmt: skip
    body = body_of(**dict.fromkeys(names))

    assert RESPONSES.read_call(body) == Call(requested_model="gpt-5-mini", prompt_bound=len(body) + TOKENS_PER_CALL)


def test_the_newer_name_for_a_user_counts_where_the_older_is_not_given() -> None:
    assert RESPONSES.read_call(body_of(safety_identifier="s-1")).user_id == "s-1"
    assert RESPONSES.read_call(body_of(safety_identifier="s-1", user=None)).user_id == "s-1"


IMAGE = {"type": "input_image", "image_url": "https://example.com/cat.png", "detail": "auto"}
SEALED = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "gAAAAA=="}
BOUNDED: dict[str, bytes] = {
    "text": body_of(),
    "no input": b'{"model":"m"}',
    "message": item(type="message", role="user", content="hi", phase="commentary"),
    "text parts": part(type="output_text", text="a", annotations=[{"type": "file_citation", "file_id": "file-1"}]),
    "refusal": part(type="refusal", refusal="no"),
    "talk of images": item(role="user", content='{"type":"input_image","file_id":"file-1"}'),
    "a role that nobody knows": item(role="critic", content="hi"),
    "a function's call": item(type="function_call", call_id="c", name="f", arguments='{"file_id":"x"}', id="fc_1"),
    "a function's output": item(type="function_call_output", call_id="c", output="42"),
    "a function's output in parts": item(type="function_call_output", output=[{"type": "input_text", "text": "a"}]),
    "a custom tool's output": item(type="custom_tool_call_output", call_id="c", output="42"),
    "a shell's output": item(type="local_shell_call_output", id="x", output="42"),
    "sealed reasoning": item(**SEALED),
    "function": tool("function", name="f", parameters={"properties": {"file_id": IMAGE}}, strict=True),
    "custom tool": tool("custom", name="f", format={"type": "text"}),
    "unknown members beside": body_of(x={"type": "input_image", "file_id": "file-1"}),
    "an unknown member of an item": item(role="user", content="hi", mood="glad"),
    "compared with an earlier answer": body_of(prompt_cache_options={"comparison_response_id": "resp_1"}),
}
UNBOUNDED: dict[str, bytes] = {
    "image": part(**IMAGE),
    "image without a type": part(image_url="x"),
    "image given as a text": part(type="input_text", text="a", image_url="x"),
    "image in bytes": part(type="input_image", image_url="data:image/png;base64,iVBORw0KGgo="),
    "file in bytes": part(type="input_file", filename="a.pdf", file_data="JVBERi0="),
    "file from a place": part(type="input_file", file_url="https://example.com/a.pdf"),
    "audio": part(type="input_audio", input_audio={"data": "x", "format": "wav"}),
    "a part nobody knows": part(type="hologram"),
    "a member of a part that nobody knows": part(type="input_text", text="a", attachment="x"),
    "image from a function": item(type="function_call_output", call_id="c", output=[IMAGE]),
    "screenshot": item(type="computer_call_output", output={"type": "computer_screenshot", "image_url": "x"}),
    "reference": item(type="item_reference", id="msg_1"),
    "reference without a type": item(id="msg_1"),
    "reasoning by id": item(type="reasoning", id="rs_1", summary=[]),
    "one sealed, one by id": body_of(input=[SEALED, {"type": "reasoning", "id": "rs_2", "summary": []}]),
    "sealed by null": item(**SEALED | {"encrypted_content": None}),
    "compaction": item(type="compaction", encrypted_content="x"),
    "a search made before": item(type="web_search_call", id="ws_1", status="completed"),
    "an item nobody knows": item(type="dream"),
    "more tools": item(type="additional_tools", role="developer", tools=[]),
    "type overridden": b'{"model":"m","input":[{"type":"item_reference","type":"message","content":"a"}]}',
    "part's type overridden": b'{"model":"m","input":[{"content":[{"type":"input_image","type":"input_text"}]}]}',
    "content overridden": b'{"model":"m","input":[{"content":[{"type":"input_image"}],"content":"a"}]}',
    "another spelling of a part's type": part(Type="input_image"),
    "an earlier answer": body_of(previous_response_id="resp_1"),
    "template": body_of(prompt={"id": "pmpt_1", "variables": {"name": "x"}}),
    "compacting": body_of(context_management=[{"type": "compaction", "compact_threshold": 1000}]),
    **{
        kind: tool(kind)
        for kind in (
            "web_search", "web_search_preview", "file_search", "code_interpreter", "image_generation", "mcp",
            "computer", "computer_use_preview", "shell", "namespace", "tool_search",
            "programmatic_tool_calling", "hologram",
        )
    },
    "another spelling of a tool's type": tool("function", name="f", Type="web_search"),
}  # fmt: skip


@pytest.mark.parametrize("body", BOUNDED.values(), ids=BOUNDED.keys())
def test_the_caller_s_own_text_is_bounded(body: bytes) -> None:
    assert not RESPONSES.read_call(body).is_unbounded


@pytest.mark.parametrize("body", UNBOUNDED.values(), ids=UNBOUNDED.keys())
def test_what_the_bytes_do_not_bound_is_seen(body: bytes) -> None:
    assert RESPONSES.read_call(body).is_unbounded


NAMED: dict[str, tuple[bytes, tuple[str, ...]]] = {
    "an earlier answer": (body_of(previous_response_id="resp_1"), ("resp_1",)),
    "image": (part(type="input_image", file_id="file-1"), ("file-1",)),
    "file": (part(type="input_file", file_id="file-1"), ("file-1",)),
    "file, escaped": (b'{"model":"m","input":[{"content":[{"file\\u005fid":"file-1"}]}]}', ("file-1",)),
    "file overridden": (b'{"model":"m","input":[{"content":[{"file_id":"a","file_id":"b"}]}]}', ("a", "b")),
    "file in content overridden": (b'{"model":"m","input":[{"content":[{"file_id":"a"}],"content":"x"}]}', ("a",)),
    "the same twice": (body_of(input=[{"content": [{"file_id": "a"}, {"file_id": "a"}]}]), ("a",)),
    "file from a function": (item(type="function_call_output", output=[{"file_id": "a"}]), ("a",)),
    "screenshot": (item(type="computer_call_output", output={"file_id": "a"}), ("a",)),
    "stores": (tool("file_search", vector_store_ids=["vs_1", "vs_2"]), ("vs_1", "vs_2")),
    "stores overridden": (
        b'{"model":"m","tools":[{"vector_store_ids":["a"],"vector_store_ids":["b"]}]}',
        ("a", "b"),
    ),
    "stores in an item": (item(type="additional_tools", tools=[{"vector_store_ids": ["vs_1"]}]), ("vs_1",)),
    "container": (tool("code_interpreter", container="cntr_1"), ("cntr_1",)),
    "new container": (tool("code_interpreter", container={"type": "auto"}), ()),
    "compared": (body_of(prompt_cache_options={"comparison_response_id": "resp_1"}), ("resp_1",)),
    "compared, unknown beside": (body_of(x=1, prompt_cache_options={"comparison_response_id": "a", "y": 2}), ("a",)),
    "in a member nobody knows": (body_of(x={"file_id": "a"}), ()),
}


@pytest.mark.parametrize(("body", "ids"), NAMED.values(), ids=NAMED.keys())
def test_objects_that_a_body_names_are_told(body: bytes, ids: tuple[str, ...]) -> None:
    """Each of them: whichever of two members upstream reads, the object must be the caller's."""
    assert RESPONSES.read_call(body).object_ids == ids


REFUSED: dict[str, bytes] = {
    "no model": b'{"input":"a"}',
    "no model beside a template": b'{"prompt":{"id":"pmpt_1"}}',
    "model null": body_of(model=None),
    "model with NUL": body_of(model="a\x00"),
    "input a number": body_of(input=7),
    "input an object": body_of(input={"role": "user"}),
    "item a text": body_of(input=["hi"]),
    "content a number": item(role="user", content=1),
    "conversation": body_of(conversation="conv_1"),
    "conversation as an object": body_of(conversation={"id": "conv_1"}),
    "background": body_of(background=True),
    "background a text": body_of(background="no"),
    "stream a number": body_of(stream=1),
    "cap zero": body_of(max_output_tokens=0),
    "cap a text": body_of(max_output_tokens="5"),
    "cap too large": body_of(max_output_tokens=2**31),
    "user a number": body_of(user=5),
    "safety_identifier a list": body_of(safety_identifier=[]),
    "service_tier a number": body_of(service_tier=1),
    "previous_response_id a list": body_of(previous_response_id=["resp_1"]),
    "previous_response_id empty": body_of(previous_response_id=""),
    "previous_response_id too long": body_of(previous_response_id="r" * 257),
    "file id with NUL": part(type="input_file", file_id="a\x00"),
    "file in a template": body_of(prompt={"id": "p", "variables": {"a": [{"type": "input_file", "file_id": "f"}]}}),
    "file in a template, in another spelling": body_of(prompt={"variables": {"a": {"File_ID": None}}}),
    "files in a container": tool("code_interpreter", container={"type": "auto", "file_ids": ["f"]}),
    "container by reference": tool("shell", environment={"type": "container_reference", "container_id": "c"}),
    "file in another spelling": part(type="input_file", File_Id="f"),
    "stores in another spelling": tool("file_search", Vector_Store_Ids=["f"]),
    "stores of an item in another spelling": item(tools=[{"Vector_Store_IDS": []}]),
    "compared in another spelling": body_of(prompt_cache_options={"Comparison_response_id": "a"}),
    "texts twice": b'{"model":"m","input":"a","input":"b"}',
    "texts twice, escaped": b'{"model":"m","input":"a","\\u0069nput":"b"}',
    "items twice": b'{"model":"m","input":[{"content":"a"}],"input":[{"content":"b"}]}',
    "text after items": b'{"model":"m","input":[{"content":"a"}],"input":"b"}',
    "items after a text": b'{"model":"m","input":"b","input":[{"content":"a"}]}',
    "null and a text": b'{"model":"m","input":null,"input":"b"}',
    "null and items": b'{"model":"m","input":null,"input":[{"content":"b"}]}',
    "null twice": b'{"model":"m","input":null,"input":null}',
    "our own mark": b'{"model":"m","input":"\\u0000"}',
    "our own mark in an item": b'{"model":"m","input":[{" number":1,"content":"a"}]}',
    "stream twice": b'{"model":"m","stream":true,"stream":false}',
    "previous_response_id twice": b'{"model":"m","previous_response_id":"a","previous_response_id":"b"}',
    "conversation twice": b'{"model":"m","conversation":"a","conversation":null}',
    "background twice": b'{"model":"m","background":true,"background":false}',
    "deep": b'{"model":"m","x":%b}' % (b"[" * 64 + b"]" * 64),
    "very deep": b'{"model":"m","input":' + b"[" * 10_000,
    "not JSON": b"model=m",
    "not UTF-8": b'{"model":"m","input":"\xff"}',
    "an array": b"[]",
    **{
        f"{name} in another spelling": b'{"model":"m","input":"a","%b":null}' % name.encode()
        for name in (
            "Model", "INPUT", "\\u0049nput", "Max_Output_Tokens", "max_output_token\u017f", "Stream", "Tools",
            "Previous_Response_ID", "Conversation", "Background", "Prompt", "Service_Tier", "User",
            "Safety_Identifier", "Context_Management", "Prompt_Cache_Options",
        )
    },
    **{
        f"an item's {name} in another spelling": item(**{"content": "a", name: "x"})
        for name in ("Type", "Content", "Output", "Encrypted_Content")
    },
}  # fmt: skip


@pytest.mark.parametrize("body", REFUSED.values(), ids=REFUSED.keys())
def test_a_body_that_cannot_be_acted_on_is_refused(body: bytes) -> None:
    with pytest.raises(BodyError) as caught:
        RESPONSES.read_call(body)

    assert caught.value.kind == "body_invalid"


FORWARDED: dict[str, tuple[bytes, str | None, int | None, bytes]] = {
    "plain": (b'{"model":"a","input":"x"}', None, None, b'{"model":"a","input":"x"}'),
    "stream": (b'{"model":"a","stream":true}', "a", None, b'{"model":"a","stream":true}'),
    "alias": (b'{"input":"x", "model": "a"}', "b", None, b'{"input":"x", "model": "b"}'),
    "cap added": (b'{"model":"a","stream":true}', None, 50, b'{"model":"a","stream":true,"max_output_tokens":50}'),
    "cap lowered": (b'{"max_output_tokens" : 100,"model":"a"}', None, 50, b'{"max_output_tokens" : 50,"model":"a"}'),
    "cap not raised": (b'{"max_output_tokens":30,"model":"a"}', None, 50, b'{"max_output_tokens":30,"model":"a"}'),
    "cap in place of null": (b'{"max_output_tokens":null,"model":"a"}', "b", 5, b'{"max_output_tokens":5,"model":"b"}'),
}  # fmt: skip


@pytest.mark.parametrize(("body", "model", "cap", "expected"), FORWARDED.values(), ids=FORWARDED.keys())
def test_upstream_gets_the_body_with_no_more_edits_than_needed(
    body: bytes, model: str | None, cap: int | None, expected: bytes
) -> None:
    """Nothing asks for usage: it always comes."""
    forwarded = RESPONSES.forward(RESPONSES.read_call(body), body, model, cap)

    assert forwarded == expected
    assert (forwarded is body) == (forwarded == body and cap is None)


ANSWER = (
    b'{"id":"resp_67ccd2bed1ec8190b14f964abc0542670bb6a6b452d3795b","object":"response","status":"completed",'
    b'"error":null,"model":"gpt-4.1-2025-04-14","service_tier":"default","output":[{"type":"message","content":[]}],'
    b'"usage":{"input_tokens":36,"input_tokens_details":{"cached_tokens":0},"output_tokens":87,'
    b'"output_tokens_details":{"reasoning_tokens":64},"total_tokens":123}}'
)


def test_an_answer_is_read_for_its_usage_and_names() -> None:
    answer = RESPONSES.read_answer(ANSWER)

    assert answer.usage == TokenUsage(input=36, output=23, reasoning=64)
    assert answer.response_id == "resp_67ccd2bed1ec8190b14f964abc0542670bb6a6b452d3795b"
    assert (answer.response_model, answer.service_tier) == ("gpt-4.1-2025-04-14", "default")
    assert answer.why_no_usage == ""


FAILED: list[tuple[bytes, TokenUsage | None]] = [
    (b'{"error":{"message":"no"}}', NO_USAGE),
    (b'{"id":"resp_1","status":"failed","error":{"code":"server_error"},"output":[],"usage":null}', NO_USAGE),
    (b'{"error":{"code":"x"},"output":[{"type":"message"}],"usage":null}', None),
    (b'{"error":{"code":"x"},"output":[],"usage":{"input_tokens":-1,"output_tokens":0}}', None),
    (b'{"error":{"code":"x"},"usage":{"input_tokens":5,"output_tokens":0}}', TokenUsage(input=5)),
    (b'{"error":null,"output":[]}', None),
]


@pytest.mark.parametrize(("body", "usage"), FAILED)
def test_only_an_error_without_any_work_costs_nothing(body: bytes, usage: TokenUsage | None) -> None:
    assert RESPONSES.read_answer(body).usage == usage


TOOLS_USED: dict[str, tuple[Any, UnitUsage]] = {
    "none": ({"web_search": {"num_requests": 0}, "image_gen": {"total_tokens": 0}}, NO_UNITS),
    "null": (None, NO_UNITS),
    "unknown": ({"teleport": {"miles": 5}, "web_search": None}, NO_UNITS),
    "searches": ({"web_search": {"num_requests": 3}, "image_gen": {"total_tokens": 0}}, UnitUsage(searches=3)),
    "images": ({"image_gen": {"input_tokens": 5, "total_tokens": 900}}, UnitUsage(output_images=2)),
}
OUTPUT = [{"type": "image_generation_call"}, {"type": "message", "text": '"image_generation_call"'}]


@pytest.mark.parametrize(("used", "units"), TOOLS_USED.values(), ids=TOOLS_USED.keys())
def test_what_upstream_s_tools_used_is_told_by_the_piece(used: Any, units: UnitUsage) -> None:
    """Whole and streamed; images are another model's work, so their tokens are not this one's."""
    response = {
        "usage": {"input_tokens": 1, "output_tokens": 2},
        "tool_usage": used,
        "output": [*OUTPUT, {"type": "image_generation_call"}],
    }
    answer = RESPONSES.read_answer(msgspec.json.encode(response))
    stream = RESPONSES.open_stream(Call())
    stream.feed(b"data: %b\n\n" % msgspec.json.encode({"type": "response.completed", "response": response}))

    assert (answer.usage, answer.units) == (TokenUsage(input=1, output=2), units)
    assert (stream.usage, stream.units) == (answer.usage, units)


@pytest.mark.parametrize("used", [[], 7, {"web_search": {"num_requests": -1}}, {"image_gen": {"total_tokens": "5"}}])
def test_use_of_tools_that_cannot_be_true_is_not_trusted(used: Any) -> None:
    response = {"usage": {"input_tokens": 1, "output_tokens": 2}, "tool_usage": used}
    answer = RESPONSES.read_answer(msgspec.json.encode(response))
    stream = RESPONSES.open_stream(Call())
    stream.feed(b"data: %b\n\n" % msgspec.json.encode({"type": "response.completed", "response": response}))

    assert (answer.usage, stream.usage) == (None, None)
    assert answer.why_no_usage.startswith("usage is not to be trusted: ")
    assert stream.why_no_usage == answer.why_no_usage


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b'{"a":' + b"[" * 100_000, b'{"id":"\xff"}'])
def test_an_answer_that_cannot_be_read_says_why(body: bytes) -> None:
    answer = RESPONSES.read_answer(body)

    assert answer.usage is None
    assert answer.why_no_usage


SEEDS = [*BOUNDED.values(), *UNBOUNDED.values(), *(row[0] for row in NAMED.values()), ANSWER]


@given(st.sampled_from(SEEDS), st.integers(0, 400), st.integers(0, 12), st.binary(max_size=12))
def test_no_bytes_raise_anything_but_a_refusal(seed: bytes, at: int, length: int, junk: bytes) -> None:
    """Valid bodies with a piece replaced, read, forwarded and taken for an answer."""
    body = seed[:at] + junk + seed[at + length :]
    RESPONSES.read_answer(body)
    RESPONSES.prompt_text(body)
    RESPONSES.answer_text(body)
    try:
        call = RESPONSES.read_call(body)
        again = RESPONSES.read_call(RESPONSES.forward(call, body, "other", 5))
    except BodyError:
        return
    assert (again.requested_model, again.is_unbounded, again.object_ids) == (
        "other",
        call.is_unbounded,
        call.object_ids,
    )
    assert again.output_cap is not None
    assert again.output_cap <= 5
