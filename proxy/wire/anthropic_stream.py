"""A streamed message, watched as it passes: usage, ids and how it ended.

Decides what is known of the stream; every byte passes, for this API reports its usage unasked. It must not know what
the usage costs. The prompt's usage comes with the first event and is exact; the output's comes with the last but one.

The hot path counts deltas and looks for three signs, all in C, and decodes no JSON: nearly every frame is a delta,
and no text can imitate a sign, for its quotes would be escaped.
"""

from abc import ABC, abstractmethod
from typing import Any

import msgspec

from proxy.wire.anthropic_usage import MISSING, UsageCounts, prompt_of, read_counts, tier_of, units_of, usage_of
from proxy.wire.errors import render_error_body
from proxy.wire.openai_usage import clean_text
from proxy.wire.seen_text import MOST_KEPT, SeenText, text_members
from proxy.wire.sse import FrameSplitter, iter_data
from shared.usage import NO_UNITS, TokenUsage, UnitUsage

_DELTA_SIGN = b'"content_block_delta"'
_START_SIGN = b'"message_start"'
_USAGE_SIGN = b'"output_tokens"'
_STOP_SIGN = b'"message_stop"'
_ERROR_SIGN = b'"error"'
# What wraps the text of a delta.
_WRAPPING = len(
    b"event: content_block_delta\n"
    b'data: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":""}}\n\n'
)
_FRAME = len(b"event: \ndata: \n\n")
_BYTES_PER_TOKEN = 4
_TEXT_MEMBERS = text_members("text", "thinking", "partial_json", "name")


class _Message(msgspec.Struct, gc=False):
    id: Any = None
    model: Any = None
    usage: msgspec.Raw = msgspec.Raw(b"")


class _Delta(msgspec.Struct, gc=False):
    stop_reason: Any = None


class _Event(msgspec.Struct, gc=False):
    type: Any = None
    message: _Message | None = None
    delta: _Delta | None = None
    usage: msgspec.Raw = msgspec.Raw(b"")


_event_decoder = msgspec.json.Decoder(_Event)
_NO_EVENT = _Event()


class EventStream(ABC):
    """What streams of this dialect have in common: whole frames pass, an `error` event ends them."""

    def __init__(self) -> None:
        self._splitter = FrameSplitter()
        self.usage: TokenUsage | None = None
        self.units: UnitUsage = NO_UNITS
        self.why_no_usage = MISSING
        self.response_id = ""
        self.response_model = ""
        self.service_tier = ""
        self.saw_first_token = False
        self.is_error = False

    @property
    @abstractmethod
    def saw_done(self) -> bool:
        """Upstream has said that the stream is complete."""

    def finish(self) -> str | None:
        """Upstream's end. None: a regular one; else what was wrong with it."""
        if self.saw_done or self.is_error:
            return None
        if self._splitter.partial.strip():
            return "upstream ended in the middle of a frame"
        return "upstream ended before the answer was complete"

    def error_event(self, kind: str, message: str) -> bytes:
        """An `error` event; no end of the message follows it."""
        return b"event: error\ndata: %b\n\n" % render_error_body("anthropic_api", kind, message)


class MessageStream(EventStream):
    """See `format.Stream`."""

    def __init__(self, *, most_output: int | None = None) -> None:
        super().__init__()
        self._most_output = most_output
        self._deltas = self._bytes = 0
        self._is_stopped = self._has_output = False
        self._counts = UsageCounts()
        self._spoilt = ""
        # The first blocks of deltas, until it is known whether their text matters.
        self._blocks: list[bytes] = []
        self._is_kept = True
        self._seen = SeenText(_TEXT_MEMBERS)

    def feed(self, chunk: bytes) -> bytes:
        """The bytes to send the caller now: all of them, in whole frames. Raises UpstreamFailure upstream_invalid."""
        block = self._splitter.feed(chunk)
        if not block:
            return block
        deltas = block.count(_DELTA_SIGN)
        if deltas:
            # Not before: a model may think for minutes between the start of a message and its first delta.
            self.saw_first_token = True
            self._deltas += deltas
            self._bytes += len(block)
            if self._is_kept:
                self._keep(block)
        has_event = block.rfind(_USAGE_SIGN) >= 0 or block.rfind(_STOP_SIGN) >= 0 or block.rfind(_ERROR_SIGN) >= 0
        if has_event or (not self.response_id and _START_SIGN in block):
            self._read_events(block, has_deltas=bool(deltas))
        return block

    def _keep(self, block: bytes) -> None:
        self._blocks.append(block)
        if self._bytes >= MOST_KEPT:
            self._seen.keep(self._blocks, self._deltas)
            self._forget()

    def _forget(self) -> None:
        self._blocks.clear()
        self._is_kept = False

    def _read_events(self, block: bytes, *, has_deltas: bool) -> None:
        for name, data in iter_data(block):
            if _DELTA_SIGN in data:
                continue
            if has_deltas:
                self._bytes -= len(name) + len(data) + _FRAME
            try:
                event = _event_decoder.decode(data)
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
                if _USAGE_SIGN in data:
                    self._spoilt = f"usage is not to be trusted: {error}"
                event = _NO_EVENT
            self._read_event(event, name)

    def _read_event(self, event: _Event, name: str) -> None:
        kind = event.type if type(event.type) is str else name
        if message := event.message:
            self.response_id = clean_text(message.id)
            self.response_model = clean_text(message.model)
            self._take(message.usage)
        elif event.usage:
            self._has_output = self._take(event.usage) or self._has_output
        self.is_error = self.is_error or "error" in (kind, name)
        self._is_stopped = self._is_stopped or kind == "message_stop"
        if self._is_stopped or (event.delta and event.delta.stop_reason is not None):
            self._settle()

    def _take(self, raw: msgspec.Raw) -> bool:
        """Lay figures over those that came before. Whether they tell the output."""
        counts, why = read_counts(raw)
        if counts is None:
            self._spoilt = self._spoilt or (why if why != MISSING else "")
            return False
        self._counts.update(counts)
        self.service_tier = clean_text(tier_of(self._counts))
        self.units = units_of(self._counts)
        return counts.output_tokens is not None

    def _settle(self) -> None:
        """The figures are final."""
        if self._spoilt:
            self.usage, self.why_no_usage = None, self._spoilt
        elif self._has_output:
            self.usage, self.why_no_usage = usage_of(self._counts)
        if self.usage is not None:
            self._seen.drop()
            self._forget()

    @property
    def prompt_usage(self) -> TokenUsage | None:
        """What went in, as the first event told it."""
        return None if self._spoilt else prompt_of(self._counts)

    @property
    def saw_done(self) -> bool:
        """`message_stop` has come, if only without the end of its frame."""
        return self._is_stopped or _STOP_SIGN in self._splitter.partial

    @property
    def output_tokens(self) -> int:
        """Estimate: a token a delta, or one for each 4 bytes in them, at most the cap; or what upstream told so far."""
        longer = (self._bytes - self._deltas * _WRAPPING) // _BYTES_PER_TOKEN
        tokens = max(self._deltas, longer)
        if self._most_output is not None:
            tokens = min(tokens, self._most_output)
        return max(tokens, self._counts.output_tokens or 0)

    @property
    def text(self) -> str:
        """What was relayed first; empty once usage is known."""
        self._seen.keep(self._blocks, self._deltas)
        return self._seen.text()

    @property
    def output_chars(self) -> int:
        """Characters relayed so far, those beyond `text` estimated; 0 once usage is known."""
        self._seen.keep(self._blocks, self._deltas)
        return self._seen.chars(self._deltas, self._bytes)
