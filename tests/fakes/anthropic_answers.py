"""What Anthropic answers, as the scripted upstream tells it: messages, legacy completions, token counts, models.

Sources: platform.claude.com/docs/en/api/{messages,streaming,errors}. A prompt's parts are disjoint there:
`input_tokens` excludes what was read from or written to the cache.
"""

from typing import Any

import msgspec

from tests.fakes import scripts
from tests.fakes.scripts import Script, frame

MODELS = ("claude-sonnet-5-5", "claude-haiku-5-5")
SIGNATURE = "EqQBCkYIBxgCKkBmYWtlIHNpZ25hdHVyZSAv+/8="
ERROR_TYPES = {
    400: "invalid_request_error", 401: "authentication_error", 402: "billing_error", 403: "permission_error",
    404: "not_found_error", 413: "request_too_large", 429: "rate_limit_error", 504: "timeout_error",
    529: "overloaded_error",
}  # fmt: skip


def output_of(script: Script, call: dict[str, Any]) -> tuple[int, str]:
    """Output tokens and the stop reason."""
    tokens = script.events if script.completion_tokens is None else script.completion_tokens
    cap = call.get("max_tokens") or call.get("max_tokens_to_sample")
    if script.obeys_cap and isinstance(cap, int) and cap < tokens:
        return cap, "max_tokens"
    return tokens, "tool_use" if script.makes == "tool" else "end_turn"


def usage_of(script: Script, call: dict[str, Any]) -> dict[str, Any] | None:
    """The usage of a whole message."""
    if not script.has_usage:
        return None
    if script.usage is not None:
        return script.usage
    written = script.written_tokens + script.written_1h_tokens
    usage: dict[str, Any] = {
        "input_tokens": script.prompt_tokens - script.cached_tokens - written,
        "cache_creation_input_tokens": written,
        "cache_read_input_tokens": script.cached_tokens,
        "cache_creation": {
            "ephemeral_5m_input_tokens": script.written_tokens,
            "ephemeral_1h_input_tokens": script.written_1h_tokens,
        },
        "output_tokens": output_of(script, call)[0],
        "service_tier": "standard",
    }
    if script.reasoning_tokens:
        usage["output_tokens_details"] = {"thinking_tokens": script.reasoning_tokens}
    return scripts.spoil(usage, script.wrong_usage)


def _blocks(script: Script, call: dict[str, Any]) -> list[dict[str, Any]]:
    text = {"type": "text", "text": "".join(scripts.words(script))}
    if script.makes == "tool":
        tool_input = msgspec.json.decode(scripts.TOOL_INPUT)
        return [{"type": "tool_use", "id": "toolu_fake", "name": scripts.tool_name(call), "input": tool_input}]
    if script.makes == "thinking":
        return [{"type": "thinking", "thinking": scripts.THOUGHT, "signature": SIGNATURE}, text]
    return [text]


def _message(script: Script, call: dict[str, Any], number: int) -> dict[str, Any]:
    return {
        "id": f"msg_fake{number}",
        "type": "message",
        "role": "assistant",
        "model": script.model or call.get("model", ""),
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
    }


def message(script: Script, call: dict[str, Any], number: int) -> bytes:
    """A whole message."""
    answer = _message(script, call, number)
    answer |= {"content": _blocks(script, call), "stop_reason": output_of(script, call)[1]}
    if (usage := usage_of(script, call)) is not None:
        answer["usage"] = usage
    return msgspec.json.encode(answer)


def _block_frames(script: Script, index: int, block: dict[str, Any]) -> list[bytes]:
    """One content block: opened empty, filled by deltas, closed."""
    deltas: list[dict[str, Any]]
    if block["type"] == "tool_use":
        opened = {**block, "input": {}}
        parts = ("", scripts.TOOL_INPUT[:5], scripts.TOOL_INPUT[5:])
        deltas = [{"type": "input_json_delta", "partial_json": part} for part in parts]
    elif block["type"] == "thinking":
        opened = {"type": "thinking", "thinking": "", "signature": ""}
        deltas = [
            {"type": "thinking_delta", "thinking": block["thinking"]},
            {"type": "signature_delta", "signature": block["signature"]},
        ]
    else:
        opened = {"type": "text", "text": ""}
        deltas = [{"type": "text_delta", "text": word} for word in scripts.words(script)]
    return [
        _event("content_block_start", index=index, content_block=opened),
        *(_event("content_block_delta", index=index, delta=delta) for delta in deltas),
        _event("content_block_stop", index=index),
    ]


