"""Usage as Anthropic reports it, in disjoint classes."""

import msgspec
import pytest

from proxy.wire import FORMATS, Answer
from proxy.wire.anthropic_usage import LARGEST_COUNT, UsageCounts, prompt_of, read_counts, usage_of
from shared.usage import NO_UNITS, NO_USAGE, TokenUsage, UnitUsage

MESSAGES = FORMATS["anthropic_messages"]

REPORTED: dict[str, tuple[bytes, TokenUsage]] = {
    "plain": (b'{"input_tokens":10,"output_tokens":3}', TokenUsage(input=10, output=3)),
    "nulls": (
        b'{"input_tokens":10,"output_tokens":3,"cache_creation":null,"cache_read_input_tokens":null,'
        b'"cache_creation_input_tokens":null,"output_tokens_details":null,"server_tool_use":null,"iterations":null}',
        TokenUsage(input=10, output=3),
    ),
    # The guide to prompt caching: what is cached is not in input_tokens.
    "read": (
        b'{"input_tokens":50,"cache_read_input_tokens":100000,"cache_creation_input_tokens":0,"output_tokens":503}',
        TokenUsage(input=50, cached_input=100_000, output=503),
    ),
    "written, of no told lifetime": (
        b'{"input_tokens":1,"cache_creation_input_tokens":248,"output_tokens":5}',
        TokenUsage(input=1, cache_write_5m=248, output=5),
    ),
    "written, of both lifetimes": (
        b'{"input_tokens":2048,"cache_read_input_tokens":1800,"cache_creation_input_tokens":248,"output_tokens":503,'
        b'"cache_creation":{"ephemeral_5m_input_tokens":148,"ephemeral_1h_input_tokens":100}}',
        TokenUsage(input=2048, cached_input=1800, cache_write_5m=148, cache_write_1h=100, output=503),
    ),
    "written, and no total": (
        b'{"input_tokens":1,"output_tokens":5,"cache_creation":{"ephemeral_1h_input_tokens":100}}',
        TokenUsage(input=1, cache_write_1h=100, output=5),
    ),
    # What the parts leave out is billed as the dearer of what was written at all.
    "written, more than the parts": (
        b'{"input_tokens":1,"output_tokens":5,"cache_creation_input_tokens":300,'
        b'"cache_creation":{"ephemeral_5m_input_tokens":148,"ephemeral_1h_input_tokens":100}}',
        TokenUsage(input=1, cache_write_5m=148, cache_write_1h=152, output=5),
    ),
    "thinking": (
        b'{"input_tokens":1,"output_tokens":500,"output_tokens_details":{"thinking_tokens":500}}',
        TokenUsage(input=1, reasoning=500),
    ),
    # The guide to compaction: its own tokens are not in the totals.
    "compaction": (
        b'{"input_tokens":23000,"output_tokens":1000,"iterations":['
        b'{"type":"compaction","input_tokens":180000,"output_tokens":3500,"cache_read_input_tokens":7},'
        b'{"type":"message","input_tokens":23000,"output_tokens":1000}]}',
        TokenUsage(input=203_000, cached_input=7, output=4_500),
    ),
    "unknown members": (
        b'{"input_tokens":1,"output_tokens":2,"novel":"us","cache":{"x":1}}',
        TokenUsage(input=1, output=2),
    ),
    "largest": (b'{"input_tokens":%d,"output_tokens":0}' % LARGEST_COUNT, TokenUsage(input=LARGEST_COUNT)),
}

NOT_TRUSTED = {
    "negative": b'{"input_tokens":-1,"output_tokens":1}',
    "fraction": b'{"input_tokens":1.5,"output_tokens":1}',
    "text": b'{"input_tokens":"1","output_tokens":1}',
    "boolean": b'{"input_tokens":true,"output_tokens":1}',
    "no input": b'{"output_tokens":1}',
    "no output": b'{"input_tokens":1}',
    "too large": b'{"input_tokens":1,"output_tokens":%d}' % (LARGEST_COUNT + 1),
    "far too large": b'{"input_tokens":1,"output_tokens":%b}' % (b"9" * 10_000),
    "more thinking than output": b'{"input_tokens":1,"output_tokens":1,"output_tokens_details":{"thinking_tokens":2}}',
    "negative detail": b'{"input_tokens":1,"output_tokens":1,"cache_creation":{"ephemeral_1h_input_tokens":-2}}',
    "a step without figures": b'{"input_tokens":1,"output_tokens":1,"iterations":[{"type":"compaction"}]}',
    "negative searches": b'{"input_tokens":1,"output_tokens":1,"server_tool_use":{"web_search_requests":-1}}',
    "steps of another type": b'{"input_tokens":1,"output_tokens":1,"iterations":{}}',
    "list": b"[1,2]",
    "nested": b'{"input_tokens":' + b"[" * 10_000,
    "not an object": b"7",
}


def answer_of(usage: bytes, **members: object) -> bytes:
    head = {"id": "msg_1", "type": "message", "model": "claude-haiku-4-5", "content": []} | members
    return msgspec.json.encode(head | {"usage": msgspec.Raw(usage)})


