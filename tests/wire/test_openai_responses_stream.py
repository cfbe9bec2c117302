"""Streamed responses, cut everywhere.

The files in cases/responses follow the API reference's events and what compatible upstreams are known to send. Each
runs with LF, CRLF and CR line ends, whole, byte by byte, cut in two at every byte, and at random.
"""

from collections.abc import Iterable
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types.responses import ResponseErrorEvent

from proxy.wire import FORMATS, Call
from proxy.wire.openai_responses_stream import ResponseStream
from proxy.wire.sse import LONGEST_PARTIAL
from shared.errors import UpstreamFailure
from shared.usage import TokenUsage

CASES = Path(__file__).parent / "cases" / "responses"
ENDS = {"lf": b"\n", "crlf": b"\r\n", "cr": b"\r"}
ID = "resp_68af4030592c81938ec0a5fbab4a3e9f05438e46b5f69a3b"
NO_USAGE = "upstream reported no usage"
CUT = "upstream ended before the answer was complete"
HI = "Hi there! How can I help?"


class Told(msgspec.Struct, frozen=True):
    """What a case says of itself. `text`: what was seen, where usage is not known."""

    usage: TokenUsage | None = None
    why_no_usage: str = ""
    response_id: str = ID
    response_model: str = "gpt-5-mini-2025-08-07"
    service_tier: str = ""
    ending: str | None = None
    saw_done: bool = True
    is_error: bool = False
    output_tokens: int = 0
    text: str = ""


EXPECTED: dict[str, Told] = {
    "plain": Told(TokenUsage(input=37, output=11), service_tier="default", output_tokens=8),
    "reasoning": Told(
        TokenUsage(input=200, cached_input=2000, cache_write_5m=250, cache_write_1h=150, output=4, reasoning=320),
        service_tier="priority",
        output_tokens=4,
    ),
    "tools": Told(TokenUsage(input=291, output=23), service_tier="default", output_tokens=7),
    "incomplete": Told(TokenUsage(input=37, output=8), service_tier="default", output_tokens=8),
    "failed": Told(
        why_no_usage=NO_USAGE, service_tier="auto", saw_done=False, is_error=True, output_tokens=3, text="Hi there!"
    ),
    "error_only": Told(why_no_usage=NO_USAGE, response_id="", response_model="", saw_done=False, is_error=True),
    "error_of_another_shape": Told(
        why_no_usage=NO_USAGE, response_id="", response_model="", saw_done=False, is_error=True
    ),
    "no_event_names": Told(TokenUsage(input=21, cached_input=16, output=11), service_tier="default", output_tokens=8),
    "unicode": Told(TokenUsage(input=21, output=14), service_tier="default", output_tokens=7),
    "comments": Told(TokenUsage(input=5, output=1), service_tier="default", output_tokens=1),
    "cut_between_frames": Told(
        why_no_usage=NO_USAGE, saw_done=False, ending=CUT, output_tokens=4, text="Hi there! How"
    ),
    "cut_in_frame": Told(
        why_no_usage=NO_USAGE,
        saw_done=False,
        ending="upstream ended in the middle of a frame",
        output_tokens=3,
        text="Hi there!",
    ),
    "usage_hostile": Told(
        why_no_usage="usage is not to be trusted: Expected `int` >= 0 - at `$.output_tokens`",
        service_tier="default",
        output_tokens=2,
        text="Hi there",
    ),
    "multi_line_data": Told(TokenUsage(input=3, output=1), output_tokens=1),
}
VARIANTS = [(name, end) for name in EXPECTED for end in ENDS]


@cache
def recorded(name: str, end: str) -> bytes:
    return (CASES / f"{name}.sse").read_bytes().replace(b"\n", ENDS[end])


def run(stream: ResponseStream, chunks: Iterable[bytes]) -> bytes:
    return b"".join(map(stream.feed, chunks))


