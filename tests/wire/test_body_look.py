"""The look at a body of any API: what is counted, and what is spelt in another way."""

from typing import Any

import pytest

from proxy.wire.body import BodyError, once
from proxy.wire.body_look import NUMBERED, BodyLook, Text, shape


def _fields(is_open: bool, is_open_inside: bool) -> list[Any]:
    part = shape("Part", [("kind", once("kind"), None)], () if is_open_inside else ("size",))
    item = shape("Item", [("part", part | None, None), NUMBERED], () if is_open else ("note",))
    given = Text | list[item]
    return [("name", once("name"), None), ("given", given | None if is_open else given, None)]


def _count(peeked: Any) -> int:
    return len(peeked.given) if type(peeked.given) is list else peeked.given is not None


LOOK = BodyLook(
    _fields,
    passed_over=("known",),
    acted_on=("name", "given"),
    count=_count,
    inside={"given": frozenset({"part"})},
    deep={"given": frozenset({"kind"})},
)

READ: dict[str, tuple[bytes, dict[str, Any]]] = {
    "nothing": (b"{}", {}),
    "known": (b'{"name":1,"known":{"Name":[]}}', {"name": 1}),
    "text": (b'{"given":"a"}', {}),
    "empty text": (b'{"given":""}', {}),
    "null": (b'{"given":null}', {}),
    "items": (b'{"given":[{},{"part":{"kind":"a","size":1}},{"note":2}]}', {"kind": "a"}),
    "unknown in the body": (b'{"other":{"Name":1},"name":2,"given":"x"}', {"name": 2}),
    "unknown in an item": (b'{"given":[{"other":1,"part":{"kind":"a"}}]}', {"kind": "a"}),
    "unknown in a part": (b'{"given":[{"part":{"kind":"a","other":1}}]}', {"kind": "a", "is_unbounded": True}),
}
REFUSED: dict[str, bytes] = {
    "name twice": b'{"name":1,"name":2}',
    "texts twice": b'{"given":"a","given":"a"}',
    "empty texts twice": b'{"given":"","given":""}',
    "texts twice, unknown beside": b'{"x":1,"given":"a","given":"a"}',
    "a text and null": b'{"given":"a","given":null}',
    "null and a text": b'{"given":null,"given":"a"}',
    "null and items": b'{"given":null,"given":[{}]}',
    "null and items, unknown beside": b'{"given":null,"given":[{}],"x":1}',
    "null twice": b'{"given":null,"given":null}',
    "a text and items": b'{"given":"a","given":[{}]}',
    "items and a text": b'{"given":[{}],"given":"a"}',
    "items twice": b'{"given":[{}],"given":[{},{}]}',
    "the text that does not count": b'{"given":"\\u0000"}',
    "another spelling": b'{"Name":1}',
    "another spelling beside": b'{"name":1,"NAME":2}',
    "another spelling in an item": b'{"given":[{"PART":{}}]}',
    "another spelling in a part": b'{"given":[{"part":{"Kind":1}}]}',
    "another spelling in an unknown part": b'{"given":[{"part":{"kind":1,"other":[{"KIND":1}]}}]}',
    "a number that was counted": b'{"given":[{" number":5}]}',
    "of another shape": b'{"given":5}',
}


@pytest.mark.parametrize(("body", "notes"), READ.values(), ids=READ.keys())
def test_a_body_is_read_for_what_is_acted_on(body: bytes, notes: dict[str, Any]) -> None:
    assert LOOK.read(body)[1] == notes


@pytest.mark.parametrize("body", REFUSED.values(), ids=REFUSED.keys())
def test_a_body_in_which_another_reader_may_find_something_else_is_refused(body: bytes) -> None:
    with pytest.raises(BodyError):
        LOOK.read(body)
    assert LOOK.read(b'{"name":1}')[1] == {"name": 1}, "a refusal leaves nothing behind"


def test_where_members_stand_is_told_only_if_it_had_to_be_found_out() -> None:
    assert LOOK.read(b'{"given":"a"}')[2] is None
    assert LOOK.read(b'{"given":"a","x":1}')[2] == {"given": (9, 12), "x": (17, 18)}
