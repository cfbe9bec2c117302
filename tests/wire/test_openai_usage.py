"""OpenAI's usage figures: disjoint classes, or nothing."""

import msgspec
import pytest

from proxy.wire.openai_usage import LARGEST_COUNT, clean_text, read_responses_usage, read_usage
from shared.usage import TokenUsage

REPORTED = {
    # The API reference's example of a plain answer.
    "plain": (
        b'{"prompt_tokens":19,"completion_tokens":10,"total_tokens":29,'
        b'"prompt_tokens_details":{"cached_tokens":0,"audio_tokens":0},'
        b'"completion_tokens_details":{"reasoning_tokens":0,"audio_tokens":0,'
        b'"accepted_prediction_tokens":0,"rejected_prediction_tokens":0}}',
        TokenUsage(input=19, output=10),
    ),
    "bare": (b'{"prompt_tokens":3,"completion_tokens":4,"total_tokens":7}', TokenUsage(input=3, output=4)),
    "null details": (
        b'{"prompt_tokens":3,"completion_tokens":4,"prompt_tokens_details":null,"completion_tokens_details":null}',
        TokenUsage(input=3, output=4),
    ),
    # The prompt caching guide: 1,920 of 2,006 prompt tokens were read from the cache.
    "cached": (
        b'{"prompt_tokens":2006,"completion_tokens":300,"total_tokens":2306,'
        b'"prompt_tokens_details":{"cached_tokens":1920},"completion_tokens_details":{"reasoning_tokens":0}}',
        TokenUsage(input=86, cached_input=1920, output=300),
    ),
    # The same guide: 2,000 read, 400 written, 200 neither.
    "cache written": (
        b'{"prompt_tokens":2600,"completion_tokens":300,'
        b'"prompt_tokens_details":{"cached_tokens":2000,"cache_write_tokens":400}}',
        TokenUsage(input=200, cached_input=2000, cache_write_5m=400, output=300),
    ),
    # Of 400 written, 150 are kept for 12 hours.
    "cache written for longer": (
        b'{"prompt_tokens":2600,"completion_tokens":300,"prompt_tokens_details":{"cached_tokens":2000,'
        b'"cache_write_tokens":400,"cache_write_tokens_details":{"ttl_12h_tokens":150,"ttl_30m_tokens":250}}}',
        TokenUsage(input=200, cached_input=2000, cache_write_5m=250, cache_write_1h=150, output=300),
    ),
    "all cached": (
        b'{"prompt_tokens":100,"completion_tokens":0,"prompt_tokens_details":{"cached_tokens":100}}',
        TokenUsage(cached_input=100),
    ),
    "reasoning": (
        b'{"prompt_tokens":81,"completion_tokens":1035,"completion_tokens_details":{"reasoning_tokens":832}}',
        TokenUsage(input=81, output=203, reasoning=832),
    ),
    # Rejected predictions are within completion_tokens, so they are output as any other.
    "predictions": (
        b'{"prompt_tokens":10,"completion_tokens":50,"completion_tokens_details":'
        b'{"reasoning_tokens":0,"accepted_prediction_tokens":20,"rejected_prediction_tokens":9}}',
        TokenUsage(input=10, output=50),
    ),
    "audio": (
        b'{"prompt_tokens":100,"completion_tokens":60,"prompt_tokens_details":{"cached_tokens":0,"audio_tokens":70},'
        b'"completion_tokens_details":{"audio_tokens":40}}',
        TokenUsage(input=30, audio_input=70, output=20, audio_output=40),
    ),
    "audio from the cache": (
        b'{"prompt_tokens":100,"completion_tokens":1,"prompt_tokens_details":{"cached_tokens":80,"audio_tokens":70}}',
        TokenUsage(cached_input=80, audio_input=20, output=1),
    ),
    "unknown members": (
        b'{"prompt_tokens":1,"completion_tokens":2,"queue_time":0.05,"prompt_tokens_details":{"image_tokens":1}}',
        TokenUsage(input=1, output=2),
    ),
    "largest": (b'{"prompt_tokens":%d,"completion_tokens":0}' % LARGEST_COUNT, TokenUsage(input=LARGEST_COUNT)),
}

