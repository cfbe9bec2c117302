"""What a chat completion call asks for."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.wire import FORMATS, Call
from proxy.wire.body import BodyError
from proxy.wire.openai_members import TOKENS_PER_CALL, TOKENS_PER_MESSAGE

CHAT = FORMATS["openai_chat"]
HI = [{"role": "user", "content": "hi"}]


def body_of(**members: Any) -> bytes:
    return msgspec.json.encode({"model": "gpt-4o", "messages": HI} | members)


def with_part(part: Any) -> bytes:
    return body_of(messages=[{"role": "user", "content": [{"type": "text", "text": "what is this?"}, part]}])


def test_a_call_is_what_its_body_says() -> None:
    body = body_of(
        stream=True,
        n=3,
        max_tokens=40,
        max_completion_tokens=40,
        user="u-1",
        service_tier="flex",
        stream_options={"include_usage": True},
    )

    assert CHAT.read_call(body) == Call(
        requested_model="gpt-4o",
        is_stream=True,
        user_id="u-1",
        output_cap=40,
        choices=3,
        prompt_bound=len(body) + TOKENS_PER_MESSAGE + TOKENS_PER_CALL,
        is_unbounded=False,
        asked_usage=True,
        service_tier="flex",
        has_stream_options=True,
    )


def test_what_is_null_was_not_given() -> None:
    names = ("stream", "n", "max_tokens", "max_completion_tokens", "user", "service_tier", "modalities")
    body = body_of(**dict.fromkeys((*names, "stream_options", "web_search_options", "prediction", "tools")))
    bound = len(body) + TOKENS_PER_MESSAGE + TOKENS_PER_CALL

    assert CHAT.read_call(body) == Call(requested_model="gpt-4o", prompt_bound=bound, has_stream_options=True)


CAPS: list[tuple[dict[str, Any], int | None]] = [
    ({}, None),
    ({"max_tokens": 7}, 7),
    ({"max_completion_tokens": 9}, 9),
    ({"max_tokens": 7, "max_completion_tokens": None}, 7),
    ({"max_tokens": 9, "max_completion_tokens": 9}, 9),
    ({"max_tokens": 2**31 - 1}, 2**31 - 1),
]


@pytest.mark.parametrize(("caps", "expected"), CAPS)
def test_either_cap_counts(caps: dict[str, Any], expected: int | None) -> None:
    assert CHAT.read_call(body_of(**caps)).output_cap == expected


REFUSED: dict[str, bytes] = {
    "no model": b'{"messages":[]}',
    "model null": body_of(model=None),
    "model empty": body_of(model=""),
    "model a number": body_of(model=4),
    "model a list": body_of(model=["gpt-4o"]),
    "model too long": body_of(model="x" * 257),
    "model with NUL": body_of(model="gpt\x00"),
    "no messages": b'{"model":"m"}',
    "messages an object": body_of(messages={}),
    "message a text": body_of(messages=["hi"]),
    "content a number": body_of(messages=[{"role": "user", "content": 1}]),
    "content an object": body_of(messages=[{"role": "user", "content": {"type": "image_url"}}]),
    "part without a type": with_part({"image_url": {"url": "x"}}),
    "messages twice": b'{"model":"m","messages":[{"role":"user","content":"a"}],"messages":[]}',
    "messages twice, escaped": b'{"model":"m","messages":[{}],"m\\u0065ssages":[{},{}]}',
    "our own mark in a message": b'{"model":"m","messages":[{" number":1}]}',
    "stream a text": body_of(stream="true"),
    "stream a number": body_of(stream=1),
    "stream twice": b'{"model":"m","messages":[],"stream":true,"stream":false}',
    "stream twice, escaped": b'{"model":"m","messages":[],"stream":true,"\\u0073tream":false}',
    "n zero": body_of(n=0),
    "n negative": body_of(n=-1),
    "n too many": body_of(n=129),
    "n a fraction": body_of(n=1.0),
    "n a boolean": body_of(n=True),
    "n twice": b'{"model":"m","messages":[],"n":1,"n":100}',
    "cap zero": body_of(max_tokens=0),
    "cap negative": body_of(max_tokens=-1),
    "cap a fraction": body_of(max_tokens=1.5),
    "cap a text": body_of(max_completion_tokens="5"),
    "cap too large": body_of(max_tokens=2**31),
    "cap of many digits": b'{"model":"m","messages":[],"max_tokens":%b}' % (b"9" * 5000),
    "cap twice": b'{"model":"m","messages":[],"max_tokens":1,"max_tokens":9999}',
    "caps that differ": body_of(max_tokens=1, max_completion_tokens=9999),
    "caps that differ the other way": body_of(max_tokens=9999, max_completion_tokens=1),
    "user a number": body_of(user=5),
    "user too long": body_of(user="u" * 513),
    "user with NUL": body_of(user="a\x00"),
    "service_tier a number": body_of(service_tier=1),
    "stream_options a text": body_of(stream_options="include_usage"),
    "stream_options a list": body_of(stream_options=[]),
    "include_usage a text": body_of(stream_options={"include_usage": "yes"}),
    "modalities a text": body_of(modalities="audio"),
    "tools an object": body_of(tools={"type": "function"}),
    "an array": b"[]",
    "empty": b"",
}


@pytest.mark.parametrize("body", REFUSED.values(), ids=REFUSED.keys())
def test_a_body_that_cannot_be_acted_on_is_refused(body: bytes) -> None:
    with pytest.raises(BodyError) as caught:
        CHAT.read_call(body)

    assert caught.value.kind == "body_invalid"


ACTED_ON = (
    "model", "messages", "stream", "stream_options", "n", "user", "service_tier", "max_tokens", "max_completion_tokens",
    "tools", "modalities", "prediction", "web_search_options",
)  # fmt: skip
# What Go's encoding/json takes for the same name beyond ASCII, also in escapes.
FOLDED = {"s": ("\u017f", "\\u017f"), "k": ("\u212a", "\\u212a")}


def spellings(name: str) -> list[str]:
    """Names as JSON texts that a reader without regard to case takes for `name`."""
    first = name[0].upper()
    rows = [name.upper(), first + name[1:], name[:-1] + name[-1].upper(), f"\\u{ord(first):04x}{name[1:]}"]
    rows += [name.replace(letter, other, 1) for letter, others in FOLDED.items() for other in others if letter in name]
    return rows


@pytest.mark.parametrize("spelling", [spelling for name in ACTED_ON for spelling in spellings(name)])
@pytest.mark.parametrize("is_first", [True, False])
def test_a_member_in_another_spelling_is_refused(spelling: str, is_first: bool) -> None:
    """Go's encoding/json and what is built on it would take it, and take the last one."""
    plain, other = '"model":"m","messages":[{"role":"user","content":"hi"}]', f'"{spelling}":null'
    body = "{%s,%s}" % ((other, plain) if is_first else (plain, other))

    with pytest.raises(BodyError, match="body_invalid"):
        CHAT.read_call(body.encode())


