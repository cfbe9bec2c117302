"""Bodies: what is refused, and edits that change one member and no other byte."""

import time
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.wire.body import DEEPEST, MOST_MEMBERS, BodyError, Peek, append, edit, find_members, once, set_nested
from shared.errors import Refusal

peek = Peek(msgspec.defstruct("Peeked", [("model", once("model"), None), ("n", once("n"), None)]))


def nested(levels: int, inner: bytes = b"1") -> bytes:
    """A body of `levels` levels, the body itself included."""
    return b'{"a":' + b"[" * (levels - 1) + inner + b"]" * (levels - 1) + b"}"


REFUSED = {
    "empty": b"",
    "blank": b"  ",
    "not JSON": b"model=gpt",
    "cut": b'{"model":"m"',
    "array": b'[{"model":"m"}]',
    "text": b'"model"',
    "null": b"null",
    "number": b"1",
    "trailing text": b'{"model":"m"} x',
    "two bodies": b'{"model":"m"}{"model":"x"}',
    "byte order mark": b'\xef\xbb\xbf{"model":"m"}',
    "UTF-16": '{"model":"m"}'.encode("utf-16"),
    "NUL after": b'{"model":"m"}\x00',
    "latin-1 in a value not read": b'{"model":"m","x":"\xe9"}',
    "latin-1 in a name": b'{"model":"m","\xe9":1}',
    "surrogate in UTF-8": b'{"model":"m","x":"\xed\xa0\x80"}',
    "overlong UTF-8": b'{"model":"m","x":"\xc0\xaf"}',
    "lone surrogate": b'{"model":"m","x":"\\ud800"}',
    "bare line feed": b'{"model":"m","x":"a\nb"}',
    "bad escape": b'{"model":"m","x":"\\q"}',
    "leading zero": b'{"model":"m","x":01}',
    "NaN": b'{"model":"m","x":NaN}',
    "comment": b'{"model":"m"/* */}',
    "single quotes": b"{'model':'m'}",
    "trailing comma": b'{"model":"m",}',
    "twice": b'{"model":"m","model":"m"}',
    "twice, far apart": b'{"model":"a","x":{"model":"b"},"model":"c"}',
    "twice, escaped": b'{"model":"a","mod\\u0065l":"b"}',
    "twice, all escaped": b'{"\\u006d\\u006f\\u0064\\u0065\\u006c":"a","model":"b"}',
    "twice, first null": b'{"n":null,"model":"m","n":5}',
    "twice, both escaped": b'{"mode\\u006c":"a","mode\\u006C":"b"}',
    "too deep": nested(DEEPEST + 1),
    "too deep in objects": b'{"a":' * (DEEPEST + 1) + b"1" + b"}" * (DEEPEST + 1),
    "too deep behind closed ones": b'{"x":[%b],%b' % (b",".join([b"[]"] * 500), nested(DEEPEST + 1)[1:]),
    "too deep behind text of closings": b'{"x":"%b",%b' % (b"]}" * 500, nested(DEEPEST + 1)[1:]),
    "too deep behind an escaped quote": b'{"x":"\\"]}]}\\\\",%b' % nested(DEEPEST + 1, b'"]]]}}}"')[1:],
    "too deep for the parser": nested(100_000),
}

ACCEPTED = {
    "plain": b'{"model":"m"}',
    "white space": b' \t\r\n{ "model" : "m" } \n',
    "same name deeper": b'{"model":"m","x":{"model":1,"n":[{"model":2}]}}',
    "name in a text": b'{"model":"m","x":"\\"model\\": \\"y\\", \\"model\\":"}',
    "name ending in the name": b'{"model":"m","my\\"model":2,"xmodel":3}',
    "other members twice": b'{"model":"m","x":1,"x":2}',
    "deepest": nested(DEEPEST),
    "deepest, full of brackets in texts": nested(DEEPEST, b'"[[[{{{\\"[[[\\\\"'),
    "wide": b'{"x":[%b]}' % b",".join([b"[{}]"] * 5000),
    "brackets in a text": b'{"x":"%b"}' % (b"[{" * 500),
    "million digits": b'{"x":%b}' % (b"9" * 1_000_000),
    "huge exponent": b'{"x":1e999999999,"y":-1E-999999999}',
    "unicode": '{"model":"m","x":"日本語 🎣 \\ud83c\\udfa3"}'.encode(),
}


@pytest.mark.parametrize("body", REFUSED.values(), ids=REFUSED.keys())
def test_what_two_readers_may_read_differently_is_refused(body: bytes) -> None:
    began = time.thread_time()
    with pytest.raises(BodyError) as caught:
        peek.read(body)

    assert time.thread_time() - began < 0.1
    assert isinstance(caught.value, Refusal)
    assert caught.value.kind == "body_invalid"
    assert len(caught.value.message) < 300


@pytest.mark.parametrize("body", ACCEPTED.values(), ids=ACCEPTED.keys())
def test_what_is_merely_unusual_is_read(body: bytes) -> None:
    began = time.thread_time()
    _, notes = peek.read(body)

    assert time.thread_time() - began < 0.1
    assert notes.get("model", "m") == "m"


def test_numbers_of_a_million_digits_in_a_member_that_is_read_are_refused_quickly() -> None:
    began = time.thread_time()
    with pytest.raises(BodyError):
        peek.read(b'{"n":%b}' % (b"9" * 1_000_000))

    assert time.thread_time() - began < 0.1


def test_a_refused_body_leaves_nothing_behind() -> None:
    with pytest.raises(BodyError):
        peek.read(b'{"model":"a","n":1,"n":2}')

    assert peek.read(b'{"model":"b"}')[1] == {"model": "b"}


