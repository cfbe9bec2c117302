"""The legacy text completion and the count of tokens: calls, answers, streams; and the text of all these bodies."""

from collections.abc import Iterable
from itertools import pairwise
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.wire import FORMATS, Answer, Call
from proxy.wire.anthropic_complete import CompletionStream
from proxy.wire.body import BodyError
from proxy.wire.format import MOST_SEEN_TEXT
from proxy.wire.openai_members import TOKENS_PER_CALL
from shared.usage import NO_USAGE

COMPLETE, COUNT, MESSAGES = (FORMATS[f"anthropic_{name}"] for name in ("complete", "count_tokens", "messages"))
PROMPT = "\n\nHuman: Hello\n\nAssistant:"


def body_of(**members: Any) -> bytes:
    return msgspec.json.encode({"model": "claude-2.1", "prompt": PROMPT, "max_tokens_to_sample": 256} | members)


def test_a_call_is_what_its_body_says() -> None:
    body = body_of(stream=True, metadata={"user_id": "u-1"}, temperature=1, stop_sequences=["x"])

    assert COMPLETE.read_call(body) == Call(
        requested_model="claude-2.1",
        is_stream=True,
        user_id="u-1",
        output_cap=256,
        prompt_bound=len(body) + TOKENS_PER_CALL,
    )


REFUSED: dict[str, bytes] = {
    "no model": msgspec.json.encode({"prompt": PROMPT, "max_tokens_to_sample": 1}),
    "no cap": msgspec.json.encode({"prompt": PROMPT, "model": "claude-2.1"}),
    "cap of 0": body_of(max_tokens_to_sample=0),
    "stream a number": body_of(stream=1),
    "user a list": body_of(metadata={"user_id": []}),
    "cap twice": body_of().replace(b'"model"', b'"max_tokens_to_sample":1,"model"'),
    "model twice": body_of().replace(b'"prompt"', b'"model":"b","prompt"'),
    "metadata twice": body_of(metadata={"user_id": "u"}).replace(b'"prompt"', b'"metadata":{},"prompt"'),
    "Model": body_of(Model="b"),
    "User_id": body_of(metadata={"User_id": "u"}),
    "10,000 levels": b'{"model":"m","max_tokens_to_sample":1,"prompt":' + b"[" * 10_000,
    "not UTF-8": body_of().replace(b"Hello", b"\xff"),
    "not JSON": b"{",
}


@pytest.mark.parametrize("body", REFUSED.values(), ids=REFUSED.keys())
def test_a_body_that_is_no_call_is_refused(body: bytes) -> None:
    with pytest.raises(BodyError):
        COMPLETE.read_call(body)


def test_an_answer_has_no_usage_but_a_text() -> None:
    body = (
        b'{"type":"completion","id":"compl_1","completion":" Hi!","stop_reason":"stop_sequence","model":"claude-2.1"}'
    )

    answer = COMPLETE.read_answer(body)
    assert answer == Answer(None, "compl_1", "claude-2.1", why_no_usage="the endpoint reports none")
    assert COMPLETE.answer_text(body) == " Hi!"
    assert COMPLETE.prompt_text(body_of()) == PROMPT


def test_an_error_with_status_200_cost_nothing() -> None:
    assert COMPLETE.read_answer(b'{"type":"error","error":{"type":"api_error","message":"m"}}').usage == NO_USAGE


@pytest.mark.parametrize("body", [b"", b"7", b"[]", b"\xff", b"[" * 10_000])
def test_an_answer_that_cannot_be_read_says_so(body: bytes) -> None:
    assert COMPLETE.read_answer(body).why_no_usage.startswith("upstream's answer cannot be read: ")
    assert COMPLETE.answer_text(body) == ""


def event(text: str, reason: str | None = None) -> bytes:
    data = {"type": "completion", "id": "compl_1", "completion": text, "stop_reason": reason, "model": "claude-2.1"}
    return b"event: completion\r\ndata: %b\r\n\r\n" % msgspec.json.encode(data)


PING = b'event: ping\r\ndata: {"type": "ping"}\r\n\r\n'
ERROR = b'event: error\r\ndata: {"error":{"type":"overloaded_error","message":"Overloaded"}}\r\n\r\n'
STREAM = event(" He") + PING + event("llo — 日本") + event("") + event("", "stop_sequence")


def run(stream: CompletionStream, chunks: Iterable[bytes]) -> bytes:
    return b"".join(map(stream.feed, chunks))