@pytest.mark.parametrize("name", [b"Content", b"CONTENT", b"Audio", b"\\u0043ontent"])
def test_a_message_s_member_in_another_spelling_is_refused(name: bytes) -> None:
    image = b'[{"type":"image_url","image_url":{"url":"x"}}]'
    body = b'{"model":"m","messages":[{"content":"a"},{"role":"user","content":"hi","%b":%b}]}' % (name, image)

    with pytest.raises(BodyError):
        CHAT.read_call(body)


def test_members_that_nobody_knows_pass() -> None:
    """Whatever their names look like, and deeper ones too: they are upstream's to judge."""
    plain = body_of(n=2, max_tokens=5, stream=True, stream_options={"include_usage": True})
    odd = {
        "x": 1,
        "Models": 2,
        "MODEL_": 3,
        "mode\u0142": 4,
        "": 5,
        "\u017f": 6,
        "Temperature": {"Model": 1, "Type": 2},
    }
    message = {
        "role": "user",
        "content": "hi",
        "Contents": [],
        "weight": 1,
        "tool_calls": [{"Type": "x", "Content": 1}],
    }
    body = body_of(
        n=2, max_tokens=5, stream=True, stream_options={"include_usage": True, "new": {"Include_Usage": 1}},
        messages=[message], **odd,
    )  # fmt: skip
    expected = msgspec.structs.replace(
        CHAT.read_call(plain), prompt_bound=len(body) + TOKENS_PER_MESSAGE + TOKENS_PER_CALL
    )

    assert CHAT.read_call(body) == expected


