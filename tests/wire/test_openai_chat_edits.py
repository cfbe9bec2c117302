"""The body that goes upstream, and what is read from whole answers."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.wire import FORMATS, Call
from proxy.wire.body import BodyError
from shared.usage import TokenUsage

CHAT = FORMATS["openai_chat"]

USAGE = b'"stream_options":{"include_usage":true}'
# (body, model, cap) -> what upstream gets.
FORWARDED: dict[str, tuple[bytes, str | None, int | None, bytes]] = {
    "plain": (b'{"model":"a","messages":[]}', None, None, b'{"model":"a","messages":[]}'),
    "same model": (b'{"model":"a","messages":[]}', "a", None, b'{"model":"a","messages":[]}'),
    "alias": (b'{"x": 1.0, "model" : "a","messages":[]}', "b", None, b'{"x": 1.0, "model" : "b","messages":[]}'),
    "alias, escaped name": (
        b'{"mod\\u0065l":"a","messages":[]}',
        "\u00e9",
        None,
        '{"mod\\u0065l":"\u00e9","messages":[]}'.encode(),
    ),
    "stream": (
        b'{"model":"a","messages":[],"stream":true}\n',
        None,
        None,
        b'{"model":"a","messages":[],"stream":true,%b}\n' % USAGE,
    ),
    "stream that asks": (
        b'{"model":"a","messages":[],"stream":true,"stream_options":{ "include_usage":true}}',
        None,
        None,
        b'{"model":"a","messages":[],"stream":true,"stream_options":{ "include_usage":true}}',
    ),
    "stream that declines": (
        b'{"stream_options":{"x":1 ,"include_usage": false},"stream":true,"model":"a","messages":[]}',
        None,
        None,
        b'{"stream_options":{"x":1 ,"include_usage": true},"stream":true,"model":"a","messages":[]}',
    ),
    "stream with null options": (
        b'{"stream_options":null,"stream":true,"model":"a","messages":[]}',
        None,
        None,
        b'{%b,"stream":true,"model":"a","messages":[]}' % USAGE,
    ),
    "stream with escaped options": (
        b'{"stream\\u005foptions":{},"stream":true,"model":"a","messages":[]}',
        None,
        None,
        b'{"stream\\u005foptions":{"include_usage":true},"stream":true,"model":"a","messages":[]}',
    ),
    "not a stream": (
        b'{"model":"a","messages":[],"stream":false,"stream_options":null}',
        None,
        None,
        b'{"model":"a","messages":[],"stream":false,"stream_options":null}',
    ),
    "cap added": (
        b'{"model":"a","messages":[]}',
        None,
        5,
        b'{"model":"a","messages":[],"max_completion_tokens":5}',
    ),
    "cap lowered": (
        b'{"max_tokens": 100,"model":"a","messages":[]}',
        None,
        5,
        b'{"max_tokens": 5,"model":"a","messages":[]}',
    ),
    "cap not raised": (
        b'{"max_tokens":3,"model":"a","messages":[]}',
        None,
        5,
        b'{"max_tokens":3,"model":"a","messages":[]}',
    ),
    "both caps": (
        b'{"max_tokens":9,"model":"a","messages":[],"max_completion_tokens":9}',
        None,
        5,
        b'{"max_tokens":5,"model":"a","messages":[],"max_completion_tokens":5}',
    ),
    "null caps": (
        b'{"max_tokens":null,"max_completion_tokens":null,"model":"a","messages":[]}',
        None,
        5,
        b'{"max_tokens":null,"max_completion_tokens":5,"model":"a","messages":[]}',
    ),
    "all at once": (
        b'{"messages":[ ],"model":"a","max_tokens":9,"stream":true}',
        "b",
        5,
        b'{"messages":[ ],"model":"b","max_tokens":5,"stream":true,%b}' % USAGE,
    ),
}


@pytest.mark.parametrize(("body", "model", "cap", "expected"), FORWARDED.values(), ids=FORWARDED.keys())
def test_upstream_gets_the_body_with_no_more_edits_than_needed(
    body: bytes, model: str | None, cap: int | None, expected: bytes
) -> None:
    forwarded = CHAT.forward(CHAT.read_call(body), body, model, cap)

    assert forwarded == expected
    assert (forwarded is body) == (forwarded == body and cap is None)


@pytest.mark.parametrize(
    "options",
    [
        b'{"include_usage":true,"include_usage":false}',
        b'{"include_usage":false,"include_usage":true}',
        b'{"include_usage":true,"include\\u005fusage":true}',
        b'{"include_usage":true,"Include_Usage":false}',
        b'{"include_u\\u017fage":true}',
        b'{"include_usage":true,"x":1,"x":2}',
        b'{},"stream_options":{"include_usage":true}',
        b'{"include_usage":true},"stream_options":null',
        b'null,"stream_options":{"include_usage":true}',
        b'null,"stream_options":null',
        b'null,"Stream_Options":{"include_usage":true}',
    ],
)
def test_options_that_two_readers_may_read_differently_are_refused(options: bytes) -> None:
    """Else upstream may report no usage where it counts as asked for."""
    body = b'{"model":"a","messages":[],"stream":true,"stream_options":%b}' % options

    with pytest.raises(BodyError):
        CHAT.read_call(body)


ANSWER = (
    b'{"id":"chatcmpl-B9MBs8CjcvOLX2n4n574qct0oZT2k","object":"chat.completion","created":1741569952,'
    b'"model":"gpt-4.1-2025-04-14","choices":[{"index":0,"message":{"role":"assistant","content":"Hello!"},'
    b'"finish_reason":"stop"}],"usage":{"prompt_tokens":19,"completion_tokens":10,"total_tokens":29},'
    b'"service_tier":"default"}'
)


def test_an_answer_is_read_for_its_usage_and_names() -> None:
    answer = CHAT.read_answer(ANSWER)

    assert answer.usage == TokenUsage(input=19, output=10)
    assert answer.response_id == "chatcmpl-B9MBs8CjcvOLX2n4n574qct0oZT2k"
    assert answer.response_model == "gpt-4.1-2025-04-14"
    assert answer.service_tier == "default"
    assert answer.why_no_usage == ""


UNREADABLE = [
    b"",
    b"<html>",
    b"[]",
    b'{"usage":',
    b'{"a":' + b"[" * 100_000,
    b'{"id":"\xff"}',
    b'{"id":%b}' % (b"9" * 5000),
]


@pytest.mark.parametrize("body", UNREADABLE)
def test_an_answer_that_cannot_be_read_has_no_usage_and_says_why(body: bytes) -> None:
    answer = CHAT.read_answer(body)

    assert answer.usage is None
    assert answer.why_no_usage


def test_an_answer_of_odd_types_keeps_what_can_be_kept() -> None:
    answer = CHAT.read_answer(
        b'{"id":7,"model":null,"service_tier":["x"],"usage":{"prompt_tokens":1,"completion_tokens":2}}'
    )

    assert answer.usage == TokenUsage(input=1, output=2)
    assert (answer.response_id, answer.response_model, answer.service_tier) == ("", "", "")


PARTS = b'{"model":"m","messages":[{"role":"user","content":[{"type":"text","text":"a"},{"type":"%b"}]}]}'
SEEDS = [PARTS % b"text", PARTS % b"image\\u005furl", *(row[0] for row in FORWARDED.values()), ANSWER]


@given(st.sampled_from(SEEDS), st.integers(0, 400), st.integers(0, 12), st.binary(max_size=12))
def test_no_bytes_raise_anything_but_a_refusal(seed: bytes, at: int, length: int, junk: bytes) -> None:
    """Valid bodies with a piece replaced, read, forwarded and taken for an answer."""
    body = seed[:at] + junk + seed[at + length :]
    CHAT.read_answer(body)
    try:
        call = CHAT.read_call(body)
        forwarded = CHAT.forward(call, body, "other", 5)
    except BodyError:
        return
    again = CHAT.read_call(forwarded)
    assert again.requested_model == "other"
    assert again.output_cap is not None
    assert again.output_cap <= 5
    assert again.asked_usage or not call.is_stream
    assert again.is_unbounded == call.is_unbounded


def test_a_call_without_a_body_is_empty_and_free_of_usage() -> None:
    none = FORMATS["none"]
    call = none.read_call(b"anything")

    assert call == Call()
    assert none.forward(call, b"anything", None, None) == b""
    assert none.read_answer(ANSWER).usage is None
    stream = none.open_stream(call)
    assert stream.feed(b"data: 1\n\ndata") == b"data: 1\n\n"
    assert stream.finish() == "upstream ended in the middle of a frame"