def depth(value: Any) -> int:
    if isinstance(value, dict):
        return 1 + max(map(depth, value.values()), default=0)
    return 1 + max(map(depth, value), default=0) if isinstance(value, list) else 0


texts = st.text(st.sampled_from('[]{}"\\,: aé\n'), max_size=8)
values = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=20,
)


@given(st.lists(values, min_size=1, max_size=3), st.integers(0, 6), st.booleans())
def test_depth_is_what_recursion_counts(inner: list[Any], below: int, is_padded: bool) -> None:
    """Whatever the texts look like: brackets, quotes and backslashes in them do not count."""
    body: Any = inner
    while depth(body) < DEEPEST - below + 3:
        body = [body]
    body = {"x": body, "wide": [[]] * DEEPEST if is_padded else 0}
    text = msgspec.json.encode(body)
    if depth(body) > DEEPEST:
        with pytest.raises(BodyError, match="body_invalid"):
            peek.read(text)
    else:
        peek.read(text)


spaces = st.sampled_from([b"", b" ", b"\n\t", b"\r\n"])
names = st.sampled_from(["model", "n", "stream", "x", 'q"uote', "back\\slash", "é", "", "a:b", "a,b", "}"])
spellings = st.one_of(
    values.map(msgspec.json.encode),
    st.sampled_from(
        [b"1.0", b"1e3", b"-0", b"12345678901234567890123", b'"\\u00e9\\/"', b'"mod\\u0065l"', b"{ }", b"[ 1 , 2 ]"]
    ),
)


def spell(name: str, is_escaped: bool) -> bytes:
    if is_escaped:
        return b'"%b"' % "".join(f"\\u{ord(char):04x}" for char in name).encode()
    return msgspec.json.encode(name)


members = st.lists(
    st.tuples(names, st.booleans(), spellings, spaces, spaces, spaces, spaces), unique_by=lambda member: member[0]
)


def join(rows: list[Any], replaced: dict[str, bytes]) -> bytes:
    """The body's text as a caller may lay it out, with some values replaced."""
    return b",".join(
        before + spell(name, is_escaped) + b + b":" + c + replaced.get(name, value) + after
        for name, is_escaped, value, before, b, c, after in rows
    )


@given(members, st.dictionaries(names, spellings, max_size=4), spaces, spaces)
def test_an_edit_changes_the_named_members_and_no_other_byte(
    rows: list[Any], changes: dict[str, bytes], before: bytes, after: bytes
) -> None:
    changes = {name: value for name, value in changes.items() if name not in ('q"uote', "back\\slash")}
    present = {row[0] for row in rows}
    body = before + b"{" + join(rows, {}) + b"}" + after

    edited = edit(body, changes)

    added = [spell(name, False) + b":" + value for name, value in changes.items() if name not in present]
    middle = join(rows, changes)
    expected = before + b"{" + b",".join(([middle] if rows else []) + added) + b"}" + after
    assert edited == expected
    for name, (start, end) in find_members(edited).items():
        if name in changes:
            assert edited[start:end] == changes[name]


@given(members.filter(len), st.data())
def test_a_member_given_twice_is_never_edited(rows: list[Any], data: st.DataObject) -> None:
    twin = data.draw(st.sampled_from(rows))
    value = data.draw(st.one_of(st.just(twin[2]), spellings))
    row = (twin[0], data.draw(st.booleans()), value, *twin[3:])
    at = data.draw(st.integers(0, len(rows)))
    body = b"{" + join([*rows[:at], row, *rows[at:]], {}) + b"}"

    with pytest.raises(BodyError):
        edit(body, {"model": b'"other"'})


def test_a_body_of_too_many_members_is_not_walked() -> None:
    body = b"{%b}" % b",".join(b'"%d":0' % number for number in range(MOST_MEMBERS + 1))

    with pytest.raises(BodyError):
        find_members(body)


@given(st.binary(max_size=40))
def test_no_bytes_make_the_walk_fail_otherwise(body: bytes) -> None:
    for candidate in (body, b'{"a":' + body + b"}", b'{"' + body + b'":1}'):
        try:
            find_members(candidate)
            peek.read(candidate)
        except BodyError:
            continue


NESTED = [
    (b"null", b'{"include_usage":true}'),
    (b"{}", b'{"include_usage":true}'),
    (b"{ }", b'{ "include_usage":true}'),
    (b'{"include_usage":false}', b'{"include_usage":true}'),
    (b'{ "include_usage" : null , "x":1.0}', b'{ "include_usage" : true , "x":1.0}'),
    (b'{"include_obfuscation": false}', b'{"include_obfuscation": false,"include_usage":true}'),
]


@pytest.mark.parametrize(("options", "expected"), NESTED)
def test_a_member_of_a_member_is_set(options: bytes, expected: bytes) -> None:
    body = b'{"o": %b }' % options
    span = find_members(body)["o"]

    assert edit(body, {"o": set_nested(body, span, {"include_usage": b"true"})}) == b'{"o": %b }' % expected


def test_members_are_appended_before_the_last_brace() -> None:
    assert append(b'{"a":1 }\n', [("b", b"2"), ("c", b"{}")]) == b'{"a":1 ,"b":2,"c":{}}\n'


def test_looking_and_editing_cost_linear_time() -> None:
    def seconds(size: int) -> float:
        body = b'{"model":"m","x":[%b]}' % b",".join([b'{"a":"[\\"]"}'] * size)
        began = time.thread_time()
        peek.read(body)
        edit(body, {"model": b'"other"'})
        return time.thread_time() - began

    assert min(seconds(80_000) for _ in range(3)) < 24 * min(seconds(10_000) for _ in range(5))
