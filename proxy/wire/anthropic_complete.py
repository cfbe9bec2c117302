"""Anthropic's legacy text completion: one prompt, one text, and never a word about usage.

Decides what is read from a body and from answers; a count of their texts stands in for the usage. Its stream is seldom
asked for, so each frame is simply decoded. Documented at platform.claude.com/docs/en/api/completions.
"""

from typing import Any

import msgspec

from proxy.wire.anthropic_messages import lower_cap, read_cap
from proxy.wire.anthropic_stream import EventStream
from proxy.wire.body import once
from proxy.wire.body_look import NUMBERED, BodyLook
from proxy.wire.format import MOST_SEEN_TEXT, Answer, Call
from proxy.wire.openai_members import LONGEST_USER, TOKENS_PER_CALL, edit_call, read_flag, read_model, read_text
from proxy.wire.openai_usage import clean_text
from proxy.wire.sse import iter_data
from shared.usage import NO_USAGE, TokenUsage

CAP = "max_tokens_to_sample"
_ONCE = ("model", "prompt", "stream", CAP)
_PASSED_OVER = ("temperature", "top_p", "top_k", "stop_sequences", "user_profile_id", "workspace_id")
_BYTES_PER_TOKEN = 4


def _fields(is_open: bool, is_open_inside: bool) -> list[Any]:
    metadata = msgspec.defstruct(
        "Metadata",
        [("user_id", once("user_id"), None), NUMBERED],
        gc=False,
        forbid_unknown_fields=not is_open,
    )
    # A null one has no number: the closed look leaves it to the open one, whose walk counts every member.
    return [("metadata", metadata | None if is_open else metadata, None), *[(name, once(name), None) for name in _ONCE]]


_LOOK = BodyLook(
    _fields,
    passed_over=_PASSED_OVER,
    acted_on=(*_ONCE, "metadata"),
    count=lambda peeked: peeked.metadata is not None,
    inside={"metadata": frozenset({"user_id"})},
)


def read_call(body: bytes) -> Call:
    """What the body asks for. Raises BodyError (a Refusal)."""
    _, notes, _ = _LOOK.read(body)
    return Call(
        requested_model=read_model(notes),
        is_stream=read_flag(notes, "stream"),
        user_id=read_text(notes, "user_id", LONGEST_USER),
        output_cap=read_cap(notes, CAP, least=1),
        prompt_bound=len(body) + TOKENS_PER_CALL,
    )


def forward(call: Call, body: bytes, model: str | None, output_cap: int | None) -> bytes:
    """The body for upstream: another model, a lower cap. Else the very same bytes. Raises BodyError."""
    return edit_call(call, body, model, lower_cap(call, output_cap), (CAP,))


class _Completion(msgspec.Struct, gc=False):
    """A whole answer, and each event of a stream."""

    type: Any = None
    id: Any = None
    model: Any = None
    completion: Any = None
    stop_reason: Any = None


_decoder = msgspec.json.Decoder(_Completion)
_UNMETERED = "the endpoint reports none"


def read_answer(body: bytes) -> Answer:
    """What a whole answer says of itself, which is not its usage. Never raises."""
    try:
        answer = _decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        return Answer(why_no_usage=f"upstream's answer cannot be read: {error}")
    usage = NO_USAGE if answer.type == "error" else None
    return Answer(usage, clean_text(answer.id), clean_text(answer.model), why_no_usage=_UNMETERED)


class CompletionStream(EventStream):
    """See `format.Stream`. Each event holds what is new of the text; the last names why it ended."""

    prompt_usage: TokenUsage | None = None

    def __init__(self, *, most_output: int | None = None) -> None:
        super().__init__()
        self.why_no_usage = _UNMETERED
        self.output_chars = 0
        self._most_output = most_output
        self._is_stopped = False
        self._texts: list[str] = []
        self._events = 0

    def feed(self, chunk: bytes) -> bytes:
        """The bytes to send the caller now: all of them, in whole frames. Raises UpstreamFailure upstream_invalid."""
        block = self._splitter.feed(chunk)
        for name, data in iter_data(block):
            self.saw_first_token = True
            try:
                event = _decoder.decode(data)
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                continue
            self.is_error = self.is_error or "error" in (event.type, name)
            if type(event.completion) is str:
                self._take(event, event.completion)
        return block

    def _take(self, event: _Completion, text: str) -> None:
        self.response_id = self.response_id or clean_text(event.id)
        self.response_model = self.response_model or clean_text(event.model)
        self._is_stopped = self._is_stopped or event.stop_reason is not None
        if text:
            self._events += 1
            if self.output_chars < MOST_SEEN_TEXT:
                self._texts.append(text)
            self.output_chars += len(text)

    @property
    def saw_done(self) -> bool:
        """An event has named why the text ended."""
        return self._is_stopped

    @property
    def output_tokens(self) -> int:
        """Estimate: a token an event, or one for each 4 characters, at most the cap."""
        tokens = max(self._events, self.output_chars // _BYTES_PER_TOKEN)
        return tokens if self._most_output is None else min(tokens, self._most_output)

    @property
    def text(self) -> str:
        """What was relayed first."""
        return "".join(self._texts)[:MOST_SEEN_TEXT]


def open_stream(call: Call) -> CompletionStream:
    """The watcher of a stream."""
    return CompletionStream(most_output=call.output_cap)
