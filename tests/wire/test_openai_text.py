"""The text that a tokenizer would see, of bodies and of whole answers."""

from typing import Any

import msgspec
import pytest

from proxy.wire import FORMATS

TOOLS = [{"type": "function", "function": {"name": "f", "parameters": {"properties": {"x": {"type": "string"}}}}}]

# format -> (body, its text)
PROMPTS: list[tuple[str, dict[str, Any], str]] = [
    (
        "openai_chat",
        {
            "model": "m",
            "user": "u",
            "messages": [
                {"role": "system", "content": "Be brief."},
                {
                    "role": "user",
                    "name": "bob",
                    "content": [{"type": "text", "text": "Hi"}, {"type": "image_url", "image_url": {"url": "data:x"}}],
                },
                {
                    "role": "assistant",
                    "content": None,
                    "tool_calls": [{"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}],
                },
                {"role": "tool", "tool_call_id": "c", "content": "42"},
            ],
        },
        "system\nBe brief.\nuser\nbob\nHi\nassistant\nf\n{}\ntool\n42",
    ),
    ("openai_chat", {"messages": [], "tools": TOOLS}, msgspec.json.encode(TOOLS).decode()),
    (
        "openai_chat",
        {"messages": [{"role": "user", "content": ["a", {"type": "file", "file": {"name": "x"}}]}]},
        "user\na",
    ),
    ("openai_completions", {"prompt": "Once", "suffix": "end", "user": "u"}, "Once\nend"),
    ("openai_completions", {"prompt": ["a", "b"]}, "a\nb"),
    ("openai_completions", {"prompt": [5, 6, 7]}, " a a a"),
    ("openai_completions", {"prompt": [[5, 6], [7]]}, " a a a"),
    ("openai_completions", {"prompt": ["x", [5, 6], {"y": 1}]}, "x\n a a"),
    ("openai_completions", {"prompt": None}, ""),
    ("openai_embeddings", {"input": "a"}, "a"),
    ("openai_embeddings", {"input": [[1], [2]]}, " a a"),
    ("openai_responses", {"model": "m", "instructions": "Be brief.", "input": "Hi"}, "Be brief.\nHi"),
    (
        "openai_responses",
        {
            "input": [
                {
                    "role": "user",
                    "content": [{"type": "input_text", "text": "Hi"}, {"type": "input_image", "image_url": "data:x"}],
                },
                {
                    "type": "reasoning",
                    "id": "rs_1",
                    "summary": [{"type": "summary_text", "text": "Hm"}],
                    "encrypted_content": "gAAA",
                },
                {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"},
                {"type": "function_call_output", "call_id": "c", "output": "42"},
            ],
            "text": {"format": {"type": "text"}},
        },
        'user\nHi\nHm\nf\n{}\n42\n{"format":{"type":"text"}}',
    ),
]

ANSWERS: list[tuple[str, dict[str, Any], str]] = [
    (
        "openai_chat",
        {
            "id": "x",
            "model": "m",
            "choices": [
                {
                    "index": 0,
                    "finish_reason": "stop",
                    "message": {"role": "assistant", "content": "Hello", "refusal": None},
                    "logprobs": {"content": [{"token": "Hello"}]},
                },
                {
                    "index": 1,
                    "message": {"tool_calls": [{"type": "function", "function": {"name": "f", "arguments": "{}"}}]},
                },
            ],
        },
        "assistant\nHello\nf\n{}",
    ),
    ("openai_completions", {"choices": [{"text": "a", "index": 0}, {"text": "b", "index": 1}]}, "a\nb"),
    (
        "openai_responses",
        {
            "instructions": "not this",
            "output": [
                {"type": "reasoning", "summary": [{"type": "summary_text", "text": "Hm"}]},
                {
                    "type": "message",
                    "role": "assistant",
                    "content": [{"type": "output_text", "text": "Hi", "annotations": [{"text": "no"}]}],
                },
                {"type": "function_call", "name": "f", "arguments": "{}"},
            ],
        },
        "Hm\nassistant\nHi\nf\n{}",
    ),
    ("openai_embeddings", {"data": [{"embedding": [1]}]}, ""),
]


@pytest.mark.parametrize(("name", "body", "text"), PROMPTS)
def test_a_prompt_is_what_a_model_reads(name: str, body: dict[str, Any], text: str) -> None:
    """And nothing that was escaped, nor pictures and files; a token that came as such is a word of one token."""
    assert FORMATS[name].prompt_text(msgspec.json.encode(body)) == text


@pytest.mark.parametrize(("name", "body", "text"), ANSWERS)
def test_an_answer_is_what_a_model_wrote(name: str, body: dict[str, Any], text: str) -> None:
    assert FORMATS[name].answer_text(msgspec.json.encode(body)) == text


HOSTILE = [
    b"", b"[]", b"7", b"null", b"\xff", b"<html>", b'{"messages":7,"input":{"a":1},"choices":"x","output":[[[]]]}',
    b'{"messages":' + b"[" * 100_000, b'{"choices":' + b'{"content":' * 500 + b"1" + b"}" * 501,
    b'{"input":[true,null,1e400]}', b'{"prompt":[1,"a",null]}',
]  # fmt: skip


@pytest.mark.parametrize("name", [name for name in FORMATS if name.startswith("openai_")])
@pytest.mark.parametrize("body", HOSTILE, ids=range(len(HOSTILE)))
def test_nothing_raises(name: str, body: bytes) -> None:
    assert isinstance(FORMATS[name].prompt_text(body), str)
    assert isinstance(FORMATS[name].answer_text(body), str)


def test_deep_nesting_is_walked_without_recursion() -> None:
    """As deep as the decoder goes."""
    body = b'{"choices":' + b'[{"content":"a","x":' * 200 + b"1" + b"}]" * 200 + b"}"

    assert FORMATS["openai_chat"].answer_text(body) == "\n".join("a" * 200)
