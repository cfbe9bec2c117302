"""The bodies that go upstream in Anthropic's formats."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.wire import FORMATS
from proxy.wire.body import BodyError

MESSAGES = FORMATS["anthropic_messages"]

# (body, model, cap) -> what upstream gets.
FORWARDED: dict[str, tuple[bytes, str | None, int | None, bytes]] = {
    "plain": (b'{"model":"a","max_tokens":9,"messages":[]}', None, None, b'{"model":"a","max_tokens":9,"messages":[]}'),
    "same model": (
        b'{"model":"a","max_tokens":9,"messages":[]}',
        "a",
        9,
        b'{"model":"a","max_tokens":9,"messages":[]}',
    ),
    "stream": (
        b'{"model":"a","max_tokens":9,"messages":[],"stream":true}\n',
        None,
        None,
        b'{"model":"a","max_tokens":9,"messages":[],"stream":true}\n',
    ),
    "alias": (
        b'{"x": 1.0, "model" : "a","max_tokens":9,"messages":[]}',
        "\u00e9",
        None,
        '{"x": 1.0, "model" : "\u00e9","max_tokens":9,"messages":[]}'.encode(),
    ),
    "lower cap": (
        b'{"messages":[ ],"max_tokens": 900 ,"model":"a"}',
        None,
        40,
        b'{"messages":[ ],"max_tokens": 40 ,"model":"a"}',
    ),
    "lower cap, escaped name": (
        b'{"messages":[],"m\\u0061x_tokens":900,"model":"a"}',
        None,
        40,
        b'{"messages":[],"m\\u0061x_tokens":40,"model":"a"}',
    ),
    "higher cap": (
        b'{"model":"a","max_tokens":9,"messages":[]}',
        None,
        40,
        b'{"model":"a","max_tokens":9,"messages":[]}',
    ),
    "cap of 0": (
        b'{"model":"a","max_tokens":0,"messages":[]}',
        None,
        40,
        b'{"model":"a","max_tokens":0,"messages":[]}',
    ),
    "never below what thinking needs": (
        b'{"model":"a","max_tokens":9000,"messages":[],"thinking":{"type":"enabled","budget_tokens":2048}}',
        None,
        100,
        b'{"model":"a","max_tokens":2049,"messages":[],"thinking":{"type":"enabled","budget_tokens":2048}}',
    ),
    # Interleaved thinking may have a budget above the cap.
    "a budget above the cap": (
        b'{"model":"a","max_tokens":900,"messages":[],"thinking":{"type":"enabled","budget_tokens":2048}}',
        None,
        100,
        b'{"model":"a","max_tokens":900,"messages":[],"thinking":{"type":"enabled","budget_tokens":2048}}',
    ),
    "thinking without a budget": (
        b'{"model":"a","max_tokens":900,"messages":[],"thinking":{"type":"adaptive"}}',
        None,
        100,
        b'{"model":"a","max_tokens":100,"messages":[],"thinking":{"type":"adaptive"}}',
    ),
}


@pytest.mark.parametrize(("body", "model", "cap", "expected"), FORWARDED.values(), ids=FORWARDED.keys())
def test_only_what_must_change_changes(body: bytes, model: str | None, cap: int | None, expected: bytes) -> None:
    forwarded = MESSAGES.forward(MESSAGES.read_call(body), body, model, cap)

    assert forwarded == expected
    assert body != expected or forwarded is body


def test_a_body_that_is_edited_names_nothing_twice() -> None:
    body = b'{"model":"a","max_tokens":9,"messages":[],"top_k":1,"top_k":2}'
    call = MESSAGES.read_call(body)

    assert MESSAGES.forward(call, body, None, None) is body
    with pytest.raises(BodyError):
        MESSAGES.forward(call, body, None, 5)


@given(
    st.dictionaries(st.text(max_size=8), st.integers() | st.text(max_size=8) | st.lists(st.booleans()), max_size=5),
    st.integers(0, 10_000),
    st.integers(1, 10_000),
    st.sampled_from([None, "a", "claude-x"]),
)
def test_an_edited_body_says_the_same_but_for_the_edit(
    extra: dict[str, object], given_cap: int, cap: int, model: str | None
) -> None:
    members = {"model": "a", "max_tokens": given_cap, "messages": [{"role": "user", "content": "hi"}]}
    body = msgspec.json.encode(extra | members)
    try:
        call = MESSAGES.read_call(body)
    except BodyError:
        return
    forwarded = MESSAGES.forward(call, body, model, cap)

    expected = extra | members | {"max_tokens": min(given_cap, cap), "model": model or "a"}
    assert msgspec.json.decode(forwarded) == expected
    assert MESSAGES.read_call(forwarded).output_cap == min(given_cap, cap)


COMPLETE, COUNT = FORMATS["anthropic_complete"], FORMATS["anthropic_count_tokens"]


def test_a_completion_s_cap_has_its_own_name() -> None:
    body = b'{"model":"claude-2.1","prompt":"\\n\\nHuman: hi\\n\\nAssistant:","max_tokens_to_sample":300}'
    call = COMPLETE.read_call(body)

    assert COMPLETE.forward(call, body, None, None) is body
    assert COMPLETE.forward(call, body, None, 20) == body.replace(b"300", b"20")
    assert COMPLETE.forward(call, body, "claude-3", None) == body.replace(b"claude-2.1", b"claude-3")


def test_a_count_is_asked_for_as_it_was() -> None:
    body = b'{"model":"a","messages":[{"role":"user","content":"hi"}],"tools":[{"type":"web_search_20250305"}]}'
    call = COUNT.read_call(body)

    assert call.requested_model == "a"
    assert COUNT.forward(call, body, None, None) is body
    assert COUNT.forward(call, body, "b", 7) == body.replace(b'"a"', b'"b"')
