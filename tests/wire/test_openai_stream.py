"""Streamed chat completions, cut everywhere.

The files in cases/ follow the API reference's chunks and what compatible upstreams are known to send. Each runs with
LF, CRLF and CR line ends, whole, byte by byte, cut in two at every byte, and at random.
"""

from collections.abc import Iterable
from functools import cache
from itertools import pairwise
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.wire.openai_stream import ChatStream
from proxy.wire.sse import LONGEST_PARTIAL
from shared.errors import UpstreamFailure
from shared.usage import TokenUsage

CASES = Path(__file__).parent / "cases"
ENDS = {"lf": b"\n", "crlf": b"\r\n", "cr": b"\r"}
ID = "chatcmpl-CbkqRwQ4mPZ7rX9tGd2YvKs81nLfH"
NO_USAGE = "upstream reported no usage"


class Told(msgspec.Struct, frozen=True):
    """What a case says of itself."""

    usage: TokenUsage | None = None
    why_no_usage: str = ""
    response_id: str = ID
    response_model: str = "gpt-4o-mini-2024-07-18"
    service_tier: str = "default"
    hidden: int | None = None
    """Which frame is hidden from a caller who did not ask, counted from the end."""
    ending: str | None = None
    saw_done: bool = True
    is_error: bool = False
    output_tokens: int = 0


EXPECTED: dict[str, Told] = {
    "plain": Told(why_no_usage=NO_USAGE, output_tokens=11),
    "usage": Told(TokenUsage(input=19, output=9), hidden=2, output_tokens=12),
    "usage_reasoning": Told(
        TokenUsage(input=200, cached_input=2000, cache_write_5m=400, output=4, reasoning=320),
        response_model="gpt-5.6-sol-2026-07-01",
        service_tier="priority",
        hidden=2,
        output_tokens=6,
    ),
    "usage_on_choices": Told(TokenUsage(input=11, output=2), output_tokens=3),
    "usage_continuous": Told(TokenUsage(input=7, output=5), hidden=2, output_tokens=7),
    "tools": Told(TokenUsage(input=82, output=18), hidden=2, output_tokens=16),
    "comments": Told(TokenUsage(input=5, output=1), hidden=3, output_tokens=4),
    "error_midstream": Told(why_no_usage=NO_USAGE, is_error=True, output_tokens=2),
    "error_only": Told(
        why_no_usage=NO_USAGE, response_id="", response_model="", service_tier="", saw_done=False, is_error=True
    ),
    "multi_choice": Told(TokenUsage(input=12, output=6), hidden=2, output_tokens=11),
    "unicode": Told(TokenUsage(input=21, output=14), hidden=2, output_tokens=11),
    "filters_first": Told(TokenUsage(input=9, output=1), hidden=2, output_tokens=5),
    "no_done": Told(why_no_usage=NO_USAGE, saw_done=False, output_tokens=3),
    "cut_between_frames": Told(
        why_no_usage=NO_USAGE,
        saw_done=False,
        ending="upstream ended before the answer was complete",
        output_tokens=2,
    ),
    "cut_in_frame": Told(
        why_no_usage=NO_USAGE, saw_done=False, ending="upstream ended in the middle of a frame", output_tokens=2
    ),
    "multi_line_data": Told(TokenUsage(input=3, output=1), hidden=2, output_tokens=6),
    "usage_hostile": Told(
        why_no_usage="usage is not to be trusted: Expected `int` >= 0 - at `$.prompt_tokens`",
        hidden=2,
        output_tokens=3,
    ),
}
VARIANTS = [(name, end) for name in EXPECTED for end in ENDS]


@cache
def recorded(name: str, end: str) -> bytes:
    return (CASES / f"{name}.sse").read_bytes().replace(b"\n", ENDS[end])


@cache
def relayable(name: str, end: str, is_hidden: bool) -> bytes:
    """What the caller must get: whole frames, less the hidden one. Found by splitting the file, not by our parser."""
    text = (CASES / f"{name}.sse").read_bytes()
    frames = text.split(b"\n\n")
    assert (frames.pop() in (b"", b"\n")) == (name != "cut_in_frame")
    hidden = EXPECTED[name].hidden
    if is_hidden and hidden is not None:
        frame = frames.pop(-hidden)
        assert b'"choices":[]' in frame
        assert b'"prompt_tokens"' in frame
    return b"".join(frame + b"\n\n" for frame in frames).replace(b"\n", ENDS[end])


