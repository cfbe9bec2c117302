"""Whole streams of each format beside the plain answer of the same call, in the shapes the two APIs document."""

from typing import Any

import msgspec

DONE = b"data: [DONE]\n\n"
ROLE = {"role": "assistant", "content": "", "refusal": None}


def lines(*chunks: dict[str, Any]) -> bytes:
    return b"".join(b"data: " + msgspec.json.encode(chunk) + b"\n\n" for chunk in chunks)


def events(*payloads: dict[str, Any]) -> bytes:
    return b"".join(
        b"event: " + payload["type"].encode() + b"\ndata: " + msgspec.json.encode(payload) + b"\n\n"
        for payload in payloads
    )


def chat(delta: dict[str, Any], index: int = 0, reason: str | None = None, **over: Any) -> dict[str, Any]:
    choice = {"index": index, "delta": delta, "logprobs": None, "finish_reason": reason}
    head = {
        "id": "chatcmpl-1",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": "m",
        "service_tier": "default",
    }
    return {**head, "choices": [choice], **over}


def chat_answer(*choices: dict[str, Any], **over: Any) -> dict[str, Any]:
    head = {"id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "m", "service_tier": "default"}
    return {**head, "choices": [{"logprobs": None, **choice} for choice in choices], **over}


def message(text: str | None, **over: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": text, "refusal": None, **over}


def call(index: int, **over: Any) -> dict[str, Any]:
    return {"tool_calls": [{"index": index, **over}]}


def token(text: str) -> dict[str, Any]:
    return {"token": text, "logprob": -0.25, "bytes": list(text.encode()), "top_logprobs": []}


TEXT = [chat(ROLE, usage=None), *(chat({"content": text}, usage=None) for text in ("Wa", "", 'ter "é" 🌊'))]
USAGE = {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}
CHAT = {
    "text with usage": (
        lines(*TEXT, chat({}, reason="stop", usage=None), chat({}, choices=[], usage=USAGE)) + DONE,
        chat_answer({"index": 0, "message": message('Water "é" 🌊'), "finish_reason": "stop"}, usage=USAGE),
    ),
    "usage that the caller did not ask for": (
        b": keep-alive\n\n" + lines(*TEXT, chat({}, reason="length", obfuscation="aa")) + DONE,
        chat_answer({"index": 0, "message": message('Water "é" 🌊'), "finish_reason": "length"}),
    ),
    "two choices, the second first": (
        lines(chat(ROLE, 1), chat(ROLE, 0), chat({"content": "b"}, 1), chat({"content": "a"}), chat({}, 1, "stop"))
        + lines(chat({}, 0, "content_filter"))
        + DONE,
        chat_answer(
            {"index": 0, "message": message("a"), "finish_reason": "content_filter"},
            {"index": 1, "message": message("b"), "finish_reason": "stop"},
        ),
    ),
    "tools at once, arguments in pieces": (
        lines(
            chat({**ROLE, "content": None}),
            chat(call(0, id="call_a", type="function", function={"name": "weather", "arguments": ""})),
            chat(call(0, function={"arguments": '{"city": "Pa'})),
            chat(call(1, id="call_b", type="function", function={"name": "time", "arguments": "{}"})),
            # Some servers say id and name again with every piece.
            chat(call(0, id="call_a", type="function", function={"name": "weather", "arguments": 'ris"}'})),
            chat({}, reason="tool_calls"),
        )
        + DONE,
        chat_answer(
            {
                "index": 0,
                "message": message(
                    None,
                    tool_calls=[
                        {
                            "id": "call_a",
                            "type": "function",
                            "function": {"name": "weather", "arguments": '{"city": "Paris"}'},
                        },
                        {"id": "call_b", "type": "function", "function": {"name": "time", "arguments": "{}"}},
                    ],
                ),
                "finish_reason": "tool_calls",
            }
        ),
    ),
    "reasoning, refusal, annotations and what a server adds": (
        lines(
            chat({"role": "assistant", "reasoning_content": "Let "}),
            chat({"reasoning_content": "me."}),
            chat({"refusal": "No", "annotations": [{"type": "url_citation"}]}),
            chat({"refusal": ".", "annotations": [{"type": "other"}]}),
            chat({}, reason="stop", x_server={"took": 0.5}),
        )
        + DONE,
        chat_answer(
            {
                "index": 0,
                "message": {
                    "role": "assistant",
                    "content": None,
                    "reasoning_content": "Let me.",
                    "refusal": "No.",
                    "annotations": [{"type": "url_citation"}, {"type": "other"}],
                },
                "finish_reason": "stop",
            },
            x_server={"took": 0.5},
        ),
    ),
    "log probabilities": (
        lines(
            chat(ROLE),
            *(
                {
                    **chat({}),
                    "choices": [
                        {
                            "index": 0,
                            "delta": {"content": text},
                            "logprobs": {"content": [token(text)], "refusal": None},
                            "finish_reason": None,
                        }
                    ],
                }
                for text in ("a", "é")
            ),
            chat({}, reason="stop"),
        ).replace(b"\n", b"\r\n")
        + DONE,
        chat_answer(
            {
                "index": 0,
                "message": message("aé"),
                "logprobs": {"content": [token("a"), token("é")], "refusal": None},
                "finish_reason": "stop",
            }
        ),
    ),
}


def text_chunk(text: str, reason: str | None = None, index: int = 0, **over: Any) -> dict[str, Any]:
    choice = {"text": text, "index": index, "logprobs": None, "finish_reason": reason}
    return {"id": "cmpl-1", "object": "text_completion", "created": 1, "model": "m", "choices": [choice], **over}


COMPLETIONS = {
    "two prompts": (
        lines(text_chunk("A"), text_chunk("B", index=1), text_chunk("a", "stop"), text_chunk("", "length", 1))
        + lines(text_chunk("", choices=[], usage=USAGE))
        + DONE,
        {
            **text_chunk("Aa", "stop"),
            "choices": [text_chunk("Aa", "stop")["choices"][0], text_chunk("B", "length", 1)["choices"][0]],
            "usage": USAGE,
        },
    )
}

RESPONSE = {"id": "resp_1", "object": "response", "status": "completed", "output": [{"type": "message"}], "n": 1e-05}
RESPONSES = {
    "completed": (
        events(
            {"type": "response.created", "response": {"id": "resp_1", "output": []}},
            {"type": "response.output_text.delta", "delta": "Hi"},
            {"type": "response.output_item.done", "item": {}},
            {"type": "response.completed", "sequence_number": 9, "response": RESPONSE},
        ),
        RESPONSE,
    ),
    "incomplete": (
        events({"type": "response.incomplete", "response": {"id": "resp_1", "output": []}}),
        {"id": "resp_1", "output": []},
    ),
}

STARTED = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "m",
    "content": [],
    "stop_reason": None,
    "stop_sequence": None,
    "usage": {"input_tokens": 5, "cache_read_input_tokens": 2, "output_tokens": 1},
}


def block(index: int, started: dict[str, Any], *deltas: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        {"type": "content_block_start", "index": index, "content_block": started},
        *({"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas),
        {"type": "content_block_stop", "index": index},
    ]


def ended(reason: str, **usage: int) -> list[dict[str, Any]]:
    delta = {"stop_reason": reason, "stop_sequence": None}
    return [{"type": "message_delta", "delta": delta, "usage": usage}, {"type": "message_stop"}]


CITED = {"type": "char_location", "cited_text": "x"}
MESSAGES = {
    "thinking, text with citations, tool": (
        events(
            {"type": "message_start", "message": STARTED},
            {"type": "ping"},
            *block(
                0,
                {"type": "thinking", "thinking": "", "signature": ""},
                {"type": "thinking_delta", "thinking": "Hm"},
                {"type": "thinking_delta", "thinking": "m."},
                {"type": "signature_delta", "signature": "EqQB+/8="},
            ),
            *block(
                1,
                {"type": "text", "text": ""},
                {"type": "text_delta", "text": "Hel"},
                {"type": "citations_delta", "citation": CITED},
                {"type": "text_delta", "text": "lo 🌊"},
            ),
            *block(
                2,
                {"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {}},
                {"type": "input_json_delta", "partial_json": ""},
                {"type": "input_json_delta", "partial_json": '{"city": "Pa'},
                {"type": "input_json_delta", "partial_json": 'ris", "n": 1.0}'},
            ),
            *block(3, {"type": "tool_use", "id": "toolu_2", "name": "now", "input": {}}),
            *block(4, {"type": "redacted_thinking", "data": "abc"}),
            *ended("tool_use", output_tokens=40),
        ),
        {
            **STARTED,
            "content": [
                {"type": "thinking", "thinking": "Hmm.", "signature": "EqQB+/8="},
                {"type": "text", "text": "Hello 🌊", "citations": [CITED]},
                {"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {"city": "Paris", "n": 1.0}},
                {"type": "tool_use", "id": "toolu_2", "name": "now", "input": {}},
                {"type": "redacted_thinking", "data": "abc"},
            ],
            "stop_reason": "tool_use",
            "usage": {"input_tokens": 5, "cache_read_input_tokens": 2, "output_tokens": 40},
        },
    ),
    "an empty one": (
        events({"type": "message_start", "message": STARTED}, *ended("end_turn", output_tokens=1)),
        {**STARTED, "stop_reason": "end_turn"},
    ),
}


def old(text: str, reason: str | None = None) -> dict[str, Any]:
    return {"type": "completion", "id": "compl_1", "completion": text, "stop_reason": reason, "model": "m"}


COMPLETE = {
    "text": (
        events(old(" Hel"), {"type": "ping"}, old("lo"), old("", "stop_sequence")),
        old(" Hello", "stop_sequence"),
    )
}
CASES = {
    "openai_chat": CHAT,
    "openai_completions": COMPLETIONS,
    "openai_responses": RESPONSES,
    "anthropic_messages": MESSAGES,
    "anthropic_complete": COMPLETE,
}
