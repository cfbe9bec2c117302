"""What OpenAI's Responses API answers, as the scripted upstream tells it: typed events, and objects that stay.

Source: developers.openai.com/api/reference/resources/responses. A stream ends with its last event, without [DONE].
"""

from typing import Any

import msgspec

from tests.fakes import scripts
from tests.fakes.scripts import Script, frame


def usage_of(script: Script, call: dict[str, Any]) -> dict[str, Any] | None:
    """The usage of a response."""
    if not script.has_usage:
        return None
    if script.usage is not None:
        return script.usage
    tokens, _ = _output_of(script, call)
    usage = {
        "input_tokens": script.prompt_tokens,
        "input_tokens_details": {"cached_tokens": script.cached_tokens, "cache_write_tokens": script.written_tokens},
        "output_tokens": tokens,
        "output_tokens_details": {"reasoning_tokens": script.reasoning_tokens},
        "total_tokens": script.prompt_tokens + tokens,
    }
    return scripts.spoil(usage, script.wrong_usage)


def _output_of(script: Script, call: dict[str, Any]) -> tuple[int, bool]:
    """Output tokens, and whether the cap cut them."""
    tokens = script.events if script.completion_tokens is None else script.completion_tokens
    cap = call.get("max_output_tokens")
    if script.obeys_cap and isinstance(cap, int) and cap < tokens:
        return cap, True
    return tokens, False


def _response(script: Script, call: dict[str, Any], response_id: str, status: str) -> dict[str, Any]:
    return {
        "id": response_id,
        "object": "response",
        "created_at": 1700000000,
        "status": status,
        "background": False,
        "error": None,
        "incomplete_details": None,
        "instructions": call.get("instructions"),
        "max_output_tokens": call.get("max_output_tokens"),
        "model": script.model or call.get("model", ""),
        "output": [],
        "parallel_tool_calls": True,
        "previous_response_id": call.get("previous_response_id"),
        "reasoning": {"effort": None, "summary": None},
        "service_tier": "default",
        "store": True,
        "temperature": 1.0,
        "text": {"format": {"type": "text"}},
        "tool_choice": "auto",
        "tools": call.get("tools") or [],
        "top_p": 1.0,
        "truncation": "disabled",
        "usage": None,
        "user": call.get("user"),
        "metadata": call.get("metadata") or {},
    }


def _items(script: Script, call: dict[str, Any], number: int) -> list[dict[str, Any]]:
    text = {"type": "output_text", "annotations": [], "logprobs": [], "text": "".join(scripts.words(script))}
    said = {"id": f"msg_fake{number}", "type": "message", "status": "completed", "role": "assistant", "content": [text]}
    if script.makes == "tool":
        return [{
            "id": f"fc_fake{number}", "type": "function_call", "status": "completed", "call_id": "call_fake",
            "name": scripts.tool_name(call), "arguments": scripts.TOOL_INPUT,
        }]  # fmt: skip
    if script.makes == "thinking":
        summary = [{"type": "summary_text", "text": scripts.THOUGHT}]
        return [{"id": f"rs_fake{number}", "type": "reasoning", "summary": summary}, said]
    return [said]


def _finished(script: Script, call: dict[str, Any], number: int) -> dict[str, Any]:
    is_capped = _output_of(script, call)[1]
    answer = _response(script, call, f"resp_fake{number}", "incomplete" if is_capped else "completed")
    answer |= {"output": _items(script, call, number), "usage": usage_of(script, call)}
    if is_capped:
        answer["incomplete_details"] = {"reason": "max_output_tokens"}
    return answer


def response(script: Script, call: dict[str, Any], number: int) -> bytes:
    """A whole response."""
    return msgspec.json.encode(_finished(script, call, number))


def response_frames(script: Script, call: dict[str, Any], number: int) -> list[bytes]:
    """The same as typed events with sequence numbers."""
    frames: list[bytes] = []

    def event(kind: str, **members: Any) -> None:
        frames.append(frame({"type": kind, "sequence_number": len(frames), **members}, kind))

    opened = _response(script, call, f"resp_fake{number}", "in_progress")
    event("response.created", response=opened)
    event("response.in_progress", response=opened)
    for index, item in enumerate(_items(script, call, number)):
        where = {"output_index": index, "item_id": item["id"]}
        hollow = {"content": [], "summary": [], "arguments": ""}
        event("response.output_item.added", output_index=index,
              item={**item, "status": "in_progress", **{n: v for n, v in hollow.items() if n in item}})  # fmt: skip
        if item["type"] == "message":
            part = item["content"][0]
            event("response.content_part.added", **where, content_index=0, part={**part, "text": ""})
            for word in scripts.words(script):
                event("response.output_text.delta", **where, content_index=0, delta=word, logprobs=[])
            event("response.output_text.done", **where, content_index=0, text=part["text"], logprobs=[])
            event("response.content_part.done", **where, content_index=0, part=part)
        elif item["type"] == "function_call":
            for delta in (scripts.TOOL_INPUT[:5], scripts.TOOL_INPUT[5:]):
                event("response.function_call_arguments.delta", **where, delta=delta)
            event("response.function_call_arguments.done", **where, name=item["name"], arguments=scripts.TOOL_INPUT)
        else:
            part = item["summary"][0]
            event("response.reasoning_summary_part.added", **where, summary_index=0, part={**part, "text": ""})
            event("response.reasoning_summary_text.delta", **where, summary_index=0, delta=part["text"])
            event("response.reasoning_summary_text.done", **where, summary_index=0, text=part["text"])
            event("response.reasoning_summary_part.done", **where, summary_index=0, part=part)
        event("response.output_item.done", output_index=index, item=item)
    if script.error_event:
        event("error", code="server_error", message="overloaded", param=None)
        return frames
    finished = _finished(script, call, number)
    event(f"response.{finished['status']}", response=finished)
    return frames


def _stored(script: Script, call: dict[str, Any], status: str) -> bytes:
    """An object made before; upstream charges nothing for showing it, though it tells its usage again."""
    answer = _response(script, {"model": "gpt-4o"}, call["_object"], status)
    answer |= {"output": _items(script, {}, 0), "usage": usage_of(script, {})}
    return msgspec.json.encode(answer)


def retrieved(script: Script, call: dict[str, Any], number: int) -> bytes:
    """GET of a response."""
    return _stored(script, call, "completed")


def cancelled(script: Script, call: dict[str, Any], number: int) -> bytes:
    """POST to a response's cancel."""
    return _stored(script, call, "cancelled")


def deleted(script: Script, call: dict[str, Any], number: int) -> bytes:
    """DELETE of a response."""
    return msgspec.json.encode({"id": call["_object"], "object": "response", "deleted": True})


def input_items(script: Script, call: dict[str, Any], number: int) -> bytes:
    """What a response was made from."""
    part = {"type": "input_text", "text": "Say hello."}
    item = {"id": "msg_input", "type": "message", "role": "user", "status": "completed", "content": [part]}
    return msgspec.json.encode(
        {"object": "list", "data": [item], "first_id": "msg_input", "last_id": "msg_input", "has_more": False}
    )