def run(stream: ChatStream, chunks: Iterable[bytes]) -> bytes:
    return b"".join(map(stream.feed, chunks))


def check(name: str, end: str, chunks: Iterable[bytes], hide_usage: bool) -> None:
    stream = ChatStream(hide_usage=hide_usage)

    assert run(stream, chunks) == relayable(name, end, hide_usage)
    told = EXPECTED[name]
    assert stream.finish() == told.ending
    assert stream.usage == told.usage
    assert stream.why_no_usage == told.why_no_usage
    assert (stream.response_id, stream.response_model) == (told.response_id, told.response_model)
    assert stream.service_tier == told.service_tier
    assert (stream.saw_done, stream.is_error) == (told.saw_done, told.is_error)
    assert stream.saw_first_token


def test_every_recorded_stream_is_expected() -> None:
    assert {path.stem for path in CASES.glob("*.sse")} == set(EXPECTED)


@pytest.mark.parametrize("hide_usage", [True, False], ids=["hidden", "asked"])
@pytest.mark.parametrize(("name", "end"), VARIANTS)
def test_a_stream_passes_whole(name: str, end: str, hide_usage: bool) -> None:
    check(name, end, [recorded(name, end)], hide_usage)


@pytest.mark.parametrize("hide_usage", [True, False], ids=["hidden", "asked"])
@pytest.mark.parametrize(("name", "end"), VARIANTS)
def test_a_stream_passes_byte_by_byte(name: str, end: str, hide_usage: bool) -> None:
    text = recorded(name, end)

    check(name, end, (text[at : at + 1] for at in range(len(text))), hide_usage)


@pytest.mark.parametrize(("name", "end"), VARIANTS)
def test_a_stream_passes_cut_in_two_at_every_byte(name: str, end: str) -> None:
    text = recorded(name, end)
    for at in range(len(text) + 1):
        check(name, end, (text[:at], text[at:]), hide_usage=True)


@given(st.sampled_from(VARIANTS), st.booleans(), st.lists(st.integers(0, 6000), max_size=40))
def test_a_stream_passes_cut_at_random(variant: tuple[str, str], hide_usage: bool, places: list[int]) -> None:
    text = recorded(*variant)
    edges = [0, *sorted(place % (len(text) + 1) for place in places), len(text)]

    check(*variant, (text[a:b] for a, b in pairwise(edges)), hide_usage)


@pytest.mark.parametrize("name", EXPECTED)
def test_output_is_estimated_from_frames_that_have_been_seen(name: str) -> None:
    """A little more than there was: frames that only open or close the answer count as one token each."""
    for chunks in ([recorded(name, "lf")], recorded(name, "lf").splitlines(keepends=True)):
        stream = ChatStream(hide_usage=True)
        run(stream, chunks)

        assert stream.output_tokens == EXPECTED[name].output_tokens


def frame(content: str, **members: object) -> bytes:
    choices = [{"index": 0, "delta": {"content": content}}]
    return b"data: %b\n\n" % msgspec.json.encode({"id": "1", "choices": choices} | members)


def test_long_frames_count_by_their_length() -> None:
    stream = ChatStream(hide_usage=True)
    run(stream, [frame("")] + [frame("word" * 50)] * 10)

    assert 500 <= stream.output_tokens <= 520


def test_the_estimate_never_exceeds_the_cap() -> None:
    stream = ChatStream(hide_usage=True, most_output=20)
    run(stream, [frame("word" * 50)] * 30)

    assert stream.output_tokens == 20


def test_only_one_frame_is_hidden() -> None:
    """Two frames of usage are not what was asked for: the second passes, and its figures count."""
    first, second = (
        b'data: {"id":"1","choices":[],"usage":{"prompt_tokens":%d,"completion_tokens":1}}\n\n' % n for n in (1, 2)
    )
    for chunks in ([frame("a") + first + second + frame("b")], [frame("a"), first, second, frame("b")]):
        stream = ChatStream(hide_usage=True)

        assert run(stream, chunks) == frame("a") + second + frame("b")
        assert stream.usage == TokenUsage(input=2, output=1)


def test_a_frame_without_choices_but_without_usage_is_not_hidden() -> None:
    empty = (
        b'data: {"id":"1","choices":[],"usage":null,"note":"\\"completion_tokens\\"","x":{"completion_tokens":1}}\n\n'
    )
    stream = ChatStream(hide_usage=True)

    assert run(stream, [empty]) == empty
    assert stream.usage is None