@given(st.sampled_from([b"\r\n", b"\n", b"\r"]), st.lists(st.integers(0, len(STREAM)), max_size=30))
def test_a_stream_passes_however_it_is_cut(end: bytes, places: list[int]) -> None:
    text = STREAM.replace(b"\r\n", end)
    edges = [0, *sorted(min(place, len(text)) for place in places), len(text)]
    stream = CompletionStream()

    assert run(stream, (text[a:b] for a, b in pairwise(edges))) == text
    assert stream.finish() is None
    assert stream.saw_done
    assert stream.usage is None
    assert (stream.response_id, stream.response_model) == ("compl_1", "claude-2.1")
    assert stream.text == " Hello — 日本"
    assert stream.output_chars == len(stream.text)
    assert stream.output_tokens == 2


def test_a_stream_without_a_reason_for_its_end_was_cut() -> None:
    stream = CompletionStream()
    run(stream, [event(" He"), event("llo")])

    assert stream.finish() == "upstream ended before the answer was complete"


def test_a_stream_that_ends_in_an_error_has_ended() -> None:
    stream = CompletionStream()
    run(stream, [event(" He"), ERROR])

    assert stream.is_error
    assert stream.finish() is None


def test_long_texts_count_by_their_length_and_at_most_by_the_cap() -> None:
    stream, capped = CompletionStream(), CompletionStream(most_output=9)
    for watcher in (stream, capped):
        run(watcher, [event("word" * 25_000)] * 4)

    assert stream.output_tokens == stream.output_chars // 4 == 100_000
    assert len(stream.text) == MOST_SEEN_TEXT
    assert sum(map(len, stream._texts)) < MOST_SEEN_TEXT + 100_000
    assert capped.output_tokens == 9


@given(st.lists(st.binary(max_size=20) | st.sampled_from([event("a"), PING, b"data: 7\n\n", b"data: {\n\n"])))
def test_no_bytes_break_the_watcher(chunks: list[bytes]) -> None:
    stream = CompletionStream()
    sent = run(stream, chunks)
    stream.finish()

    assert b"".join(chunks).startswith(sent)


def test_a_count_of_tokens_reads_the_model_and_the_files() -> None:
    body = msgspec.json.encode(
        {
            "model": "claude-opus-4-5",
            "messages": [
                {"role": "user", "content": [{"type": "document", "source": {"type": "file", "file_id": "file_1"}}]}
            ],
        }
    )

    assert COUNT.read_call(body) == Call(requested_model="claude-opus-4-5", object_ids=("file_1",))
    with pytest.raises(BodyError):
        COUNT.read_call(b'{"messages":[]}')


def test_the_text_of_a_prompt_is_what_a_tokenizer_would_see() -> None:
    body = {
        "model": "claude-opus-4-5",
        "max_tokens": 5,
        "messages": [
            {"role": "user", "content": "one"},
            {
                "role": "assistant",
                "content": [
                    {"type": "thinking", "thinking": "two", "signature": "EqQB"},
                    {"type": "tool_use", "id": "toolu_1", "name": "three", "input": {"city": "four"}},
                ],
            },
            {
                "role": "user",
                "content": [
                    {
                        "type": "tool_result",
                        "tool_use_id": "toolu_1",
                        "content": [
                            {"type": "text", "text": "five", "cache_control": {"type": "ephemeral"}},
                            {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "iVBO"}},
                        ],
                    },
                    {"type": "document", "title": "six", "source": {"type": "text", "data": "seven"}},
                    {"type": "document", "source": {"type": "content", "content": [{"type": "text", "text": "eight"}]}},
                    {"type": "document", "source": {"type": "url", "url": "https://x/y.pdf"}},
                ],
            },
        ],
        "system": [{"type": "text", "text": "nine"}],
        "tools": [{"name": "three", "description": "ten", "input_schema": {"type": "object"}}],
    }
    text = MESSAGES.prompt_text(msgspec.json.encode(body))

    assert text.split("\n") == [
        "nine", "three", "ten", '{"type":"object"}', "one", "two", "three", '{"city":"four"}', "five", "six", "seven",
        "eight",
    ]  # fmt: skip
    answer = {"content": [{"type": "text", "text": "one"}, {"type": "tool_use", "name": "two", "input": {}}]}
    assert MESSAGES.answer_text(msgspec.json.encode(answer)) == "one\ntwo\n{}"


@pytest.mark.parametrize("body", [b"", b"7", b"[]", b"\xff", b"[" * 10_000, b'{"messages":7,"system":{"text":1}}'])
def test_a_body_without_text_has_none(body: bytes) -> None:
    assert MESSAGES.prompt_text(body) == MESSAGES.answer_text(body) == ""
