"""The older completions: what a call asks for, what goes upstream, and what comes back."""

from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.wire import FORMATS, Call
from proxy.wire.body import BodyError
from proxy.wire.openai_completions import DEFAULT_CAP, TOKENS_PER_PROMPT
from proxy.wire.openai_members import TOKENS_PER_CALL
from shared.usage import TokenUsage

COMPLETIONS = FORMATS["openai_completions"]
CASES = Path(__file__).parent / "cases" / "completions"
ENDS = {"lf": b"\n", "crlf": b"\r\n", "cr": b"\r"}


def body_of(**members: Any) -> bytes:
    return msgspec.json.encode({"model": "gpt-3.5-turbo-instruct", "prompt": "Say this is a test"} | members)


def test_a_call_is_what_its_body_says() -> None:
    body = body_of(
        max_tokens=7, n=2, best_of=3, stream=True, user="u-1", service_tier="flex", echo=True, suffix="!",
        stream_options={"include_usage": True}, temperature=0,
    )  # fmt: skip

    assert COMPLETIONS.read_call(body) == Call(
        requested_model="gpt-3.5-turbo-instruct",
        is_stream=True,
        user_id="u-1",
        output_cap=7,
        choices=3,
        prompt_bound=len(body) + TOKENS_PER_PROMPT + TOKENS_PER_CALL,
        asked_usage=True,
        service_tier="flex",
        has_stream_options=True,
    )


# (prompt, prompts in it, tokens if they are counted)
PROMPTS: list[tuple[Any, int, int | None]] = [
    ("hi", 1, None),
    ("", 1, None),
    (None, 1, None),
    ([], 1, None),
    (["a", "b", "c"], 3, None),
    ([15496, 11, 995], 1, 3),
    ([[15496, 11], [995], [7, 7, 7]], 3, 6),
    (["a", [1, 2]], 2, None),
    ([True, False], 2, None),
    ([[]], 1, None),
    ([1, "a"], 2, None),
]


@pytest.mark.parametrize(("prompt", "prompts", "tokens"), PROMPTS)
def test_each_prompt_has_answers_of_its_own(prompt: Any, prompts: int, tokens: int | None) -> None:
    """The hold must cover `n` of them, each as long as the cap; tokens are known exactly."""
    body = body_of(prompt=prompt, n=2, max_tokens=5)
    call = COMPLETIONS.read_call(body)

    assert call.choices == 2 * prompts
    assert (
        call.prompt_bound == (len(body) if tokens is None else tokens) + TOKENS_PER_PROMPT * prompts + TOKENS_PER_CALL
    )


def test_a_suffix_is_read_too() -> None:
    plain = COMPLETIONS.read_call(body_of(prompt=[1, 2], suffix=""))

    assert COMPLETIONS.read_call(body_of(prompt=[1, 2], suffix="\u00e9\u00e9")).prompt_bound == plain.prompt_bound + 4


@pytest.mark.parametrize(
    ("members", "cap"),
    [({}, DEFAULT_CAP), ({"max_tokens": None}, None), ({"max_tokens": 0}, 0), ({"max_tokens": 900}, 900)],
)
def test_no_cap_is_the_api_s_own(members: dict[str, Any], cap: int | None) -> None:
    """Null is no cap in upstreams that are not so strict; 0 asks for the prompt's own log probabilities."""
    assert COMPLETIONS.read_call(body_of(**members)).output_cap == cap


@pytest.mark.parametrize(
    ("prompt", "is_unbounded"),
    [("hi", False), (None, False), (["a"], False), ([1], False), ([[1]], False), ([["a"]], True), ({"a": 1}, True),
     ([{"prompt_embeds": "x"}], True), ([1.5], True), (7, True)],
)  # fmt: skip
def test_a_prompt_of_another_kind_is_not_bounded(prompt: Any, is_unbounded: bool) -> None:
    assert COMPLETIONS.read_call(body_of(prompt=prompt)).is_unbounded == is_unbounded


def test_prompts_as_tensors_are_not_bounded() -> None:
    assert COMPLETIONS.read_call(body_of(prompt_embeds="AAAA")).is_unbounded
    assert not COMPLETIONS.read_call(body_of(prompt_embeds=None, priority=1)).is_unbounded


REFUSED: dict[str, bytes] = {
    "no model": b'{"prompt":"a"}',
    "model a number": body_of(model=1),
    "prompt twice": b'{"model":"m","prompt":"a","prompt":"b"}',
    "prompt twice, escaped": b'{"model":"m","prompt":"a","prom\\u0070t":"b"}',
    "max_tokens twice": b'{"model":"m","prompt":"a","max_tokens":1,"max_tokens":900}',
    "best_of twice": b'{"model":"m","prompt":"a","best_of":1,"best_of":20}',
    "best_of below n": body_of(n=3, best_of=2),
    "best_of too many": body_of(best_of=129),
    "n zero": body_of(n=0),
    "cap negative": body_of(max_tokens=-1),
    "cap a fraction": body_of(max_tokens=1.5),
    "stream a text": body_of(stream="true"),
    "options twice": b'{"model":"m","stream_options":{"include_usage":true},"stream_options":{}}',
    "include_usage twice": b'{"model":"m","stream_options":{"include_usage":true,"include_usage":false}}',
    "user a number": body_of(user=5),
    "deep": b'{"model":"m","x":%b}' % (b"[" * 64 + b"]" * 64),
    "very deep": b'{"model":"m","prompt":' + b"[" * 10_000,
    "not JSON": b"model=m",
    "not UTF-8": b'{"model":"m","prompt":"\xff"}',
    "an array": b"[]",
    **{
        f"{name} in another spelling": b'{"model":"m","prompt":"a","%b":1}' % name.encode()
        for name in (
            "Model",
            "PROMPT",
            "Best_of",
            "N",
            "max_token\u017f",
            "Max_Tokens",
            "Stream",
            "Stream_Options",
            "suffiX",
        )
    },
}


