"""Calls without a body that matters and without usage: lists and lookups. Nothing is read, edited or metered."""

from proxy.wire.errors import render_error_body
from proxy.wire.format import Answer, Call
from proxy.wire.sse import FrameSplitter
from shared.usage import NO_UNITS, TokenUsage

_CALL = Call()
_ANSWER = Answer(why_no_usage="the endpoint reports none")


def read_call(body: bytes) -> Call:
    """The same call for every body: nothing in it is acted on."""
    return _CALL


def forward(call: Call, body: bytes, model: str | None, output_cap: int | None) -> bytes:
    """No body: none of these endpoints takes one."""
    return b""


def read_answer(body: bytes) -> Answer:
    """An answer that says nothing of itself."""
    return _ANSWER


class UnmeteredStream:
    """Whole frames, relayed."""

    def __init__(self) -> None:
        self._splitter = FrameSplitter()
        self.usage: TokenUsage | None = None
        self.prompt_usage: TokenUsage | None = None
        self.units = NO_UNITS
        self.why_no_usage = _ANSWER.why_no_usage
        self.response_id = ""
        self.response_model = ""
        self.service_tier = ""
        self.saw_first_token = False
        self.saw_done = False
        self.is_error = False
        self.output_tokens = 0
        self.text = ""
        self.output_chars = 0

    def feed(self, chunk: bytes) -> bytes:
        """The frames that are complete now."""
        block = self._splitter.feed(chunk)
        self.saw_first_token = self.saw_first_token or bool(block)
        return block

    def finish(self) -> str | None:
        """Every end at a frame boundary is a regular one."""
        return "upstream ended in the middle of a frame" if self._splitter.partial.strip() else None

    def error_event(self, kind: str, message: str) -> bytes:
        """An error in the dialect of the endpoints that are not metered."""
        return b"data: %b\n\n" % render_error_body("openai_api", kind, message)


def open_stream(call: Call) -> UnmeteredStream:
    """A stream that is relayed and not metered."""
    return UnmeteredStream()
