"""Usage as OpenAI's chat format reports it, turned into disjoint classes.

`prompt_tokens` includes cached reads, cache writes and audio; `completion_tokens` includes reasoning, audio and
predictions that were rejected, which are billed all the same. Figures that cannot be true are not trusted at all.
Sources: the API reference's CompletionUsage; the prompt caching guide (writes are a part of the prompt, billed in
place of the input rate).
"""

from typing import Annotated, Any

import msgspec

from shared.usage import TokenUsage

LARGEST_COUNT = 2**53
_Count = Annotated[int, msgspec.Meta(ge=0, le=LARGEST_COUNT)]
LONGEST_TEXT = 256
"""Characters of an id or a name that we keep."""


class _PromptDetails(msgspec.Struct, gc=False):
    cached_tokens: _Count | None = None
    cache_write_tokens: _Count | None = None
    audio_tokens: _Count | None = None


class _CompletionDetails(msgspec.Struct, gc=False):
    reasoning_tokens: _Count | None = None
    audio_tokens: _Count | None = None


class _Usage(msgspec.Struct, gc=False):
    prompt_tokens: _Count
    completion_tokens: _Count
    prompt_tokens_details: _PromptDetails | None = None
    completion_tokens_details: _CompletionDetails | None = None


_usage_decoder = msgspec.json.Decoder(_Usage)
_NO_PROMPT_DETAILS = _PromptDetails()
_NO_COMPLETION_DETAILS = _CompletionDetails()

MISSING = "upstream reported no usage"


def read_usage(raw: bytes | msgspec.Raw) -> tuple[TokenUsage | None, str]:
    """Usage from the JSON of a `usage` member (b"" or null: none), or None and why."""
    if not raw or bytes(raw) == b"null":
        return None, MISSING
    try:
        usage = _usage_decoder.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        return None, f"usage is not to be trusted: {error}"
    prompt = usage.prompt_tokens_details or _NO_PROMPT_DETAILS
    completion = usage.completion_tokens_details or _NO_COMPLETION_DETAILS
    cached, written = prompt.cached_tokens or 0, prompt.cache_write_tokens or 0
    if cached + written > usage.prompt_tokens or (prompt.audio_tokens or 0) > usage.prompt_tokens:
        return None, "usage is not to be trusted: a part of prompt_tokens is larger than the whole"
    reasoning, audio_output = completion.reasoning_tokens or 0, completion.audio_tokens or 0
    if reasoning + audio_output > usage.completion_tokens:
        return None, "usage is not to be trusted: a part of completion_tokens is larger than the whole"
    fresh = usage.prompt_tokens - cached - written
    # Audio that was read from the cache is counted in both; it is counted once here, as cached.
    audio_input = min(prompt.audio_tokens or 0, fresh)
    return TokenUsage(
        input=fresh - audio_input,
        cached_input=cached,
        # The class of short-lived writes: this format names one lifetime, and the price is 1.25 x input as there.
        cache_write_5m=written,
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