@pytest.mark.parametrize("body", REFUSED.values(), ids=REFUSED.keys())
def test_a_body_that_cannot_be_acted_on_is_refused(body: bytes) -> None:
    with pytest.raises(BodyError):
        COMPLETIONS.read_call(body)


USAGE = b'"stream_options":{"include_usage":true}'
FORWARDED: dict[str, tuple[bytes, str | None, int | None, bytes]] = {
    "plain": (b'{"model":"a","prompt":"x"}', None, None, b'{"model":"a","prompt":"x"}'),
    "alias": (b'{"prompt":"x", "model": "a"}', "b", None, b'{"prompt":"x", "model": "b"}'),
    "stream": (b'{"model":"a","stream":true}', None, None, b'{"model":"a","stream":true,%b}' % USAGE),
    "cap lowered": (b'{"max_tokens": 100,"model":"a"}', None, 5, b'{"max_tokens": 5,"model":"a"}'),
    "cap added": (b'{"model":"a"}', None, 5, b'{"model":"a","max_tokens":5}'),
    "the API's own cap not raised": (b'{"model":"a"}', None, 50, b'{"model":"a","max_tokens":16}'),
    "cap in place of null": (b'{"max_tokens":null,"model":"a"}', None, 50, b'{"max_tokens":50,"model":"a"}'),
}


@pytest.mark.parametrize(("body", "model", "cap", "expected"), FORWARDED.values(), ids=FORWARDED.keys())
def test_upstream_gets_the_body_with_no_more_edits_than_needed(
    body: bytes, model: str | None, cap: int | None, expected: bytes
) -> None:
    assert COMPLETIONS.forward(COMPLETIONS.read_call(body), body, model, cap) == expected


STREAMS: dict[str, tuple[TokenUsage | None, str | None, str]] = {
    "usage": (TokenUsage(input=5, output=6), None, ""),
    "plain": (None, None, '\n\nThis is "text":"x" test.'),
    "cut": (None, "upstream ended before the answer was complete", "\n\nThis is"),
}


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("name", STREAMS)
def test_a_stream_is_watched_wherever_it_is_cut(name: str, end: str) -> None:
    """As a chat's: the frame with usage that nobody asked for is hidden, all else passes."""
    text = (CASES / f"{name}.sse").read_bytes()
    frames = [frame for frame in text.split(b"\n\n")[:-1] if b'"choices":[]' not in frame]
    passed = b"".join(frame + b"\n\n" for frame in frames).replace(b"\n", ENDS[end])
    text = text.replace(b"\n", ENDS[end])
    usage, ending, seen = STREAMS[name]
    call = COMPLETIONS.read_call(body_of(stream=True, max_tokens=100))
    for at in range(len(text) + 1):
        stream = COMPLETIONS.open_stream(call)

        assert stream.feed(text[:at]) + stream.feed(text[at:]) == passed
        assert (stream.usage, stream.finish()) == (usage, ending)
        assert (stream.text, stream.output_chars) == (seen, len(seen))
        assert stream.response_id == "cmpl-CZqr5uhVtTw"
        assert stream.response_model == "gpt-3.5-turbo-instruct:20230824-v2"
        assert end == "cr" or 3 <= stream.output_tokens <= 7


def test_the_estimate_never_exceeds_what_all_answers_may_have() -> None:
    stream = COMPLETIONS.open_stream(COMPLETIONS.read_call(body_of(stream=True, max_tokens=2, best_of=2)))
    stream.feed((CASES / "plain.sse").read_bytes())

    assert stream.output_tokens == 4


def test_an_answer_is_read_for_its_usage_and_names() -> None:
    answer = COMPLETIONS.read_answer(
        b'{"id":"cmpl-1","object":"text_completion","model":"m-1","choices":[{"text":"x"}],'
        b'"usage":{"prompt_tokens":5,"completion_tokens":7,"total_tokens":12}}'
    )

    assert (answer.usage, answer.response_id, answer.response_model) == (TokenUsage(input=5, output=7), "cmpl-1", "m-1")


@given(st.integers(0, 120), st.integers(0, 12), st.binary(max_size=12))
def test_no_bytes_raise_anything_but_a_refusal(at: int, length: int, junk: bytes) -> None:
    seed = body_of(prompt=["a", "b"], stream=True, max_tokens=9, stream_options={})
    body = seed[:at] + junk + seed[at + length :]
    COMPLETIONS.read_answer(body)
    COMPLETIONS.prompt_text(body)
    COMPLETIONS.answer_text(body)
    try:
        call = COMPLETIONS.read_call(body)
        again = COMPLETIONS.read_call(COMPLETIONS.forward(call, body, "other", 5))
    except BodyError:
        return
    assert again.requested_model == "other"
    assert again.output_cap is not None
    assert again.output_cap <= 5
