"""A streamed response, watched as it passes: usage, ids and how it ended.

Every byte passes. It must not know what the usage costs. A stream is a row of typed events; most are deltas, which
are counted and never decoded: the line `event: ….delta` tells them, and no text can imitate it, for JSON has no raw
line ends. All others, some ten a stream, are read. There is no [DONE].
"""

import re
from typing import Any

import msgspec

from proxy.wire.errors import PREFIX
from proxy.wire.openai_usage import MISSING, clean_text, is_given, read_responses_usage, read_tool_units
from proxy.wire.seen_text import MOST_KEPT, SeenText, text_members
from proxy.wire.sse import FrameSplitter, iter_data
from shared.errors import ERROR_KINDS
from shared.usage import NO_UNITS, TokenUsage

_CHARS_PER_TOKEN = 4
_OF_ANSWER, _DELTA = "response.", ".delta"
_COMPLETE = frozenset({"response.completed", "response.incomplete", "response.cancelled"})
_FAILED = frozenset({"response.failed", "error"})
_TEXT_MEMBERS = text_members("delta")
_SEQUENCE = re.compile(rb'"sequence_number"[ \t]*+:[ \t]*+(\d{1,15})(?!\d)')


class _Response(msgspec.Struct, gc=False):
    id: Any = None
    model: Any = None
    service_tier: Any = None
    usage: msgspec.Raw = msgspec.Raw(b"")
    tool_usage: msgspec.Raw = msgspec.Raw(b"")
    output: msgspec.Raw = msgspec.Raw(b"")


class _Event(msgspec.Struct, gc=False):
    type: Any = None
    response: msgspec.Raw = msgspec.Raw(b"")
    error: Any = None


_event_decoder = msgspec.json.Decoder(_Event)
_response_decoder = msgspec.json.Decoder(_Response)


class ResponseStream:
    """See `format.Stream`."""

    prompt_usage: TokenUsage | None = None
    """This format tells it only at the end."""

    __slots__ = (
        "_blocks", "_bytes", "_deltas", "_ending", "_last", "_most_output", "_seen", "_splitter", "_tidy_at",
        "response_id", "response_model", "saw_first_token", "service_tier", "units", "usage", "why_no_usage",
    )  # fmt: skip

    def __init__(self, *, most_output: int | None = None) -> None:
        self._splitter = FrameSplitter()
        self._most_output = most_output
        self._deltas = self._bytes = 0
        # Blocks with deltas, until it is known whether their text matters.
        self._blocks: list[bytes] = []
        self._tidy_at = MOST_KEPT
        self._seen = SeenText(_TEXT_MEMBERS)
        self._last = b""
        self._ending = ""
        self.usage: TokenUsage | None = None
        self.units = NO_UNITS
        self.why_no_usage = MISSING
        self.response_id = ""
        self.response_model = ""
        self.service_tier = ""
        self.saw_first_token = False

    def feed(self, chunk: bytes) -> bytes:
        """The frames that are complete now. Raises UpstreamFailure upstream_invalid."""
        block = self._splitter.feed(chunk)
        if not block:
            return block
        frames = (block.count(b"\ndata:") or block.count(b"\rdata:")) + block.startswith(b"data:")
        if not frames:
            return block
        self._last = block
        if frames == (block.count(b".delta\n") or block.count(b".delta\r")):
            self._ending = ""
            self._keep(block, frames)
        else:
            self._read(block)
        return block

    def _keep(self, block: bytes, deltas: int) -> None:
        self.saw_first_token = True
        self._deltas += deltas
        self._bytes += len(block)
        if self._tidy_at:
            self._blocks.append(block)
            if self._bytes >= self._tidy_at:
                self._seen.keep(self._blocks, self._deltas)
                self._let_go()

    def _let_go(self) -> None:
        self._blocks.clear()
        self._tidy_at = 0

    def _read(self, block: bytes) -> None:
        """Take in every event of a block that has others than deltas."""
        deltas: list[bytes] = []
        for _, data in iter_data(block):
            try:
                event = _event_decoder.decode(data)
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                continue
            kind = event.type if type(event.type) is str else ""
            if not kind and event.error is not None:
                kind = "error"
            if kind.endswith(_DELTA):
                deltas.append(data)
            if kind in _COMPLETE or kind in _FAILED:
                self._ending = kind
            elif kind.startswith(_OF_ANSWER):
                self._ending = ""
            if is_given(event.response):
                self._read_response(event.response)
        if deltas:
            self._keep(b"\n".join(deltas), len(deltas))

    def _read_response(self, raw: msgspec.Raw) -> None:
        try:
            response = _response_decoder.decode(raw)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return
        self.response_id = clean_text(response.id) or self.response_id
        self.response_model = clean_text(response.model) or self.response_model
        if self._ending:
            # Before the end it is the tier that was asked for.
            self.service_tier = clean_text(response.service_tier) or self.service_tier
        if is_given(response.usage):
            self.usage, self.why_no_usage = read_responses_usage(response.usage)
            self.units, why_no_units = read_tool_units(response.tool_usage, response.output)
            if why_no_units:
                self.usage, self.why_no_usage = None, why_no_units
            if self.usage is not None:
                self._seen.drop()
                self._let_go()

    @property
    def saw_done(self) -> bool:
        """Upstream has said that the response is complete, or as complete as it will be."""
        return self._ending in _COMPLETE

    @property
    def is_error(self) -> bool:
        """The stream ended in an event that says that it failed, after its status 200."""
        return self._ending in _FAILED

    @property
    def output_tokens(self) -> int:
        """Estimate: a token a delta, or one for each 4 characters of them, at most the cap."""
        tokens = max(self._deltas, self.output_chars // _CHARS_PER_TOKEN)
        return tokens if self._most_output is None else min(tokens, self._most_output)

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

    def finish(self) -> str | None:
        """Upstream's end. None: a regular one; else what was wrong with it."""
        if self._ending:
            return None
        if self._splitter.partial.strip():
            return "upstream ended in the middle of a frame"
        return "upstream ended before the answer was complete"

    def error_event(self, kind: str, message: str) -> bytes:
        """The event that a response's stream has for errors."""
        numbers = _SEQUENCE.findall(self._last)
        row = ERROR_KINDS[kind]
        event = {
            "type": "error",
            "code": row.openai_type,
            "message": PREFIX + message,
            "param": None,
            "sequence_number": int(numbers[-1]) + 1 if numbers else 0,
        }
        return b"event: error\ndata: %b\n\n" % msgspec.json.encode(event)
