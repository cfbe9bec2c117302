"""Streamed messages, cut everywhere.

The files in cases/anthropic/ follow the streaming guide's examples and what compatible upstreams are known to send.
Each runs with LF, CRLF and CR line ends, whole, byte by byte, cut in two at every byte, and at random.
"""

from collections.abc import Iterable
from functools import cache
from itertools import pairwise
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.wire.anthropic_stream import MessageStream
from proxy.wire.seen_text import MOST_KEPT
from proxy.wire.sse import LONGEST_PARTIAL
from shared.errors import UpstreamFailure
from shared.usage import TokenUsage, UnitUsage

CASES = Path(__file__).parent / "cases" / "anthropic"
ENDS = {"lf": b"\n", "crlf": b"\r\n", "cr": b"\r"}
NO_USAGE = "upstream reported no usage"
CUT = "upstream ended before the answer was complete"


class Told(msgspec.Struct, frozen=True):
    """What a case says of itself."""

    usage: TokenUsage | None = None
    why_no_usage: str = ""
    prompt: TokenUsage | None = None
    """What was told of the prompt, where it is not what the usage says."""
    response_id: str = "msg_01XFDUDYJgAACzvnptvVoYEL"
    response_model: str = "claude-sonnet-4-5-20250929"
    service_tier: str = "standard"
    ending: str | None = None
    saw_done: bool = True
    is_error: bool = False
    output_tokens: int = 0
    text: str = ""


EXPECTED: dict[str, Told] = {
    "plain": Told(TokenUsage(input=25, output=15), output_tokens=15),
    "thinking": Told(TokenUsage(input=43, output=23, reasoning=288), output_tokens=311),
    "tools": Told(TokenUsage(input=472, output=89), output_tokens=89),
    "cache": Told(
        TokenUsage(input=21, cached_input=18000, cache_write_5m=1968, cache_write_1h=1000, output=6), output_tokens=6
    ),
    # The last figures count: what was searched is in the input, and all that was written for five minutes.
    "server_tool": Told(TokenUsage(input=10682, cache_write_5m=512, output=510), output_tokens=510),
    "fast": Told(TokenUsage(input=9, output=4), service_tier="fast", output_tokens=4),
    "compaction": Told(TokenUsage(input=203_000, output=4_500), output_tokens=1000),
    "unicode": Told(TokenUsage(input=11, output=14), output_tokens=20),
    "comments": Told(TokenUsage(input=5, output=2), output_tokens=2),
    "multi_line_data": Told(TokenUsage(input=3, output=2), output_tokens=2),
    "done_after_stop": Told(TokenUsage(input=7, output=5), output_tokens=5),
    "delta_twice": Told(TokenUsage(input=7, output=6), output_tokens=6),
    "error_midstream": Told(
        why_no_usage=NO_USAGE, prompt=TokenUsage(input=25), saw_done=False, is_error=True, output_tokens=2,
        text="Hello there",
    ),
    "error_only": Told(
        why_no_usage=NO_USAGE, response_id="", response_model="", service_tier="", saw_done=False, is_error=True
    ),
    "no_usage": Told(why_no_usage=NO_USAGE, service_tier="", output_tokens=5, text="Hello from elsewhere"),
    "no_output_usage": Told(why_no_usage=NO_USAGE, prompt=TokenUsage(input=25), output_tokens=1, text="Hello"),
    "usage_hostile": Told(
        why_no_usage="usage is not to be trusted: Expected `int` >= 0 - at `$.output_tokens`", output_tokens=1,
        text="Hello",
    ),
    "usage_hostile_start": Told(
        why_no_usage="usage is not to be trusted: Expected `int | null`, got `str` - at `$.input_tokens`",
        service_tier="", output_tokens=5, text="Hello",
    ),
    "cut_between_frames": Told(
        why_no_usage=NO_USAGE, prompt=TokenUsage(input=25), saw_done=False, ending=CUT, output_tokens=1, text="Hel"
    ),
    # Nothing is left to come but the word that nothing is: the figures are final.
    "cut_before_stop": Told(TokenUsage(input=25, output=4), saw_done=False, ending=CUT, output_tokens=4),
    "cut_in_frame": Told(
        why_no_usage=NO_USAGE, prompt=TokenUsage(input=25), saw_done=False, output_tokens=1, text="Hel",
        ending="upstream ended in the middle of a frame",
    ),
}  # fmt: skip
VARIANTS = [(name, end) for name in EXPECTED for end in ENDS]