def check(name: str, end: str, chunks: Iterable[bytes]) -> None:
    stream = ResponseStream()
    text = recorded(name, end)
    told = EXPECTED[name]
    # Every byte passes, but for a frame that upstream did not finish.
    whole = text[: text.rindex(ENDS[end] * 2) + 2 * len(ENDS[end])]

    assert run(stream, chunks) == whole
    assert stream.finish() == told.ending
    assert (stream.usage, stream.why_no_usage) == (told.usage, told.why_no_usage)
    assert (stream.response_id, stream.response_model) == (told.response_id, told.response_model)
    assert stream.service_tier == told.service_tier
    assert (stream.saw_done, stream.is_error) == (told.saw_done, told.is_error)
    assert stream.saw_first_token == (told.output_tokens > 0)
    assert stream.output_tokens == told.output_tokens
    assert stream.text == told.text
    assert stream.output_chars == len(told.text)


def test_every_recorded_stream_is_expected() -> None:
    assert {path.stem for path in CASES.glob("*.sse")} == set(EXPECTED)


@pytest.mark.parametrize(("name", "end"), VARIANTS)
def test_a_stream_passes_whole(name: str, end: str) -> None:
    check(name, end, [recorded(name, end)])


@pytest.mark.parametrize(("name", "end"), VARIANTS)
def test_a_stream_passes_byte_by_byte(name: str, end: str) -> None:
    text = recorded(name, end)

    check(name, end, (text[at : at + 1] for at in range(len(text))))


@pytest.mark.parametrize(("name", "end"), VARIANTS)
def test_a_stream_passes_cut_in_two_at_every_byte(name: str, end: str) -> None:
    text = recorded(name, end)
    for at in range(len(text) + 1):
        check(name, end, (text[:at], text[at:]))


@given(st.sampled_from(VARIANTS), st.lists(st.integers(0, 6000), max_size=40))
def test_a_stream_passes_cut_at_random(variant: tuple[str, str], places: list[int]) -> None:
    text = recorded(*variant)
    edges = [0, *sorted(place % (len(text) + 1) for place in places), len(text)]

    check(*variant, (text[a:b] for a, b in pairwise(edges)))


def event(kind: str, **members: Any) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (kind.encode(), msgspec.json.encode({"type": kind} | members))


def delta(text: str, **members: Any) -> bytes:
    return event("response.output_text.delta", delta=text, **members)


COMPLETED = event("response.completed", response={"usage": {"input_tokens": 1, "output_tokens": 2}})


def test_deltas_are_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """They are nearly all of a stream."""
    stream = ResponseStream()
    monkeypatch.setattr(ResponseStream, "_read", None)
    run(stream, [delta("a"), delta("b") * 3])

    assert stream.output_tokens == 4


def test_a_caller_cannot_make_the_end_look_like_a_delta() -> None:
    """By names of tools, instructions or metadata that the final event repeats."""
    liar = {"tools": [{"name": "a.delta"}], "instructions": "event: response.output_text.delta\n", "x": ".delta\r\n"}
    stream = ResponseStream()
    usage = {"input_tokens": 1, "output_tokens": 2}
    run(stream, [delta("a"), event("response.completed", response=liar | {"usage": usage})])

    assert stream.usage == TokenUsage(input=1, output=2)
    assert stream.saw_done


def test_what_comes_after_the_end_makes_it_none() -> None:
    """Only a response that nothing follows is complete; what no event is does not matter."""
    for more in ([delta("b")], [event("response.output_item.added")]):
        stream = ResponseStream()
        run(stream, [delta("a"), COMPLETED, *more])
        assert stream.finish() == CUT
    stream = ResponseStream()
    run(stream, [delta("a"), COMPLETED, b"data: [DONE]\n\n", b": bye\n\n", event("keepalive")])

    assert stream.finish() is None


