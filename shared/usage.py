"""What a call consumed, in Weir's one vocabulary: tokens by class, and what is billed by the piece.

The token classes are disjoint: a token is counted in exactly one. Wire formats report overlapping totals in different
ways (OpenAI's input includes cached tokens, Anthropic's does not); `proxy/wire/` turns those into this, once.
"""

import msgspec


class TokenUsage(msgspec.Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """Token counts by class. 0 means none were reported; usage that is not known at all is `None`, not this."""

    input: int = 0
    """Prompt tokens at the full price: neither cached, nor written to a cache, nor audio."""
    cached_input: int = 0
    cache_write_5m: int = 0
    """Written to a cache that forgets soon (Anthropic: 5 minutes, OpenAI: 30), and to one that lasts (an hour, 12)."""
    cache_write_1h: int = 0
    audio_input: int = 0
    output: int = 0
    """Completion tokens that are neither reasoning nor audio."""
    reasoning: int = 0
    audio_output: int = 0

    @property
    def prompt_tokens(self) -> int:
        """All tokens that went in."""
        return self.input + self.cached_input + self.cache_write_5m + self.cache_write_1h + self.audio_input

    @property
    def completion_tokens(self) -> int:
        """All tokens that came out."""
        return self.output + self.reasoning + self.audio_output


class UnitUsage(msgspec.Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """What is billed by the piece and not by the token, besides or instead of it."""

    input_images: int = 0
    output_images: int = 0
    input_audio_ms: int = 0
    """Milliseconds of audio that were listened to; `output_audio_ms` of audio that was made."""
    output_audio_ms: int = 0
    input_video_ms: int = 0
    input_characters: int = 0
    """Characters that were spoken or read; not the text of a chat, which is billed by the token."""
    output_characters: int = 0
    pages: int = 0
    searches: int = 0
    """Look-ups that the model made on the web."""


TOKEN_CLASSES: tuple[str, ...] = TokenUsage.__struct_fields__
PROMPT_CLASSES: tuple[str, ...] = ("input", "cached_input", "cache_write_5m", "cache_write_1h", "audio_input")
COMPLETION_CLASSES: tuple[str, ...] = ("output", "reasoning", "audio_output")
UNIT_CLASSES: tuple[str, ...] = UnitUsage.__struct_fields__
NO_USAGE = TokenUsage()
NO_UNITS = UnitUsage()