@cache
def recorded(name: str, end: str) -> bytes:
    return (CASES / f"{name}.sse").read_bytes().replace(b"\n", ENDS[end])


@cache
def relayable(name: str, end: str) -> bytes:
    """What the caller must get: every whole frame. Found by splitting the file, not by our parser."""
    frames = (CASES / f"{name}.sse").read_bytes().split(b"\n\n")
    assert (frames.pop() == b"") == (name != "cut_in_frame")
    return b"".join(frame + b"\n\n" for frame in frames).replace(b"\n", ENDS[end])


def run(stream: MessageStream, chunks: Iterable[bytes]) -> bytes:
    return b"".join(map(stream.feed, chunks))


def check(name: str, end: str, chunks: Iterable[bytes]) -> None:
    stream = MessageStream()

    assert run(stream, chunks) == relayable(name, end)
    told = EXPECTED[name]
    assert stream.finish() == told.ending
    assert stream.usage == told.usage
    assert stream.why_no_usage == told.why_no_usage
    assert (stream.response_id, stream.response_model) == (told.response_id, told.response_model)
    assert stream.service_tier == told.service_tier
    assert (stream.saw_done, stream.is_error) == (told.saw_done, told.is_error)
    assert stream.saw_first_token == (name != "error_only")
    assert stream.text == told.text
    if told.usage is None:
        assert stream.prompt_usage == told.prompt


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


@pytest.mark.parametrize("name", EXPECTED)
def test_output_is_estimated_from_frames_that_have_been_seen(name: str) -> None:
    """Never less than upstream has told so far; of frames that came together a little more than there was."""
    stream = MessageStream()
    run(stream, recorded(name, "lf").splitlines(keepends=True))

    assert stream.output_tokens == EXPECTED[name].output_tokens
    together = MessageStream()
    run(together, [recorded(name, "lf")])
    assert EXPECTED[name].output_tokens <= together.output_tokens <= EXPECTED[name].output_tokens + 40


def test_figures_are_final_when_upstream_says_why_it_stopped() -> None:
    """A stream that is left before that is billed by what was seen."""
    text = recorded("delta_twice", "lf")
    at = text.index(b"\n\n", text.index(b'"output_tokens":3')) + 2
    stream = MessageStream()
    run(stream, text[:at].splitlines(keepends=True))

    assert stream.usage is None
    assert stream.prompt_usage == TokenUsage(input=7)
    assert stream.output_tokens == 3
    assert stream.text == "One"
    run(stream, [text[at:]])
    assert stream.usage == TokenUsage(input=7, output=6)


def test_searches_are_told_as_pieces() -> None:
    stream = MessageStream()
    run(stream, [recorded("server_tool", "lf")])

    assert stream.units == UnitUsage(searches=1)