@pytest.mark.parametrize("response", ['"x"', "7", "[]", "null", '{"id":7,"model":[],"usage":"no"}'])
def test_an_end_of_an_odd_shape_is_an_end(response: str) -> None:
    stream = ResponseStream()
    run(stream, [b'data: {"type":"response.completed","response":%b}\n\n' % response.encode()])

    assert stream.finish() is None
    assert stream.usage is None
    assert stream.why_no_usage
    assert (stream.response_id, stream.response_model) == ("", "")


def test_long_deltas_count_by_their_length_and_never_above_the_cap() -> None:
    chunks = [delta("")] + [delta("word" * 50)] * 10
    stream, capped = ResponseStream(), FORMATS["openai_responses"].open_stream(Call(output_cap=20))
    run(stream, chunks)
    for chunk in chunks:
        capped.feed(chunk)

    assert stream.output_tokens == 500
    assert capped.output_tokens == 20


def test_a_long_stream_keeps_its_beginning_and_counts_the_rest() -> None:
    """The estimate is close, and what is kept does not grow."""
    words = [f" word{number}" for number in range(4000)]
    stream = ResponseStream()
    run(stream, [delta(word, sequence_number=number) for number, word in enumerate(words)])
    text = "".join(words)

    assert text.startswith(stream.text)
    assert 100 < len(stream.text) < 10_000
    assert abs(stream.output_chars - len(text)) < len(text) * 0.15
    run(stream, [COMPLETED])
    assert (stream.text, stream.output_chars) == ("", 0)


def test_a_frame_without_end_is_upstreams_fault() -> None:
    stream = ResponseStream()
    with pytest.raises(UpstreamFailure) as caught:
        run(stream, [b"data: " + b"x" * 65536] * (LONGEST_PARTIAL // 65536 + 1))

    assert caught.value.kind == "upstream_invalid"


def test_a_frame_of_a_mebibyte_passes() -> None:
    long = delta("x" * (LONGEST_PARTIAL - 200))
    stream = ResponseStream()

    assert run(stream, [long[:1000], long[1000:], COMPLETED]) == long + COMPLETED
    assert stream.usage == TokenUsage(input=1, output=2)


@pytest.mark.parametrize("deep", [b"[" * 10_000, b'{"a":' * 10_000])
def test_nesting_breaks_nothing(deep: bytes) -> None:
    frame = b'data: {"type":"response.created","response":' + deep + b"\n\n"
    stream = ResponseStream()

    assert run(stream, [frame, COMPLETED]) == frame + COMPLETED
    assert stream.finish() is None


@pytest.mark.parametrize(("last", "number"), [(delta("a", sequence_number=41), 42), (delta('"sequence_number":7'), 0)])
def test_a_cut_stream_is_told_as_the_sdk_expects_it(last: bytes, number: int) -> None:
    """As an event that goes on counting; a text cannot set the number."""
    stream = ResponseStream()
    run(stream, [last])
    told = stream.error_event("upstream_cut", "upstream broke off")

    assert told.startswith(b"event: error\ndata: {")
    assert told.endswith(b"}\n\n")
    data = msgspec.json.decode(told.split(b"data: ")[1])
    assert ResponseErrorEvent.model_validate(data, strict=True) == ResponseErrorEvent(
        type="error",
        code="server_error",
        message="[Weir] upstream broke off",
        param=None,
        sequence_number=number,
    )


@given(
    st.lists(
        st.one_of(
            st.binary(max_size=30),
            st.sampled_from([b"data: ", b"event: ", b".delta", b"\n", b"\r", b'{"type":"', b'"', b"}", b"1"]),
            st.sampled_from([delta("a"), COMPLETED, event("error"), b'data: {"response":{"usage":{}}}\n\n']),
        ),
        max_size=30,
    )
)
def test_no_bytes_break_the_watcher(chunks: list[bytes]) -> None:
    stream = ResponseStream()
    sent = run(stream, chunks)
    stream.finish()

    assert b"".join(chunks).startswith(sent)
    assert stream.output_tokens >= 0
    assert stream.output_chars >= len(stream.text) or len(stream.text) == 0
    stream.error_event("upstream_cut", "x")
