"""Frames, against a byte-at-a-time model of WHATWG's rules."""

import random
import time
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.wire.sse import LONGEST_PARTIAL, FrameSplitter, FrameTooLong, frame_at, iter_data

# Streams made of what matters to framing, so that chance finds the odd mixes.
streams = st.lists(st.sampled_from([b"\n", b"\r", b"\r\n", b"data: x", b"a", b":", b"\xef\xbb\xbf"])).map(b"".join)


def complete_length(stream: bytes) -> int:
    """How much of a stream is whole frames: up to its last empty line, and the LF of a CRLF that ends it."""
    end, is_line_empty, after_cr = 0, True, False
    for at, byte in enumerate(stream, 1):
        if byte == 0x0A and after_cr:
            end = at if end == at - 1 else end
            after_cr = False
        elif byte in (0x0A, 0x0D):
            end = at if is_line_empty else end
            is_line_empty, after_cr = True, byte == 0x0D
        else:
            is_line_empty, after_cr = False, False
    return end


def cut(stream: bytes, places: list[int]) -> list[bytes]:
    edges = [0, *sorted(place % (len(stream) + 1) for place in places), len(stream)]
    return [stream[a:b] for a, b in pairwise(edges)]


@given(streams, st.lists(st.integers(0, 10_000), max_size=12))
def test_whole_frames_leave_at_once_and_the_rest_waits(stream: bytes, places: list[int]) -> None:
    """After every chunk, exactly the frames that are complete by then have left, byte for byte."""
    splitter, sent, fed = FrameSplitter(), b"", b""
    for chunk in cut(stream, places):
        sent += splitter.feed(chunk)
        fed += chunk

        assert sent == fed[: complete_length(fed)]
        assert sent + splitter.partial == fed


@given(streams)
def test_every_byte_may_come_alone(stream: bytes) -> None:
    splitter = FrameSplitter()

    sent = b"".join(splitter.feed(stream[at : at + 1]) for at in range(len(stream)))

    assert sent == stream[: complete_length(stream)]


def test_a_chunk_that_ends_with_a_frame_is_not_copied() -> None:
    chunk = b"data: 1\n\ndata: 2\n\n"

    assert FrameSplitter().feed(chunk) is chunk


@pytest.mark.parametrize("end", [b"\n\n", b"\r\r", b"\r\n\r\n", b"\n\r\n", b"\r\n\n", b"\n\r", b"\r\n\r"])
def test_every_kind_of_empty_line_ends_a_frame(end: bytes) -> None:
    splitter = FrameSplitter()

    assert splitter.feed(b"data: 1" + end) == b"data: 1" + end
    assert splitter.partial == b""


def test_the_line_feed_of_a_cut_crlf_follows_its_frame() -> None:
    splitter = FrameSplitter()

    assert splitter.feed(b"data: 1\r\n\r") == b"data: 1\r\n\r"
    assert splitter.feed(b"\ndata: 2") == b"\n"
    assert splitter.feed(b"\r\n\r\n") == b"data: 2\r\n\r\n"


def test_a_partial_frame_may_be_one_mebibyte_and_no_more() -> None:
    splitter = FrameSplitter()
    splitter.feed(b"x" * LONGEST_PARTIAL)

    with pytest.raises(FrameTooLong) as caught:
        splitter.feed(b"x")

    assert caught.value.kind == "upstream_invalid"


def cpu_seconds_to_feed(size: int, chunk: bytes) -> float:
    splitter = FrameSplitter()
    began = time.thread_time()
    for _ in range(size // len(chunk)):
        splitter.feed(chunk)
    return time.thread_time() - began


@pytest.mark.parametrize("chunk", [b"x", b"\r\n:", b"x" * 1000], ids=["bytes", "lines", "kilobytes"])
def test_a_hostile_line_costs_linear_time(chunk: bytes) -> None:
    """Eight times the bytes take about eight times the time: waiting bytes are never scanned again."""
    small = min(cpu_seconds_to_feed(32 * 1024, chunk) for _ in range(3))
    large = min(cpu_seconds_to_feed(256 * 1024, chunk) for _ in range(2))

    assert large < 24 * small


DATA = [
    (b"data: a\n\n", [("", b"a")]),
    (b"data:a\r\rdata:  b\r\r", [("", b"a"), ("", b" b")]),
    (b"\xef\xbb\xbfdata: a\r\n\r\n", [("", b"a")]),
    (b": comment\n\ndata: a\n\n", [("", b"a")]),
    (b"event: error\nid: 1\ndata: a\ndata: b\n\ndata: c\n\n", [("error", b"a\nb"), ("", b"c")]),
    (b"event: lonely\n\ndata\n\n", [("", b"")]),
    (b"data: last, unfinished", [("", b"last, unfinished")]),
    (b"data: \xe2\x80\xa8 is no line end\n\n", [("", b"\xe2\x80\xa8 is no line end")]),
]


@pytest.mark.parametrize(("block", "expected"), DATA)
def test_data_is_read_as_the_standard_says(block: bytes, expected: list[tuple[str, bytes]]) -> None:
    assert list(iter_data(block)) == expected


@given(st.binary(max_size=60))
def test_any_bytes_can_be_read_as_frames(block: bytes) -> None:
    for event, data in iter_data(block):
        assert isinstance(event, str)
        assert b"\r" not in data


@pytest.mark.parametrize("end", [b"\n\n", b"\r\n\r\n", b"\r\r"])
def test_the_frame_around_an_offset_is_found(end: bytes) -> None:
    """Empty lines between two frames belong to neither."""
    frames = [b"data: %d" % number + end for number in range(5)]
    gap = end[: len(end) // 2]
    block = gap + frames[0] + frames[1] + gap + frames[2] + gap + gap + frames[3] + frames[4]
    for number, frame in enumerate(frames):
        start, stop = frame_at(block, block.index(b"data: %d" % number) + 3)

        assert block[start:stop] == frame


def test_random_streams_survive_random_cuts() -> None:
    chance = random.Random(7)
    ends = [b"\n\n", b"\r\n\r\n", b"\r\r"]
    for _ in range(200):
        stream = b"".join(b"data: %d" % n + chance.choice(ends) for n in range(chance.randrange(20)))
        splitter = FrameSplitter()
        places = [chance.randrange(len(stream) + 1) for _ in range(chance.randrange(30))]

        assert b"".join(map(splitter.feed, cut(stream, places))) == stream