def test_done_that_upstream_left_unfinished_is_an_end() -> None:
    stream = ChatStream(hide_usage=True)
    run(stream, [frame("a"), b"data: [DONE]\n"])

    assert stream.finish() is None


@pytest.mark.parametrize("last", [b"data: [DONE]\n\n", frame("b") + b"data: [DONE]\n\n"])
def test_the_usual_end_is_seen_without_reading_any_frame(last: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is on every stream's path."""
    stream = ChatStream(hide_usage=True)
    run(stream, [frame("a"), last])
    monkeypatch.setattr(ChatStream, "_recent_data", None)

    assert stream.finish() is None
    assert stream.saw_done


def test_an_estimate_that_the_ending_cannot_change_reads_no_frame(monkeypatch: pytest.MonkeyPatch) -> None:
    """Long frames count by their length, and many by the cap."""
    long = ChatStream(hide_usage=True)
    run(long, [frame(""), *[frame("word" * 50)] * 10])
    capped = ChatStream(hide_usage=True, most_output=5)
    run(capped, [frame("a")] * 10)
    monkeypatch.setattr(ChatStream, "_recent_data", None)

    assert long.output_tokens >= 500
    assert capped.output_tokens == 5


@pytest.mark.parametrize("last", [b"xdata: [DONE]\n\n", b'data: {"x":\ndata: [DONE]\n\n', b": data: [DONE]\n\n"])
def test_what_only_looks_like_the_end_is_none(last: bytes) -> None:
    """A field of another name, a frame of two lines, a comment."""
    stream = ChatStream(hide_usage=True)
    run(stream, [frame("a"), last])

    assert not stream.saw_done


def test_an_error_in_the_middle_that_is_followed_by_more_is_no_end() -> None:
    stream = ChatStream(hide_usage=True)
    run(stream, [b'data: {"error":{"message":"slow"}}\n\n', frame("a"), frame("b")])

    assert not stream.is_error
    assert stream.finish() == "upstream ended before the answer was complete"


def test_an_empty_stream_was_cut() -> None:
    stream = ChatStream(hide_usage=True)

    assert stream.feed(b"") == b""
    assert stream.finish() == "upstream ended before the answer was complete"
    assert not stream.saw_first_token
    assert stream.output_tokens == 0


def test_keep_alives_are_no_token() -> None:
    stream = ChatStream(hide_usage=True)

    assert stream.feed(b": keep-alive\n\n") == b": keep-alive\n\n"
    assert not stream.saw_first_token
    assert stream.output_tokens == 0


def test_a_line_without_end_is_upstreams_fault() -> None:
    stream = ChatStream(hide_usage=True)
    with pytest.raises(UpstreamFailure) as caught:
        run(stream, [b"data: " + b"x" * 65536] * (LONGEST_PARTIAL // 65536 + 1))

    assert caught.value.kind == "upstream_invalid"


def test_a_cut_stream_is_told_in_openais_dialect() -> None:
    event = ChatStream(hide_usage=True).error_event("upstream_cut", "upstream broke off")

    assert event.startswith(b"data: {")
    assert event.endswith(b"}\n\n")
    assert msgspec.json.decode(event.removeprefix(b"data: ")) == {
        "error": {"message": "[Weir] upstream broke off", "type": "server_error", "param": None, "code": "502"}
    }


@given(
    st.lists(
        st.one_of(
            st.binary(max_size=30),
            st.sampled_from(
                [b"data: ", b"\n", b"\r", b'{"choices":[],"usage":{"completion_tokens":', b'"', b"}", b"1"]
            ),
            st.sampled_from([frame("a"), b"data: [DONE]\n\n", b'data: {"usage":{"completion_tokens":1}}\n\n']),
        ),
        max_size=30,
    ),
    st.booleans(),
)
def test_no_bytes_break_the_watcher(chunks: list[bytes], hide_usage: bool) -> None:
    """Whatever comes, whole frames pass; only a frame that looks like the hidden one may be missing."""
    stream = ChatStream(hide_usage=hide_usage)
    sent = run(stream, chunks)
    stream.finish()

    assert stream.output_tokens >= 0
    if not hide_usage:
        assert b"".join(chunks).startswith(sent)
