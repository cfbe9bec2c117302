"""Usage as OpenAI's formats report it, turned into disjoint classes.

What went in includes cached reads, cache writes and audio; what came out includes reasoning, audio and predictions that
were rejected, which are billed all the same. Figures that cannot be true are not trusted at all. Sources: the API
reference's CompletionUsage, ResponseUsage and CreateEmbeddingResponse; the prompt caching guide (writes are a part of
the prompt, billed in place of the input rate).
"""

from typing import Annotated, Any

import msgspec

from shared.usage import NO_UNITS, TokenUsage, UnitUsage

LARGEST_COUNT = 2**53
_Count = Annotated[int, msgspec.Meta(ge=0, le=LARGEST_COUNT)]
LONGEST_TEXT = 256
"""Characters of an id or a name that we keep."""


class _LongWrites(msgspec.Struct, gc=False):
    ttl_12h_tokens: _Count | None = None


class _PromptDetails(msgspec.Struct, gc=False):
    cached_tokens: _Count | None = None
    cache_write_tokens: _Count | None = None
    cache_write_tokens_details: _LongWrites | None = None
    audio_tokens: _Count | None = None


class _OutputDetails(msgspec.Struct, gc=False):
    reasoning_tokens: _Count | None = None
    audio_tokens: _Count | None = None


class _Usage(msgspec.Struct, gc=False):
    prompt_tokens: _Count
    completion_tokens: _Count
    prompt_tokens_details: _PromptDetails | None = None
    completion_tokens_details: _OutputDetails | None = None


class _ResponsesUsage(msgspec.Struct, gc=False):
    prompt_tokens: _Count = msgspec.field(name="input_tokens")
    completion_tokens: _Count = msgspec.field(name="output_tokens")
    prompt_tokens_details: _PromptDetails | None = msgspec.field(name="input_tokens_details", default=None)
    completion_tokens_details: _OutputDetails | None = msgspec.field(name="output_tokens_details", default=None)


class _EmbeddingsUsage(msgspec.Struct, gc=False):
    prompt_tokens: _Count | None = None
    total_tokens: _Count | None = None


_usage_decoder = msgspec.json.Decoder(_Usage)
_responses_decoder = msgspec.json.Decoder(_ResponsesUsage)
_embeddings_decoder = msgspec.json.Decoder(_EmbeddingsUsage)
_NO_PROMPT_DETAILS = _PromptDetails()
_NO_OUTPUT_DETAILS = _OutputDetails()

MISSING = "upstream reported no usage"
_NOT_TRUSTED = "usage is not to be trusted: "

Told = tuple[TokenUsage | None, str]
"""Usage, or None and why."""


def is_given(raw: bytes | msgspec.Raw) -> bool:
    """Whether a member that was looked for stands there, and is not null."""
    return bool(raw) and bytes(raw) != b"null"


def _decode(decoder: msgspec.json.Decoder[Any], raw: bytes | msgspec.Raw) -> tuple[Any, str]:
    if not is_given(raw):
        return None, MISSING
    try:
        return decoder.decode(raw), ""
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        return None, f"{_NOT_TRUSTED}{error}"


def read_usage(raw: bytes | msgspec.Raw) -> Told:
    """Usage from the JSON of a chat's or a completion's `usage` member (b"" or null: none)."""
    usage, why = _decode(_usage_decoder, raw)
    return _disjoint(usage) if usage else (None, why)


def read_responses_usage(raw: bytes | msgspec.Raw) -> Told:
    """The same of a response."""
    usage, why = _decode(_responses_decoder, raw)
    return _disjoint(usage) if usage else (None, why)


class _Searches(msgspec.Struct, gc=False):
    num_requests: _Count | None = None


class _Images(msgspec.Struct, gc=False):
    total_tokens: _Count | None = None


class _ToolUsage(msgspec.Struct, gc=False):
    web_search: _Searches | None = None
    image_gen: _Images | None = None


_tools_decoder = msgspec.json.Decoder(_ToolUsage)
_IMAGE_CALL = b'"image_generation_call"'


def read_tool_units(raw: bytes | msgspec.Raw, output: bytes | msgspec.Raw) -> tuple[UnitUsage, str]:
    """What a response's `tool_usage` says that upstream's own tools used besides the tokens of `usage`; why not.

    Images were made by another model, whose tokens have another price: they count as images.
    """
    if not is_given(raw):
        return NO_UNITS, ""
    tools, why = _decode(_tools_decoder, raw)
    if not tools:
        return NO_UNITS, why
    searches = tools.web_search.num_requests or 0 if tools.web_search else 0
    images = 0
    if tools.image_gen and tools.image_gen.total_tokens:
        # With its quotes, which no text can have.
        images = bytes(output).count(_IMAGE_CALL) or 1
    return UnitUsage(searches=searches, output_images=images) if searches or images else NO_UNITS, ""


def read_embeddings_usage(raw: bytes | msgspec.Raw) -> Told:
    """The same of embeddings, which have no output; some upstreams tell only the one figure, some only the other."""
    usage, why = _decode(_embeddings_decoder, raw)
    if not usage:
        return None, why
    prompt, total = usage.prompt_tokens, usage.total_tokens
    if prompt is None:
        return (TokenUsage(input=total), "") if total is not None else (None, MISSING)
    if total is not None and total < prompt:
        return None, f"{_NOT_TRUSTED}prompt_tokens is larger than total_tokens"
    return TokenUsage(input=prompt), ""


def _disjoint(usage: _Usage | _ResponsesUsage) -> Told:
    prompt = usage.prompt_tokens_details or _NO_PROMPT_DETAILS
    output = usage.completion_tokens_details or _NO_OUTPUT_DETAILS
    cached, written = prompt.cached_tokens or 0, prompt.cache_write_tokens or 0
    long_lived = prompt.cache_write_tokens_details.ttl_12h_tokens or 0 if prompt.cache_write_tokens_details else 0
    if cached + written > usage.prompt_tokens or (prompt.audio_tokens or 0) > usage.prompt_tokens:
        return None, f"{_NOT_TRUSTED}a part of the prompt's tokens is larger than the whole"
    reasoning, audio_output = output.reasoning_tokens or 0, output.audio_tokens or 0
    if reasoning + audio_output > usage.completion_tokens or long_lived > written:
        return None, f"{_NOT_TRUSTED}a part of a count is larger than the whole"
    fresh = usage.prompt_tokens - cached - written
    # Audio that was read from the cache is counted in both; it is counted once here, as cached.
    audio_input = min(prompt.audio_tokens or 0, fresh)
    return TokenUsage(
        input=fresh - audio_input,
        cached_input=cached,
        # The classes of short-lived and long-lived writes: here 30 minutes and 12 hours.
        cache_write_5m=written - long_lived,
        cache_write_1h=long_lived,
        audio_input=audio_input,
        output=usage.completion_tokens - reasoning - audio_output,
        reasoning=reasoning,
        audio_output=audio_output,
    ), ""


def clean_text(value: Any) -> str:
    """An id or a name from upstream as we keep it; empty for anything but a short text that Postgres can hold."""
    if type(value) is not str or len(value) > LONGEST_TEXT or "\x00" in value:
        return ""
    return value