IMAGE = {"type": "image_url", "image_url": {"url": "https://example.com/cat.png"}}
PARTS = b'{"model":"m","messages":[{"role":"user","content":[%b]}]}'
UNBOUNDED: dict[str, bytes] = {
    "image": with_part(IMAGE),
    "image in bytes": with_part({"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}}),
    "audio": with_part({"type": "input_audio", "input_audio": {"data": "UklGRg==", "format": "wav"}}),
    "file": with_part({"type": "file", "file": {"file_id": "file-1"}}),
    "a type nobody knows yet": with_part({"type": "hologram"}),
    "a type that is no text": with_part({"type": {"text": 1}}),
    "escaped type": PARTS % b'{"type":"image\\u005furl","image_url":{"url":"x"}}',
    "escaped name": PARTS % b'{"typ\\u0065":"image_url","image_url":{"url":"x"}}',
    "type overridden": PARTS % b'{"type":"image_url","type":"text","image_url":{"url":"x"},"text":""}',
    "content overridden": b'{"model":"m","messages":[{"role":"user","content":[{"type":"image_url"}],"content":"hi"}]}',
    "another spelling of a part's type": PARTS % b'{"type":"text","Type":"image_url","image_url":{"url":"x"}}',
    "another spelling of a part's type, beside unknown members": b'{"x":1,%b'
    % (PARTS % b'{"type":"text","\\u0054YPE":"image_url"}')[1:],
    "a member of a part that nobody knows": with_part({"type": "text", "text": "a", "attachment": "file-1"}),
    "another spelling of a part's type, overridden": b'{"model":"m","messages":[{"content":'
    b'[{"type":"text","Type":"image_url"}],"content":"hi"}]}',
    "another spelling of a tool's type": body_of(tools=[{"type": "function", "Type": "web_search"}]),
    "voice by id": body_of(messages=[{"role": "assistant", "audio": {"id": "audio_abc"}}]),
    "voice overridden": b'{"model":"m","messages":[{"audio":{"id":"a"},"audio":null}]}',
    "spoken answer": body_of(modalities=["text", "audio"], audio={"voice": "alloy", "format": "wav"}),
    "web search": body_of(web_search_options={}),
    "prediction": body_of(prediction={"type": "content", "content": "x"}),
    "a tool that upstream runs": body_of(tools=[{"type": "web_search"}]),
}
BOUNDED: dict[str, bytes] = {
    "text": body_of(),
    "text parts": with_part({"type": "text", "text": '"type":"image_url"'}),
    "refusal part": with_part({"type": "refusal", "refusal": "no"}),
    "bare text part": with_part("hi"),
    "no content": body_of(messages=[{"role": "assistant", "content": None, "audio": None, "tool_calls": []}]),
    "talk of images": body_of(messages=[{"role": "user", "content": '{"type":"image_url","file_id":1}'}]),
    "function": body_of(tools=[{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]),
    "custom tool": body_of(tools=[{"type": "custom", "custom": {"name": "f"}}]),
    "cached part": with_part({"type": "text", "text": "a", "cache_control": {"type": "ephemeral"}}),
    "a role that nobody knows": body_of(messages=[{"role": "critic", "content": "hi"}, {"role": None}]),
    "unknown members beside": body_of(x={"type": "image_url", "Type": "image_url"}),
    "text only": body_of(modalities=["text"]),
    "images in a schema": body_of(
        tools=[{"type": "function", "function": {"name": "f", "parameters": {"properties": {"image_url": IMAGE}}}}]
    ),
}


@pytest.mark.parametrize("body", UNBOUNDED.values(), ids=UNBOUNDED.keys())
def test_what_the_bytes_do_not_bound_is_seen(body: bytes) -> None:
    assert CHAT.read_call(body).is_unbounded


@pytest.mark.parametrize("body", BOUNDED.values(), ids=BOUNDED.keys())
def test_plain_text_is_bounded(body: bytes) -> None:
    assert not CHAT.read_call(body).is_unbounded


NAMED: dict[str, tuple[bytes, tuple[str, ...]]] = {
    "none": (body_of(), ()),
    "file": (with_part({"type": "file", "file": {"file_id": "file-1"}}), ("file-1",)),
    "file in bytes": (with_part({"type": "file", "file": {"file_data": "x", "filename": "a.pdf"}}), ()),
    "file overridden": (PARTS % b'{"type":"file","file":{"file_id":"a","file_id":"b"}}', ("a", "b")),
    "file given twice": (PARTS % b'{"type":"file","file":{"file_id":"a"},"file":null}', ("a",)),
    "an unknown member beside": (with_part({"type": "file", "x": 1, "file": {"y": 2, "file_id": "a"}}), ("a",)),
}


@pytest.mark.parametrize(("body", "ids"), NAMED.values(), ids=NAMED.keys())
def test_files_that_a_body_names_are_told(body: bytes, ids: tuple[str, ...]) -> None:
    assert CHAT.read_call(body).object_ids == ids


@pytest.mark.parametrize(
    "part", [{"File": {"file_id": "a"}}, {"file": {"FILE_ID": "a"}}, {"file": {"file_id": ""}}, {"file": "a"}]
)
def test_a_file_that_two_readers_may_read_differently_is_refused(part: dict[str, Any]) -> None:
    with pytest.raises(BodyError):
        CHAT.read_call(with_part({"type": "file"} | part))


JARGON = [
    (
        "system",
        None,
        "You are a helpful, pattern-following assistant that translates corporate jargon into plain English.",
    ),
    ("system", "example_user", "New synergies will help drive top-line growth."),
    ("system", "example_assistant", "Things working well together will increase revenue."),
    (
        "system",
        "example_user",
        "Let's circle back when we have more bandwidth to touch base on opportunities for increased leverage.",
    ),
    ("system", "example_assistant", "Let's talk later when we're less busy about how to do better."),
    (
        "user",
        None,
        "This late pivot means we don't have time to boil the ocean for the client deliverable.",
    ),
]
# Bodies and the prompt_tokens that OpenAI's reference and cookbook print for them.
KNOWN_PROMPTS: list[tuple[bytes, int]] = [
    (
        body_of(
            messages=[
                {"role": "developer", "content": "You are a helpful assistant."},
                {"role": "user", "content": "Hello!"},
            ]
        ),
        19,
    ),
    (
        body_of(
            messages=[{"role": role, "content": text} | ({"name": name} if name else {}) for role, name, text in JARGON]
        ),
        129,
    ),
    (
        body_of(
            messages=[{"role": "user", "content": "What's the weather like in Boston today?"}],
            tools=[
                {
                    "type": "function",
                    "function": {
                        "name": "get_current_weather",
                        "description": "Get the current weather in a given location",
                        "parameters": {
                            "type": "object",
                            "properties": {
                                "location": {
                                    "type": "string",
                                    "description": "The city and state, e.g. San Francisco, CA",
                                },
                                "unit": {"type": "string", "enum": ["celsius", "fahrenheit"]},
                            },
                            "required": ["location"],
                        },
                    },
                }
            ],
            tool_choice="auto",
        ),
        82,
    ),
]


@pytest.mark.parametrize(("body", "prompt_tokens"), KNOWN_PROMPTS)
def test_the_bound_holds_for_published_prompts(body: bytes, prompt_tokens: int) -> None:
    assert prompt_tokens <= CHAT.read_call(body).prompt_bound


def escaped(text: str) -> str:
    """JSON text with everything beyond ASCII as UTF-16 escapes."""
    units = text.encode("utf-16-be")
    pairs = [units[at : at + 2] for at in range(0, len(units), 2)]
    return "".join(chr(pair[1]) if pair < b"\x00\x80" else f"\\u{pair.hex()}" for pair in pairs)


@given(st.lists(st.text(max_size=40), max_size=6), st.booleans())
def test_the_bound_covers_a_token_for_each_byte_and_the_template(texts: list[str], is_escaped: bool) -> None:
    """A tokenizer that falls back to bytes makes one token a byte at worst, however the JSON spells the text."""
    body = body_of(messages=[{"role": "user", "content": text} for text in texts])
    if is_escaped:
        body = escaped(body.decode()).encode()
    worst = sum(len(text.encode()) + TOKENS_PER_MESSAGE for text in texts) + TOKENS_PER_CALL

    assert worst <= CHAT.read_call(body).prompt_bound
