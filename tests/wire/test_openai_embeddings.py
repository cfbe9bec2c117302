"""Embeddings, moderations, and calls on objects: formats with little to read."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.wire import FORMATS, Call
from proxy.wire.body import BodyError
from proxy.wire.openai_embeddings import TOKENS_PER_INPUT
from shared.usage import NO_USAGE, TokenUsage

EMBEDDINGS = FORMATS["openai_embeddings"]
MODERATIONS = FORMATS["openai_moderations"]
OBJECT = FORMATS["openai_object"]


def body_of(**members: Any) -> bytes:
    return msgspec.json.encode({"model": "text-embedding-3-small", "input": "hi"} | members)


INPUTS: list[tuple[Any, int, int | None]] = [
    ("The food was delicious", 1, None),
    (["a", "b"], 2, None),
    ([1212, 318, 257], 1, 3),
    ([[1212, 318], [257]], 2, 3),
]


@pytest.mark.parametrize(("given", "inputs", "tokens"), INPUTS)
def test_a_call_has_no_output(given: Any, inputs: int, tokens: int | None) -> None:
    """So that nothing is held for it; tokens are counted, texts bounded by their bytes."""
    body = body_of(input=given, user="u-1", encoding_format="base64", dimensions=256)

    assert EMBEDDINGS.read_call(body) == Call(
        requested_model="text-embedding-3-small",
        user_id="u-1",
        output_cap=0,
        prompt_bound=(len(body) if tokens is None else tokens) + TOKENS_PER_INPUT * inputs,
    )


@pytest.mark.parametrize("given", [{"image": "x"}, [{"type": "image_url"}], [[["a"]]], 7, [1.5]])
def test_input_of_another_kind_is_not_bounded(given: Any) -> None:
    assert EMBEDDINGS.read_call(body_of(input=given)).is_unbounded


def test_messages_in_place_of_input_are_not_bounded() -> None:
    assert EMBEDDINGS.read_call(b'{"model":"m","messages":[{"role":"user","content":"x"}]}').is_unbounded


REFUSED: dict[str, bytes] = {
    "no model": b'{"input":"a"}',
    "no input": b'{"model":"m"}',
    "input null": body_of(input=None),
    "input twice": b'{"model":"m","input":"a","input":["b"]}',
    "model twice": b'{"model":"m","input":"a","model":"n"}',
    "another spelling": b'{"model":"m","input":"a","Input":"b"}',
    "another spelling of model": b'{"model":"m","input":"a","MODEL":"n"}',
    "stream": body_of(stream=True),
    "user a list": body_of(user=["u"]),
    "very deep": b'{"model":"m","input":' + b"[" * 10_000,
    "not UTF-8": b'{"model":"m","input":"\xff"}',
    "empty": b"",
}


@pytest.mark.parametrize("body", REFUSED.values(), ids=REFUSED.keys())
def test_a_body_that_cannot_be_acted_on_is_refused(body: bytes) -> None:
    with pytest.raises(BodyError):
        EMBEDDINGS.read_call(body)


def test_only_the_model_is_ever_edited() -> None:
    body = b'{"input": "a" ,"model":"m","stream":false}'
    call = EMBEDDINGS.read_call(body)

    assert EMBEDDINGS.forward(call, body, None, 5) is body
    assert EMBEDDINGS.forward(call, body, "m", None) is body
    assert EMBEDDINGS.forward(call, body, "n", 5) == b'{"input": "a" ,"model":"n","stream":false}'


ANSWERS: dict[str, tuple[bytes, TokenUsage | None]] = {
    "usual": (b'{"prompt_tokens":8,"total_tokens":8}', TokenUsage(input=8)),
    "only the total": (b'{"total_tokens":8}', TokenUsage(input=8)),
    "only the prompt": (b'{"prompt_tokens":8}', TokenUsage(input=8)),
    "an output that there is not": (b'{"prompt_tokens":8,"total_tokens":9,"completion_tokens":0}', TokenUsage(input=8)),
    "unknown members": (b'{"prompt_tokens":8,"cost":{"x":[]}}', TokenUsage(input=8)),
    "null": (b"null", None),
    "neither": (b"{}", None),
    "negative": (b'{"prompt_tokens":-8,"total_tokens":8}', None),
    "a text": (b'{"prompt_tokens":"8"}', None),
    "huge": (b'{"prompt_tokens":%b}' % (b"9" * 400), None),
    "larger than the whole": (b'{"prompt_tokens":9,"total_tokens":8}', None),
    "a list": (b"[8]", None),
}


@pytest.mark.parametrize(("raw", "usage"), ANSWERS.values(), ids=ANSWERS.keys())
def test_usage_is_the_prompt_s_tokens_or_nothing(raw: bytes, usage: TokenUsage | None) -> None:
    answer = EMBEDDINGS.read_answer(b'{"object":"list","data":[{"embedding":[0.1]}],"model":"m-1","usage":%b}' % raw)

    assert answer.usage == usage
    assert answer.response_model == "m-1"
    assert bool(answer.why_no_usage) == (usage is None)


@pytest.mark.parametrize("body", [b"", b"<html>", b"[" * 100_000, b'{"usage":', b'{"model":"\xff"}'])
def test_an_answer_that_cannot_be_read_says_why(body: bytes) -> None:
    answer = EMBEDDINGS.read_answer(body)

    assert answer.usage is None
    assert answer.why_no_usage


def test_an_error_with_a_good_status_costs_nothing() -> None:
    assert EMBEDDINGS.read_answer(b'{"error":{"message":"no"}}').usage == NO_USAGE


# --- moderations


@pytest.mark.parametrize(
    ("body", "model"),
    [(b'{"input":"a"}', ""), (b'{"input":[{"type":"image_url"}],"model":"omni"}', "omni"), (b'{"model":null}', "")],
)
def test_a_moderation_s_model_is_read_where_there_is_one(body: bytes, model: str) -> None:
    call = MODERATIONS.read_call(body)

    assert (call.requested_model, call.is_stream, call.output_cap) == (model, False, 0)
    assert MODERATIONS.forward(call, body, None, None) is body


def test_a_moderation_s_model_is_edited_only_where_there_is_one() -> None:
    for body, expected in [(b'{"input":"a"}', b'{"input":"a"}'), (b'{"model":"a"}', b'{"model":"b"}')]:
        assert MODERATIONS.forward(MODERATIONS.read_call(body), body, "b", 5) == expected


@pytest.mark.parametrize(
    "body", [b'{"model":"a","model":"b"}', b'{"Model":"b"}', b'{"model":7}', b'{"model":""}', b"x"]
)
def test_a_moderation_s_body_that_two_readers_may_read_differently_is_refused(body: bytes) -> None:
    with pytest.raises(BodyError):
        MODERATIONS.read_call(body)


# --- objects


@pytest.mark.parametrize("body", [b"", b'{"metadata":{}}', b"--boundary\r\n", b"\xff"])
def test_a_call_on_an_object_passes_as_it_is(body: bytes) -> None:
    call = OBJECT.read_call(body)

    assert call == Call()
    assert OBJECT.forward(call, body, "other", 5) is body


def test_an_object_s_usage_is_not_that_of_the_call_that_looks_at_it() -> None:
    answer = OBJECT.read_answer(b'{"id":"resp_1","model":"m-1","usage":{"input_tokens":5,"output_tokens":6}}')

    assert (answer.usage, answer.response_id, answer.response_model) == (None, "resp_1", "m-1")
    assert answer.why_no_usage


@given(st.binary(max_size=60), st.integers(0, 60))
def test_no_bytes_raise_anything_but_a_refusal(junk: bytes, at: int) -> None:
    seed = b'{"model":"m","input":[[1,2],[3]],"user":"u"}'
    body = seed[:at] + junk + seed[at:]
    for form in (EMBEDDINGS, MODERATIONS, OBJECT):
        form.read_answer(body)
        form.prompt_text(body)
        form.answer_text(body)
        try:
            form.forward(form.read_call(body), body, "other", 5)
        except BodyError:
            continue
