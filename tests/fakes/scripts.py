"""What the scripted upstream may be told to do: one record per behaviour, and a table of named ones; and chat answers.

Pure data and bytes: this file does not know about sockets. Every field of `Script` can be set in process, over the
control API, by the caller of one request through the body's user (`"script:cut?cut_after=3&cut_with=fin"`), or by the
credential that upstream gets. A script means the same on every endpoint; what each of them answers is in `answers`.
"""

from dataclasses import dataclass, fields, replace
from typing import Any, Literal
from urllib.parse import parse_qsl

import msgspec

TEXTS = ("framing", "cut_with", "model", "wrong_usage", "makes", "note")
"""Fields of Script that are texts; the rest is read as JSON."""

WORDS = ("Water", " finds", " its", " way", " over", " the", " weir", ",", " always", ".")


@dataclass(frozen=True)
class Script:
    """How one call is answered. The defaults are a small, correct chat completion."""

    status: int = 200
    headers: tuple[tuple[str, str], ...] = ()
    """Added to the answer; `("content-type", ...)` replaces ours."""
    body: bytes | None = None
    """The plain answer, verbatim. None: what a provider answers there, or its error shape by status."""
    events: int = 5
    """Content events of a stream, and words of a plain answer."""
    delay: float = 0.0
    """Seconds before the head."""
    interval: float = 0.0
    """Seconds between two events."""
    batch: int = 1
    """Events per write; 0: the whole stream in one."""
    split: int = 0
    """Cut what is written into pieces of so many bytes, each its own HTTP chunk and its own write. 0: no."""
    framing: Literal["auto", "length", "chunked", "close"] = "auto"
    """auto: plain answers by length, streams chunked. close: until the connection ends."""
    raw: bytes | tuple[bytes, ...] | None = None
    """Sent instead of a whole HTTP answer; then the connection is closed, unless `raw_keeps_open`. A tuple: in so many
    writes, `interval` (at least 20 ms) apart."""
    raw_keeps_open: bool = False
    cut_after: int | None = None
    """Close after so many events (plain: bytes) of the body; -1: before the head."""
    cut_at_byte: int | None = None
    """The same, after exactly so many bytes of the body; not with `split`."""
    cut_with: Literal["rst", "fin"] = "rst"
    stall_after: int | None = None
    """Go silent, connection open, after so many events (plain: bytes); -1: before the head."""
    is_error: bool = False
    """The body is an error in the provider's shape, whatever the status says."""
    makes: Literal["text", "tool", "thinking"] = "text"
    """What the model answers: words; a call of the first tool given; thoughts, then words."""
    note: str = ""
    """Does nothing. It tells apart two callers with the same script, where the credential carries it."""
    prompt_tokens: int = 10
    """The whole prompt: cached, written and fresh."""
    completion_tokens: int | None = None
    """The whole output, reasoning too. None: as many as `events`."""
    cached_tokens: int = 0
    written_tokens: int = 0
    """Of the prompt, written to the provider's cache."""
    written_1h_tokens: int = 0
    """The same for an hour; only Anthropic has it."""
    reasoning_tokens: int = 0
    usage: dict[str, Any] | None = None
    """Sent as the usage object, verbatim, right or wrong."""
    wrong_usage: Literal["", "negative", "text", "huge", "parts"] = ""
    """Usage that cannot be true: numbers below 0; words; numbers beyond all bounds; parts larger than the whole."""
    has_usage: bool = True
    """False: upstream reports no usage at all."""
    obeys_cap: bool = True
    """True: completion tokens stop at max_completion_tokens / max_tokens, with finish_reason `length`."""
    error_event: bool = False
    """A stream ends with an error event in place of [DONE]."""
    model: str = ""
    """The model the answer names; empty: the requested one."""
    repeat: bool = False
    """A stream repeats its content events forever: for callers that never read."""
    padding: int = 0
    """Bytes added to the content of every event; an answer without content gets a member of that size."""


