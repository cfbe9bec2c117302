"""What the gateway knows of a wire format: a row of functions, and the records they speak in.

A `Call` is what a request asks for, an `Answer` and a `Stream` what came back. The gateway acts on these and never
sees a format's own members; a format never sees keys, prices or limits.
"""

from collections.abc import Callable
from typing import Protocol

import msgspec

from shared.usage import NO_UNITS, TokenUsage, UnitUsage

MOST_SEEN_TEXT = 256 * 1024
"""Characters of a stream's text that are kept to be counted."""


class Call(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """What a request asks for, as far as Weir acts on it. The rest of the body stays bytes."""

    requested_model: str = ""
    """Empty where the endpoint needs none."""
    is_stream: bool = False
    user_id: str = ""
    output_cap: int | None = None
    """Most output tokens of one choice, as the caller capped it; None: no cap given."""
    least_output_cap: int = 0
    """The cap may not be lowered below this: a budget for thinking must fit in it, or upstream refuses."""
    choices: int = 1
    """Answers asked for; each may use the whole cap."""
    prompt_bound: int = 0
    """Tokens that the prompt cannot exceed, from its bytes alone."""
    is_unbounded: bool = False
    """The bytes do not bound the cost: media, files, predictions, tools that upstream runs."""
    may_write_cache: bool = True
    """Upstream may write some of the prompt to a cache, which can cost more than to read it."""
    asked_usage: bool = False
    """The caller wants usage in the stream; otherwise Weir asks for it and hides the frame it comes in."""
    service_tier: str = ""
    has_stream_options: bool = False
    """The body has the member that must be edited to ask for usage; it cannot just be appended."""
    object_ids: tuple[str, ...] = ()
    """Objects at upstream that the body names by id, and that must belong to the key's account."""


class Answer(msgspec.Struct, frozen=True, gc=False):
    """What a whole answer says of itself."""

    usage: TokenUsage | None = None
    response_id: str = ""
    response_model: str = ""
    service_tier: str = ""
    """The tier upstream served, which may not be the one asked for. Empty: not told."""
    why_no_usage: str = ""
    """For the log, where usage is None: missing, or not to be trusted."""
    units: UnitUsage = NO_UNITS
    """What is billed by the piece, besides the tokens."""


class Stream(Protocol):
    """An answer in frames, watched as it passes. Sans-IO: bytes in, bytes out."""

    usage: TokenUsage | None
    why_no_usage: str
    response_id: str
    response_model: str
    service_tier: str
    saw_first_token: bool
    """A frame with data has come; with output, where the format tells them apart."""

    @property
    def prompt_usage(self) -> TokenUsage | None:
        """What went in, exactly, where upstream tells it before the end: for a stream whose usage never came."""
        ...

    @property
    def units(self) -> UnitUsage:
        """What is billed by the piece, besides the tokens: as told so far."""
        ...

    @property
    def saw_done(self) -> bool:
        """Upstream has said that the stream is complete."""
        ...

    @property
    def is_error(self) -> bool:
        """The stream ended in an error event of upstream's, after its status 200."""
        ...

    @property
    def output_tokens(self) -> int:
        """Estimate of the output tokens relayed so far: for journals, and where usage never came."""
        ...

    @property
    def text(self) -> str:
        """What was relayed so far, as a tokenizer would see it: its first MOST_SEEN_TEXT characters at most.

        For a count where upstream's usage never came; empty once usage is known.
        """
        ...

    @property
    def output_chars(self) -> int:
        """Characters relayed so far, those beyond `text` included: a count of `text` is scaled up by it."""
        ...

    def feed(self, chunk: bytes) -> bytes:
        """The bytes to send the caller now: whole frames, maybe none. Raises UpstreamFailure upstream_invalid."""
        ...

    def finish(self) -> str | None:
        """Upstream's end. None: a regular one; else what was wrong with it, safe for the caller."""
        ...

    def error_event(self, kind: str, message: str) -> bytes:
        """The event that tells the caller in its dialect that the stream was cut. Nothing follows it."""
        ...


def no_text(body: bytes) -> str:
    """Of a format whose text nobody can count."""
    return ""


class Format(msgspec.Struct, frozen=True):
    """How one kind of body is read, edited and metered."""

    read_call: Callable[[bytes], Call]
    """Raises Refusal body_invalid."""
    forward: Callable[[Call, bytes, str | None, int | None], bytes]
    """(call, body, model, output cap) -> the body for upstream. None: leave as it is. A cap only ever lowers.
    Raises Refusal body_invalid."""
    open_stream: Callable[[Call], Stream]
    read_answer: Callable[[bytes], Answer]
    """Never raises: an answer that cannot be read has no usage, and says why."""
    prompt_text: Callable[[bytes], str] = no_text
    """All text of a request's body that a tokenizer would see, joined by newlines; of prompts that came as tokens, a
    word of one token for each. Used only where upstream reports no usage. Empty: not known, what the bytes bound
    stands. Never raises."""
    answer_text: Callable[[bytes], str] = no_text
    """The same of a whole answer. Never raises."""