@pytest.mark.parametrize(("raw", "expected"), REPORTED.values(), ids=REPORTED.keys())
def test_each_token_is_counted_in_one_class(raw: bytes, expected: TokenUsage) -> None:
    assert MESSAGES.read_answer(answer_of(raw)) == Answer(expected, "msg_1", "claude-haiku-4-5")


@pytest.mark.parametrize("raw", NOT_TRUSTED.values(), ids=NOT_TRUSTED.keys())
def test_figures_that_cannot_be_true_are_not_trusted(raw: bytes) -> None:
    counts, why = read_counts(raw)
    usage, why = usage_of(counts) if counts else (None, why)

    assert usage is None
    assert why.startswith("usage is not to be trusted: ")


def test_searches_are_billed_by_the_piece() -> None:
    raw = b'{"input_tokens":105,"output_tokens":39,"server_tool_use":{"web_search_requests":3,"web_fetch_requests":1}}'

    answer = MESSAGES.read_answer(answer_of(raw))
    assert answer.usage == TokenUsage(input=105, output=39)
    assert answer.units == UnitUsage(searches=3)
    fetched = b'{"input_tokens":1,"output_tokens":1,"server_tool_use":{"web_fetch_requests":1}}'
    assert MESSAGES.read_answer(answer_of(fetched)).units is NO_UNITS


def test_no_usage_is_told_apart_from_bad_usage() -> None:
    assert MESSAGES.read_answer(answer_of(b"null")).why_no_usage == "upstream reported no usage"
    assert MESSAGES.read_answer(b'{"id":"msg_1"}') == Answer(
        None, "msg_1", "", why_no_usage="upstream reported no usage"
    )


def test_of_two_reports_the_later_figures_count() -> None:
    first, later = (
        read_counts(raw)[0]
        for raw in (
            b'{"input_tokens":5,"output_tokens":1,"cache_read_input_tokens":7,"service_tier":"priority"}',
            b'{"input_tokens":null,"output_tokens":9,"cache_read_input_tokens":8}',
        )
    )
    assert first is not None
    assert later is not None
    first.update(later)

    assert usage_of(first) == (TokenUsage(input=5, cached_input=8, output=9), "")
    assert first.service_tier == "priority"
    assert prompt_of(first) == TokenUsage(input=5, cached_input=8)
    assert prompt_of(UsageCounts(output_tokens=1)) is None


@pytest.mark.parametrize(
    ("usage", "tier"),
    [
        (b'{"input_tokens":1,"output_tokens":1,"service_tier":"standard"}', "standard"),
        (b'{"input_tokens":1,"output_tokens":1,"service_tier":"standard","speed":"fast"}', "fast"),
        (b'{"input_tokens":1,"output_tokens":1,"service_tier":"priority","speed":"standard"}', "priority"),
        (b'{"input_tokens":1,"output_tokens":1,"service_tier":"standard","inference_geo":"global"}', "standard"),
        (b'{"input_tokens":1,"output_tokens":1,"service_tier":"standard","inference_geo":"not_available"}', "standard"),
        (b'{"input_tokens":1,"output_tokens":1,"service_tier":"standard","inference_geo":"us"}', "us-standard"),
        (b'{"input_tokens":1,"output_tokens":1,"speed":"fast","inference_geo":"us"}', "us-fast"),
        (b'{"input_tokens":1,"output_tokens":1,"inference_geo":"us"}', "us"),
        (b'{"input_tokens":1,"output_tokens":1,"service_tier":7}', ""),
        (b'{"input_tokens":1,"output_tokens":1,"service_tier":"%b"}' % (b"x" * 257), ""),
        (b'{"input_tokens":1,"output_tokens":1}', ""),
    ],
)
def test_the_tier_that_was_served_is_told(usage: bytes, tier: str) -> None:
    assert MESSAGES.read_answer(answer_of(usage)).service_tier == tier


ERROR = b'{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"},"request_id":"req_1"}'


def test_an_error_with_status_200_cost_nothing() -> None:
    assert MESSAGES.read_answer(ERROR).usage == NO_USAGE


@pytest.mark.parametrize(
    "body",
    [b"", b"not json", b"[]", b"7", b"\xff\xfe", b'{"id":"\xff"}', b"[" * 10_000, b'{"usage":' + b"{" * 10_000],
)
def test_an_answer_that_cannot_be_read_has_no_usage(body: bytes) -> None:
    answer = MESSAGES.read_answer(body)

    assert answer.usage is None
    assert answer.why_no_usage


@pytest.mark.parametrize("value", [7, ["x"], {"a": 1}, "x" * 257, "a\x00b"])
def test_ids_that_cannot_be_kept_are_dropped(value: object) -> None:
    answer = MESSAGES.read_answer(answer_of(b'{"input_tokens":1,"output_tokens":1}', id=value, model=value))

    assert (answer.response_id, answer.response_model) == ("", "")
    assert answer.usage == TokenUsage(input=1, output=1)