def delta(text: str) -> bytes:
    event = {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": text}}
    return b"event: content_block_delta\ndata: %b\n\n" % msgspec.json.encode(event)


def event(kind: str, **members: object) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (kind.encode(), msgspec.json.encode({"type": kind} | members))


def test_long_deltas_count_by_their_length_and_at_most_by_the_cap() -> None:
    stream, capped = MessageStream(), MessageStream(most_output=20)
    for watcher in (stream, capped):
        run(watcher, [delta("word" * 50)] * 10)

    assert 500 <= stream.output_tokens <= 520
    assert capped.output_tokens == 20


def test_the_text_of_a_long_stream_is_its_beginning_and_its_length() -> None:
    """Only the first of it is kept, and its characters are still about known."""
    stream = MessageStream()
    words = ["wörd " * 20] * (3 * MOST_KEPT // 200)
    run(stream, map(delta, words))

    assert "".join(words).startswith(stream.text)
    assert 0 < len(stream.text) < MOST_KEPT
    assert stream.output_chars == pytest.approx(len("".join(words)), rel=0.02)


def test_a_stream_without_names_of_events_is_read_by_the_types_in_them() -> None:
    text = recorded("plain", "lf")
    bare = b"".join(line for line in text.splitlines(keepends=True) if not line.startswith(b"event:"))
    stream = MessageStream()
    run(stream, [bare])

    assert stream.usage == TokenUsage(input=25, output=15)
    assert stream.finish() is None


def test_an_error_that_only_its_name_tells_is_one() -> None:
    stream = MessageStream()
    run(stream, [delta("a"), b'event: error\ndata: {"error":{"message":"slow"}}\n\n'])

    assert stream.is_error
    assert stream.finish() is None


def test_a_stop_that_upstream_left_unfinished_is_an_end() -> None:
    stream = MessageStream()
    run(stream, [delta("a"), event("message_stop")[:-1]])

    assert stream.finish() is None


@pytest.mark.parametrize(
    "last", [b": message_stop\n\n", b'xdata: {"type":"message_stop"}\n\n', delta('"message_stop"')]
)
def test_what_only_looks_like_the_end_is_none(last: bytes) -> None:
    """A comment, a field of another name, a text."""
    stream = MessageStream()
    run(stream, [delta("a"), last])

    assert not stream.saw_done
    assert stream.finish() == CUT


def test_an_empty_stream_was_cut() -> None:
    stream = MessageStream()

    assert stream.feed(b"") == b""
    assert stream.finish() == CUT
    assert not stream.saw_first_token
    assert (stream.output_tokens, stream.output_chars, stream.text) == (0, 0, "")
    assert stream.prompt_usage is None


def test_a_ping_is_no_token() -> None:
    stream = MessageStream()
    run(stream, [event("message_start", message={"id": "msg_1"}), *[event("ping")] * 3])

    assert stream.output_tokens == 0
    assert not stream.saw_first_token


def test_a_line_without_end_is_upstreams_fault() -> None:
    stream = MessageStream()
    with pytest.raises(UpstreamFailure) as caught:
        run(stream, [b"data: " + b"x" * 65536] * (LONGEST_PARTIAL // 65536 + 1))

    assert caught.value.kind == "upstream_invalid"


def test_a_frame_that_cannot_be_read_spoils_the_figures_and_nothing_else() -> None:
    deep = b'event: message_delta\ndata: {"usage":{"output_tokens":%b}}\n\n' % (b"[" * 10_000)
    stream = MessageStream()

    assert run(stream, [deep, event("message_stop")]) == deep + event("message_stop")
    assert stream.usage is None
    assert stream.why_no_usage.startswith("usage is not to be trusted: ")
    assert stream.finish() is None


def test_a_cut_stream_is_told_in_anthropics_dialect() -> None:
    event_bytes = MessageStream().error_event("upstream_cut", "upstream broke off")

    assert event_bytes.startswith(b"event: error\ndata: {")
    assert event_bytes.endswith(b"}\n\n")
    assert msgspec.json.decode(event_bytes.removeprefix(b"event: error\ndata: ")) == {
        "type": "error",
        "error": {"type": "api_error", "message": "[Weir] upstream broke off"},
    }


@given(
    st.lists(
        st.one_of(
            st.binary(max_size=30),
            st.sampled_from(
                [b"data: ", b"\n", b"\r", b'{"type":"message_start","message":{"usage":', b'"', b"}", b"1"]
            ),
            st.sampled_from(
                [
                    delta("a"),
                    event("message_stop"),
                    event("error", error=1),
                    event("message_delta", usage={"output_tokens": 2}, delta={"stop_reason": "end_turn"}),
                    event("message_start", message={"usage": {"input_tokens": 3, "output_tokens": 1}}),
                    b'data: {"usage":7,"output_tokens":[]}\n\n',
                ]
            ),
        ),
        max_size=30,
    ),
)
def test_no_bytes_break_the_watcher(chunks: list[bytes]) -> None:
    """Whatever comes, whole frames pass as they are."""
    stream = MessageStream()
    sent = run(stream, chunks)
    stream.finish()

    assert b"".join(chunks).startswith(sent)
    assert stream.output_tokens >= 0
    assert stream.output_chars >= 0
