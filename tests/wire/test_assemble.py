"""Streams put together equal the plain answer of the same call; whatever is in doubt stays what it was."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.wire import assemble as assembling
from proxy.wire.assemble import ASSEMBLERS, assemble
from tests.wire.whole_streams import CASES, DONE, RESPONSE, ROLE, STARTED, block, chat, ended, events, lines

WHOLE = [
    pytest.param(name, stream, answer, id=f"{name}: {case}")
    for name, cases in CASES.items()
    for case, (stream, answer) in cases.items()
]


def test_every_assembler_has_cases() -> None:
    assert set(CASES) == set(ASSEMBLERS)


@pytest.mark.parametrize(("name", "stream", "answer"), WHOLE)
def test_a_whole_stream_is_the_plain_answer(name: str, stream: bytes, answer: dict[str, Any]) -> None:
    assert msgspec.json.decode(assemble(name, stream)) == answer


@pytest.mark.parametrize(("name", "stream", "answer"), WHOLE)
def test_a_stream_cut_anywhere_stays_what_it_was(name: str, stream: bytes, answer: dict[str, Any]) -> None:
    """At every byte: only line ends behind the last frame may be missing."""
    for cut in range(len(stream.rstrip(b"\r\n"))):
        assert assemble(name, stream[:cut]) == stream[:cut]


def test_numbers_and_texts_of_the_last_event_are_not_rewritten() -> None:
    body = b'{"id":"resp_1", "output":[{}], "n":1e-05, "big":123456789012345678901234567890}'
    assert assemble("openai_responses", b'data: {"type":"response.failed","response":' + body + b"}\n\n") == body


STOP = chat({}, reason="stop")
DOUBTFUL = {
    "nothing": ("openai_chat", b""),
    "an unknown format": ("openai_embeddings", lines(chat(ROLE), STOP) + DONE),
    "no stream at all": ("openai_chat", b'{"id":"chatcmpl-1","choices":[]}'),
    "an error event": ("openai_chat", lines(chat(ROLE), STOP, {"error": {"message": "x"}}) + DONE),
    "only done": ("openai_chat", DONE),
    "something behind done": ("openai_chat", lines(chat(ROLE), STOP) + DONE + lines(chat(ROLE))),
    "no finish reason": ("openai_chat", lines(chat(ROLE), chat({"content": "a"})) + DONE),
    "one choice without": ("openai_chat", lines(chat(ROLE), chat(ROLE, 1), STOP) + DONE),
    "audio": ("openai_chat", lines(chat({"audio": {"data": "AA=="}}), STOP) + DONE),
    "two roles": ("openai_chat", lines(chat({"role": "a"}), chat({"role": "b"}), STOP) + DONE),
    "an unknown text in pieces": ("openai_chat", lines(chat({"new": "a"}), chat({"new": "b"}), STOP) + DONE),
    "a text that becomes a list": ("openai_chat", lines(chat({"content": "a"}), chat({"content": ["b"]}), STOP) + DONE),
    "tool calls without index": ("openai_chat", lines(chat({"tool_calls": [{"id": "a"}]}), STOP) + DONE),
    "tool calls that are none": ("openai_chat", lines(chat({"tool_calls": "x"}), STOP) + DONE),
    "a delta that is none": ("openai_chat", lines(chat({}, choices=[{"index": 0, "delta": "audio"}]), STOP) + DONE),
    "half a surrogate pair": ("openai_chat", b'data: {"choices":[{"index":0,"delta":{"content":"\\ud83d"}}]}\n\n'),
    "not UTF-8": ("openai_chat", b'data: {"id":"\xff"}\n\n' + lines(STOP) + DONE),
    "nested without end": ("openai_chat", b'data: {"choices":' + b"[" * 100_000 + b"\n\n"),
    "a last event without output": (
        "openai_responses",
        events({"type": "response.output_item.done"}, {"type": "response.completed", "response": {"output": []}}),
    ),
    "another last event": ("openai_responses", events({"type": "response.created", "response": RESPONSE})),
    "an error of the server": (
        "anthropic_messages",
        events({"type": "message_start", "message": STARTED}, {"type": "error", "error": {}}),
    ),
    "an unknown event": (
        "anthropic_messages",
        events({"type": "message_start", "message": STARTED}, {"type": "new"}, *ended("end_turn")),
    ),
    "an unknown delta": (
        "anthropic_messages",
        events(
            {"type": "message_start", "message": STARTED},
            *block(0, {"type": "text"}, {"type": "new_delta", "text": "x"}),
            *ended("end_turn"),
        ),
    ),
    "arguments that are no JSON": (
        "anthropic_messages",
        events(
            {"type": "message_start", "message": STARTED},
            *block(0, {"type": "tool_use"}, {"type": "input_json_delta", "partial_json": '{"a'}),
            *ended("max_tokens"),
        ),
    ),
    "a block twice": (
        "anthropic_messages",
        events({"type": "message_start", "message": STARTED}, *block(0, {}), *block(0, {}), *ended("end_turn")),
    ),
}


@pytest.mark.parametrize(("name", "stream"), DOUBTFUL.values(), ids=DOUBTFUL)
def test_what_is_in_doubt_stays_what_it_was(name: str, stream: bytes) -> None:
    assert assemble(name, stream) is stream


def test_a_long_text_takes_linear_time() -> None:
    """Megabytes in small pieces, as many as the longest log holds."""
    stream = lines(chat(ROLE)) + lines(chat({"content": "word "})) * 100_000 + lines(STOP) + DONE

    answer = msgspec.json.decode(assemble("openai_chat", stream))
    assert answer["choices"][0]["message"]["content"] == "word " * 100_000


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-1, 3) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)


@given(st.data())
def test_no_member_of_any_shape_makes_it_fail(data: st.DataObject) -> None:
    """Somewhere in a good stream a member becomes something else: an answer or the same bytes, never an exception."""
    name = data.draw(st.sampled_from(sorted(CASES)))
    stream = data.draw(st.sampled_from(sorted(CASES[name])).map(lambda case: CASES[name][case][0]))
    frames = [payload for _, payload in assembling.iter_data(stream) if payload != b"[DONE]"]
    at = data.draw(st.integers(0, len(frames) - 1))
    changed = msgspec.json.decode(frames[at])
    spot = changed
    while True:
        members = list(spot) if isinstance(spot, dict) else list(range(len(spot)))
        if not members:
            break
        member = data.draw(st.sampled_from(members))
        if data.draw(st.booleans()) or not isinstance(spot[member], (dict, list)):
            spot[member] = data.draw(JSON)
            break
        spot = spot[member]
    frames[at] = msgspec.json.encode(changed)
    hostile = b"".join(b"data: " + frame + b"\n\n" for frame in frames) + DONE

    assembled = assemble(name, hostile)

    assert assembled is hostile or isinstance(msgspec.json.decode(assembled), dict)