def _event(name: str, **members: Any) -> bytes:
    return frame({"type": name, **members}, name)


def message_frames(script: Script, call: dict[str, Any], number: int) -> list[bytes]:
    """A streamed message: usage of the prompt at the start, cumulative usage at the end, no [DONE]."""
    usage = usage_of(script, call)
    head = _message(script, call, number)
    if usage is not None:
        head["usage"] = {**usage, "output_tokens": usage["output_tokens"] if script.wrong_usage else 1}
    frames = [_event("message_start", message=head), _event("ping")]
    for index, block in enumerate(_blocks(script, call)):
        frames += _block_frames(script, index, block)
    if script.error_event:
        return [*frames, _event("error", error={"type": "overloaded_error", "message": "Overloaded"})]
    delta = {"stop_reason": output_of(script, call)[1], "stop_sequence": None}
    told_once = ("cache_creation", "service_tier")
    last = {} if usage is None else {"usage": {name: usage[name] for name in usage if name not in told_once}}
    return [*frames, _event("message_delta", delta=delta, **last), _event("message_stop")]


def complete(script: Script, call: dict[str, Any], number: int) -> bytes:
    """A legacy text completion: it reports no usage."""
    return msgspec.json.encode(_completion(script, call, number, "".join(scripts.words(script)), "stop_sequence"))


def _completion(script: Script, call: dict[str, Any], number: int, text: str, reason: str | None) -> dict[str, Any]:
    return {
        "type": "completion",
        "id": f"compl_fake{number}",
        "completion": text,
        "stop_reason": reason,
        "stop": None,
        "model": script.model or call.get("model", ""),
        "log_id": f"compl_fake{number}",
    }


def complete_frames(script: Script, call: dict[str, Any], number: int) -> list[bytes]:
    """The same streamed, with the line ends that this old endpoint has."""
    texts = [(word, None) for word in scripts.words(script)]
    ends = [] if script.error_event else [("", "stop_sequence")]
    frames = [frame(_completion(script, call, number, *end), "completion") for end in (*texts, *ends)]
    frames.insert(1, frame({"type": "ping"}, "ping"))
    if script.error_event:
        frames.append(_event("error", error={"type": "overloaded_error", "message": "Overloaded"}))
    return [one.replace(b"\n", b"\r\n") for one in frames]


def count_tokens(script: Script, call: dict[str, Any], number: int) -> bytes:
    """How long a prompt would be."""
    return msgspec.json.encode(scripts.spoil({"input_tokens": script.prompt_tokens}, script.wrong_usage))


def _model(name: str) -> dict[str, Any]:
    return {
        "type": "model", "id": name, "display_name": name.title(), "created_at": "2025-09-29T00:00:00Z",
        "lifecycle": "active",
    }  # fmt: skip


def models(script: Script, call: dict[str, Any], number: int) -> bytes:
    """The list of models, one page."""
    return msgspec.json.encode(
        {"data": [_model(name) for name in MODELS], "has_more": False, "first_id": MODELS[0], "last_id": MODELS[-1]}
    )


def model(script: Script, call: dict[str, Any], number: int) -> bytes:
    """One model; its name is the end of the path."""
    return msgspec.json.encode(_model(call["_object"]))


def error(status: int) -> bytes:
    """An error in Anthropic's shape."""
    kind = ERROR_TYPES.get(status, "api_error" if status >= 500 else "invalid_request_error")
    told = {"type": kind, "message": f"the fake says {status}"}
    return msgspec.json.encode({"type": "error", "error": told, "request_id": "req_fake"})
