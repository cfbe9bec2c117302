"""OpenAI's older completions, a text for a text: what a call asks for.

Decides what is read from a body; how it is edited, how streams and answers are read is as in a chat. Compatible
upstreams serve it too, with members of their own.
"""

from functools import partial
from typing import Any

from proxy.wire.body import BodyError, Notes, once
from proxy.wire.body_look import BodyLook
from proxy.wire.format import Call
from proxy.wire.openai_body import stream_options
from proxy.wire.openai_chat import forward as forward_chat
from proxy.wire.openai_members import (
    LARGEST_CAP,
    LONGEST_USER,
    MOST_CHOICES,
    TOKENS_PER_CALL,
    read_count,
    read_flag,
    read_model,
    read_prompts,
    read_text,
)
from proxy.wire.openai_stream import ChatStream
from proxy.wire.openai_usage import LONGEST_TEXT
from proxy.wire.seen_text import text_members

DEFAULT_CAP = 16
"""Output tokens of a call that gives no cap (the API reference's `max_tokens`; vLLM's too)."""
TOKENS_PER_PROMPT = 8
"""What an upstream may add to each prompt: marks of its beginning and end."""

_UNBOUNDING = ("prompt_embeds",)
"""Their mere presence makes the cost unknowable from the bytes: prompts that are neither text nor tokens."""
_ONCE = (
    "model", "prompt", "suffix", "stream", "n", "best_of", "max_tokens", "user", "service_tier", *_UNBOUNDING,
)  # fmt: skip
_PASSED_OVER = (
    "echo", "temperature", "top_p", "frequency_penalty", "presence_penalty", "seed", "stop", "logprobs",
    "logit_bias",
    "top_k", "min_p", "repetition_penalty",
)  # fmt: skip


def _fields(is_open: bool, is_open_inside: bool) -> list[Any]:
    options = stream_options(is_open=is_open)
    return [("stream_options", options, None), *[(name, once(name), None) for name in _ONCE]]


_look = BodyLook(
    _fields,
    passed_over=_PASSED_OVER,
    acted_on=(*_ONCE, "stream_options"),
    count=lambda peeked: peeked.stream_options is not None,
    inside={"stream_options": frozenset({"include_usage"})},
)


def read_call(body: bytes) -> Call:
    """What the body asks for. Raises BodyError (a Refusal)."""
    peeked, notes, spans = _look.read(body)
    # No cap is the API's own; null is no cap in some upstreams, so it is none here.
    cap = read_count(notes, "max_tokens", LARGEST_CAP, least=0) if "max_tokens" in notes else DEFAULT_CAP
    answers = read_count(notes, "n", MOST_CHOICES) or 1
    # Of these the best are given, and all are billed.
    made = read_count(notes, "best_of", MOST_CHOICES) or answers
    if made < answers:
        raise BodyError("`best_of` must not be less than `n`")
    prompts = read_prompts(notes.get("prompt"))
    return Call(
        requested_model=read_model(notes),
        is_stream=read_flag(notes, "stream"),
        user_id=read_text(notes, "user", LONGEST_USER),
        output_cap=cap,
        choices=made * prompts.number,
        prompt_bound=_text_bound(body, notes, prompts.tokens) + TOKENS_PER_PROMPT * prompts.number + TOKENS_PER_CALL,
        is_unbounded=any(notes.get(name) is not None for name in _UNBOUNDING) or not prompts.is_plain,
        asked_usage=read_flag(notes, "include_usage"),
        service_tier=read_text(notes, "service_tier", LONGEST_TEXT),
        has_stream_options=peeked.stream_options is not None or (spans is not None and "stream_options" in spans),
    )


def _text_bound(body: bytes, notes: Notes, tokens: int | None) -> int:
    """Tokens that the prompt and what has to come after it cannot exceed."""
    if tokens is None:
        return len(body)
    suffix = notes.get("suffix")
    return tokens + len(suffix.encode()) if type(suffix) is str else tokens


forward = partial(forward_chat, caps=("max_tokens",))

_TEXT_MEMBERS = text_members("text")


def open_stream(call: Call) -> ChatStream:
    """The watcher of a stream; usage that the caller did not ask for is hidden."""
    most = None if call.output_cap is None else call.output_cap * call.choices
    return ChatStream(hide_usage=not call.asked_usage, most_output=most, members=_TEXT_MEMBERS)
