"""The text of streams whose usage never came: exact for short ones, close for long ones, gone once usage is known."""

from collections.abc import Iterable
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.wire.format import MOST_SEEN_TEXT
from proxy.wire.openai_stream import ChatStream
from proxy.wire.seen_text import MOST_KEPT, SeenText, text_members

CASES = Path(__file__).parent / "cases"
ENDS = [b"\n", b"\r\n", b"\r"]
# The recorded chats that report no usage, and have text.
UNMETERED = ("plain", "error_midstream", "no_done", "cut_between_frames", "cut_in_frame")
USAGE = b'data: {"choices":[],"usage":{"prompt_tokens":1,"completion_tokens":1}}\n\n'


def frame(delta: dict[str, object], **members: object) -> bytes:
    chunk = {"id": "chatcmpl-1", "choices": [{"index": 0, "delta": delta}]} | members
    return b"data: %b\n\n" % msgspec.json.encode(chunk)


def seen(stream: ChatStream, chunks: Iterable[bytes]) -> str:
    for chunk in chunks:
        stream.feed(chunk)
    return stream.text


def texts_of(name: str) -> str:
    """By reading every frame."""
    found: list[str] = []
    for line in (CASES / f"{name}.sse").read_bytes().split(b"\n\n")[:-1]:
        if line.startswith(b"data: {"):
            for choice in msgspec.json.decode(line.removeprefix(b"data: ")).get("choices", []):
                found.append(choice["delta"].get("content") or "")
    return "".join(found)


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("name", UNMETERED)
def test_a_short_stream_s_text_is_exact_wherever_it_is_cut(name: str, end: bytes) -> None:
    raw = (CASES / f"{name}.sse").read_bytes().replace(b"\n", end)
    text = texts_of(name)
    assert text
    for at in range(len(raw) + 1):
        stream = ChatStream(hide_usage=True)

        assert seen(stream, (raw[:at], raw[at:])) == text
        assert stream.output_chars == len(text)


def test_calls_of_tools_and_reasoning_are_text_too() -> None:
    deltas: list[dict[str, object]] = [
        {"role": "assistant", "content": None, "refusal": None},
        {"reasoning_content": "Hm. "},
        {"tool_calls": [{"index": 0, "id": "call_1", "type": "function", "function": {"name": "f", "arguments": ""}}]},
        {"tool_calls": [{"index": 0, "function": {"arguments": '{"content":"x"}'}}]},
        {"refusal": "No"},
    ]

    assert seen(ChatStream(hide_usage=True), map(frame, deltas)) == 'Hm. f{"content":"x"}No'


def test_other_members_are_not_text() -> None:
    odd = frame({"content": "a"}, obfuscation="bcd", system_fingerprint="fp", service_tier="default")
    probable = odd.replace(b'"index":0', b'"index":0,"logprobs":{"content":[{"token":"a","bytes":[97],"logprob":-1}]}')

    assert seen(ChatStream(hide_usage=True), [odd, probable]) == "aa"


def test_spaces_around_the_colon_do_not_matter() -> None:
    assert seen(ChatStream(hide_usage=True), [b'data: {"choices": [{"delta": {"content" : "a"}}]}\n\n']) == "a"


def test_a_text_cannot_imitate_a_member() -> None:
    for text in ('"content":"x"', '\\"content":"x"', '{"content":"x"}', "\\", '"', '\\"'):
        assert seen(ChatStream(hide_usage=True), [frame({"content": text})]) == text


def test_a_character_in_two_halves_is_one() -> None:
    halves = [b'data: {"choices":[{"delta":{"content":"\\ud8%b"}}]}\n\n' % half for half in (b"3d", b"00")]
    halves[1] = halves[1].replace(b"\\ud800", b"\\udc4b")

    assert seen(ChatStream(hide_usage=True), halves) == "\U0001f44b"
    assert seen(ChatStream(hide_usage=True), halves[:1])  # the half alone is no text, but it breaks nothing


def test_once_usage_is_known_there_is_no_text() -> None:
    stream = ChatStream(hide_usage=True)
    seen(
        stream, [frame({"content": "a"}), b'data: {"choices":[],"usage":{"prompt_tokens":1,"completion_tokens":1}}\n\n']
    )

    assert (seen(stream, [frame({"content": "b"})]), stream.output_chars) == ("", 0)


def test_usage_that_is_not_trusted_leaves_the_text() -> None:
    stream = ChatStream(hide_usage=True)

    assert seen(stream, [frame({"content": "a"}), b'data: {"usage":{"completion_tokens":-1}}\n\n']) == "a"


@pytest.mark.parametrize("members", [{}, {"obfuscation": "x" * 16}])
def test_a_long_stream_is_kept_in_part_and_counted_whole(members: dict[str, object]) -> None:
    words = [f" word{'s' * (number % 7)}" for number in range(5000)]
    stream = ChatStream(hide_usage=True)
    text = seen(stream, [frame({"content": word}, **members) for word in words])
    whole = "".join(words)

    assert whole.startswith(text)
    assert 100 < len(text) < MOST_KEPT
    assert abs(stream.output_chars - len(whole)) < len(whole) * 0.1
    assert sum(map(len, stream._blocks)) <= 2 * MOST_KEPT


def test_what_grows_later_is_counted_by_its_length() -> None:
    stream = ChatStream(hide_usage=True)
    seen(stream, [frame({"content": "a"})] * 1000 + [frame({"content": "word" * 100})] * 100)

    assert abs(stream.output_chars - 41_000) < 4_000


def test_a_frame_of_a_mebibyte_is_not_kept_whole() -> None:
    stream = ChatStream(hide_usage=True)
    text = seen(stream, [frame({"content": "x" * 1_000_000})] * 3)

    assert len(text) == MOST_SEEN_TEXT
    assert abs(stream.output_chars - 3_000_000) < 1000


def test_asking_early_changes_nothing() -> None:
    stream = ChatStream(hide_usage=True)

    assert (stream.text, stream.output_chars) == ("", 0)
    assert seen(stream, [frame({"content": "a"})]) == "a"
    assert seen(stream, [frame({"content": "b"})]) == "ab"


@given(st.binary(max_size=200), st.sampled_from([b'"delta":"', b"", b'"delta" : "\\ud800']))
def test_no_bytes_break_it(junk: bytes, before: bytes) -> None:
    text = SeenText(text_members("delta"))
    text.keep([before, junk, b'"'], 1)

    assert len(text.text()) == text.chars(1, len(before) + len(junk) + 1)