NOT_TRUSTED = {
    "negative": b'{"prompt_tokens":-1,"completion_tokens":1}',
    "fraction": b'{"prompt_tokens":1.5,"completion_tokens":1}',
    "whole fraction": b'{"prompt_tokens":1.0,"completion_tokens":1}',
    "exponent": b'{"prompt_tokens":1e3,"completion_tokens":1}',
    "text": b'{"prompt_tokens":"1","completion_tokens":1}',
    "boolean": b'{"prompt_tokens":true,"completion_tokens":1}',
    "null": b'{"prompt_tokens":null,"completion_tokens":1}',
    "no prompt": b'{"completion_tokens":1}',
    "no completion": b'{"prompt_tokens":1}',
    "too large": b'{"prompt_tokens":1,"completion_tokens":%d}' % (LARGEST_COUNT + 1),
    "far too large": b'{"prompt_tokens":1,"completion_tokens":%b}' % (b"9" * 10_000),
    "more cached than prompt": b'{"prompt_tokens":5,"completion_tokens":1,"prompt_tokens_details":{"cached_tokens":6}}',
    "more cached and written than prompt": b'{"prompt_tokens":5,"completion_tokens":1,'
    b'"prompt_tokens_details":{"cached_tokens":3,"cache_write_tokens":3}}',
    "more audio than prompt": b'{"prompt_tokens":5,"completion_tokens":1,"prompt_tokens_details":{"audio_tokens":6}}',
    "more reasoning than completion": b'{"prompt_tokens":5,"completion_tokens":1,'
    b'"completion_tokens_details":{"reasoning_tokens":2}}',
    "more written for longer than written": b'{"prompt_tokens":500,"completion_tokens":1,"prompt_tokens_details":'
    b'{"cache_write_tokens":4,"cache_write_tokens_details":{"ttl_12h_tokens":5}}}',
    "negative detail": b'{"prompt_tokens":5,"completion_tokens":1,"prompt_tokens_details":{"cached_tokens":-2}}',
    "details of another type": b'{"prompt_tokens":5,"completion_tokens":1,"prompt_tokens_details":[]}',
    "list": b"[1,2]",
    "not an object": b"7",
}


@pytest.mark.parametrize(("raw", "expected"), REPORTED.values(), ids=REPORTED.keys())
def test_each_token_is_counted_in_one_class(raw: bytes, expected: TokenUsage) -> None:
    usage, why = read_usage(raw)

    assert usage == expected
    assert why == ""
    figures = msgspec.json.decode(raw)
    assert usage.prompt_tokens == figures["prompt_tokens"]
    assert usage.completion_tokens == figures["completion_tokens"]


@pytest.mark.parametrize("raw", NOT_TRUSTED.values(), ids=NOT_TRUSTED.keys())
def test_figures_that_cannot_be_true_are_not_trusted(raw: bytes) -> None:
    usage, why = read_usage(raw)

    assert usage is None
    assert why.startswith("usage is not to be trusted: ")


def as_a_response(raw: bytes) -> bytes:
    return raw.replace(b'"prompt_tokens', b'"input_tokens').replace(b'"completion_tokens', b'"output_tokens')


@pytest.mark.parametrize(("raw", "expected"), REPORTED.values(), ids=REPORTED.keys())
def test_a_response_reports_the_same_by_other_names(raw: bytes, expected: TokenUsage) -> None:
    assert read_responses_usage(as_a_response(raw)) == (expected, "")


@pytest.mark.parametrize("raw", NOT_TRUSTED.values(), ids=NOT_TRUSTED.keys())
def test_a_response_s_figures_that_cannot_be_true_are_not_trusted(raw: bytes) -> None:
    usage, why = read_responses_usage(as_a_response(raw))

    assert usage is None
    assert why.startswith("usage is not to be trusted: ")


@pytest.mark.parametrize("raw", [b"", b"null", msgspec.Raw(b""), msgspec.Raw(b"null")])
def test_no_usage_is_told_apart_from_bad_usage(raw: bytes | msgspec.Raw) -> None:
    assert read_usage(raw) == (None, "upstream reported no usage")


@pytest.mark.parametrize("value", [None, 7, ["x"], {"a": 1}, "x" * 257, "a\x00b"])
def test_ids_that_cannot_be_kept_are_dropped(value: object) -> None:
    assert clean_text(value) == ""
    assert clean_text("chatcmpl-1") == "chatcmpl-1"