NAMED: dict[str, Script] = {
    "ok": Script(),
    "slow_head": Script(delay=1.0),
    "slow_stream": Script(interval=0.05, events=52),
    "burst": Script(events=49, batch=0),
    "error_400": Script(status=400),
    "error_401": Script(status=401),
    "error_429": Script(status=429, headers=(("retry-after", "7"), ("x-ratelimit-remaining-requests", "0"))),
    "error_500": Script(status=500),
    "error_503": Script(status=503),
    "error_529": Script(status=529),
    "error_with_200": Script(is_error=True),
    "error_event": Script(error_event=True),
    "not_json": Script(body=b"<html>surprise</html>", headers=(("content-type", "text/html"),)),
    "no_usage": Script(has_usage=False),
    "wrong_usage": Script(usage={"prompt_tokens": -3, "completion_tokens": "many", "total_tokens": None}),
    "huge_usage": Script(usage={"prompt_tokens": 1 << 70, "completion_tokens": 1 << 70, "total_tokens": 1 << 71}),
    "cut": Script(cut_after=2),
    "cut_before_head": Script(cut_after=-1),
    "stall": Script(stall_after=2),
    "stall_before_head": Script(stall_after=-1),
    "garbage": Script(raw=b"\x16\x03\x01 this is not HTTP at all \x00\xff\r\n\r\n"),
    "bad_chunk": Script(raw=b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\nZZZ\r\nhello\r\n"),
    "bad_chunk_later": Script(
        raw=(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n", b"ZZZ\r\nhello\r\n")
    ),
    "huge_header": Script(raw=b"HTTP/1.1 200 OK\r\nx-huge: " + b"a" * (1 << 20) + b"\r\ncontent-length: 0\r\n\r\n"),
    "many_headers": Script(
        raw=b"HTTP/1.1 200 OK\r\n" + b"".join(b"x-%d: y\r\n" % n for n in range(5000)) + b"content-length: 0\r\n\r\n"
    ),
    "huge_line": Script(padding=2 << 20, events=1),
    "short_length": Script(raw=b"HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\nshort"),
    "long_body": Script(raw=b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello and more than was announced"),
    "redirect": Script(status=302, headers=(("location", "http://127.0.0.1:1/stolen"),), body=b""),
    "endless": Script(repeat=True, batch=64, padding=1000),
}


def named(text: str) -> Script:
    """`name?field=value&...` as a script. Raises KeyError or ValueError for what is not in the table."""
    name, _, query = text.partition("?")
    return override(NAMED[name or "ok"], dict(parse_qsl(query)))


def override(script: Script, values: dict[str, Any]) -> Script:
    """A script with some fields replaced; values may be texts (`user` field) or JSON (control API)."""
    known = {field.name for field in fields(Script)}
    changes: dict[str, Any] = {}
    for name, value in values.items():
        if name not in known:
            raise KeyError(name)
        if isinstance(value, str) and name not in TEXTS:
            value = value.encode() if name in ("body", "raw") else msgspec.json.decode(value)
        if name == "headers":
            value = tuple((str(header), str(text)) for header, text in value)
        changes[name] = value
    return replace(script, **changes)


def usage_of(script: Script, call: dict[str, Any]) -> tuple[dict[str, Any] | None, str]:
    """The usage object that the answer carries, and its finish reason."""
    completion = script.events if script.completion_tokens is None else script.completion_tokens
    reason = "stop"
    cap = call.get("max_completion_tokens") or call.get("max_tokens")
    if script.obeys_cap and isinstance(cap, int) and cap < completion:
        completion, reason = cap, "length"
    if not script.has_usage:
        return None, reason
    if script.usage is not None:
        return script.usage, reason
    prompt_details = {"cached_tokens": script.cached_tokens, "audio_tokens": 0}
    if script.written_tokens:
        prompt_details["cache_write_tokens"] = script.written_tokens
    usage = {
        "prompt_tokens": script.prompt_tokens,
        "completion_tokens": completion,
        "total_tokens": script.prompt_tokens + completion,
        "prompt_tokens_details": prompt_details,
        "completion_tokens_details": {"reasoning_tokens": script.reasoning_tokens, "audio_tokens": 0},
    }
    return spoil(usage, script.wrong_usage), reason


def spoil(usage: dict[str, Any], how: str) -> dict[str, Any]:
    """A usage object as an upstream that cannot count would report it."""
    if not how:
        return usage
    whole = sum(value for value in usage.values() if isinstance(value, int))

    def wrong(value: Any, is_part: bool) -> Any:
        if isinstance(value, dict):
            return {name: wrong(inner, True) for name, inner in value.items()}
        if not isinstance(value, int):
            return value
        if how == "parts":
            return whole + 7 if is_part else value
        return {"negative": -3, "text": "many", "huge": 1 << 70}[how]

    spoiled = {name: wrong(value, False) for name, value in usage.items()}
    if how == "parts" and "total_tokens" in spoiled:
        spoiled["total_tokens"] = 1
    return spoiled


def tool_name(call: dict[str, Any]) -> str:
    """The first tool that the caller offers, in whichever dialect."""
    for tool in call.get("tools") or []:
        return (tool.get("function") or tool).get("name", "tool")
    return "tool"


TOOL_INPUT = '{"place":"Wehr"}'
THOUGHT = "Water runs downhill."


def words(script: Script) -> list[str]:
    """The words of the answer, one an event."""
    return [WORDS[n % len(WORDS)] + "x" * script.padding for n in range(script.events)]


def frame(data: dict[str, Any], event: str = "") -> bytes:
    """One server-sent event."""
    return (f"event: {event}\n".encode() if event else b"") + b"data: " + msgspec.json.encode(data) + b"\n\n"


def completion(script: Script, call: dict[str, Any], number: int) -> bytes:
    """A plain chat completion."""
    usage, reason = usage_of(script, call)
    text = "".join(WORDS[n % len(WORDS)] for n in range(script.events)) + "x" * script.padding
    message: dict[str, Any] = {"role": "assistant", "content": text, "refusal": None}
    if script.makes == "tool":
        function = {"name": tool_name(call), "arguments": TOOL_INPUT}
        message |= {"content": None, "tool_calls": [{"id": "call_fake", "type": "function", "function": function}]}
        reason = "tool_calls"
    answer = {
        "id": f"chatcmpl-fake{number}",
        "object": "chat.completion",
        "created": 1700000000,
        "model": script.model or call.get("model", ""),
        "choices": [
            {
                "index": index,
                "message": message,
                "logprobs": None,
                "finish_reason": reason,
            }
            for index in range(call.get("n") or 1)
        ],
        "service_tier": "default",
        "system_fingerprint": "fp_fake",
    }
    if usage is not None:
        answer["usage"] = usage
    return msgspec.json.encode(answer)


def events(script: Script, call: dict[str, Any], number: int) -> list[bytes]:
    """A streamed chat completion, one SSE frame each, as OpenAI writes it."""
    usage, reason = usage_of(script, call)
    includes_usage = bool((call.get("stream_options") or {}).get("include_usage"))
    head: dict[str, Any] = {
        "id": f"chatcmpl-fake{number}",
        "object": "chat.completion.chunk",
        "created": 1700000000,
        "model": script.model or call.get("model", ""),
        "service_tier": "default",
        "system_fingerprint": "fp_fake",
    }
    tail: dict[str, Any] = {"usage": None} if includes_usage else {}

    def chunk(delta: dict[str, Any], finish: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        return frame({**head, "choices": [choice], **tail})

    if script.makes == "tool":
        opened = {"index": 0, "id": "call_fake", "type": "function"}
        frames = [
            chunk({"role": "assistant", "content": None, "tool_calls": [
                {**opened, "function": {"name": tool_name(call), "arguments": ""}}]}),
            *(chunk({"tool_calls": [{"index": 0, "function": {"arguments": part}}]})
              for part in (TOOL_INPUT[:5], TOOL_INPUT[5:])),
        ]  # fmt: skip
        reason = "tool_calls"
    else:
        frames = [chunk({"role": "assistant", "content": "", "refusal": None})]
        frames += [chunk({"content": word}) for word in words(script)]
    if script.error_event:
        return [*frames, ERROR_EVENT]
    frames.append(chunk({}, reason))
    if includes_usage and usage is not None:
        frames.append(frame({**head, "choices": [], "usage": usage}))
    return [*frames, DONE]


ERROR_EVENT = b'data: {"error":{"message":"overloaded","type":"server_error","code":null}}\n\n'
DONE = b"data: [DONE]\n\n"


MODELS = msgspec.json.encode(
    {
        "object": "list",
        "data": [
            {"id": model, "object": "model", "created": 1700000000, "owned_by": "fake"}
            for model in ("gpt-4o", "gpt-4o-mini")
        ],
    }
)


ERROR_TYPES = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}
ERROR_CODES = {401: "invalid_api_key", 404: "model_not_found", 429: "rate_limit_exceeded"}


def error(status: int) -> bytes:
    """An error in OpenAI's shape."""
    kind = ERROR_TYPES.get(status, "server_error" if status >= 500 else "invalid_request_error")
    told = {"message": f"the fake says {status}", "type": kind, "param": None, "code": ERROR_CODES.get(status)}
    return msgspec.json.encode({"error": told})
