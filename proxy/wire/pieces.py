"""What putting streams together needs whatever the format: values that come in pieces, and the word for doubt."""

from typing import Any, cast

Members = dict[str, Any]


class NotWhole(Exception):  # noqa: N818 - an answer, not a fault
    """The frames do not make one whole answer that is surely known."""


class Parts(list[str]):
    """A text that comes in pieces; joined once, at the end."""


class Numbered(dict[int, Members]):
    """A list whose items come in pieces, each with its `index`; it has none in the plain answer."""


def as_object(value: Any) -> Members:
    """`value`, a JSON object. Raises NotWhole."""
    if not isinstance(value, dict):
        raise NotWhole
    return cast("Members", value)


def as_objects(value: Any) -> list[Members]:
    """`value`, a list of JSON objects. Raises NotWhole."""
    if not isinstance(value, list):
        raise NotWhole
    return [as_object(item) for item in cast("list[Any]", value)]


def index_of(piece: Members) -> int:
    """Which item of a list the piece belongs to. Raises NotWhole."""
    index = piece.get("index")
    if not isinstance(index, int):
        raise NotWhole
    return index


def take(into: Members, said: Members) -> None:
    """What each frame says in full: the last word counts, and null is none."""
    for name, value in said.items():
        if value is not None or name not in into:
            into[name] = value


def plain(value: Any) -> Any:
    """`value` as JSON has it: pieces joined, numbered items a list in their order."""
    if isinstance(value, Parts):
        return "".join(value)
    if isinstance(value, Numbered):
        return [plain(value[index]) for index in sorted(value)]
    if isinstance(value, dict):
        return {name: plain(member) for name, member in cast("Members", value).items()}
    if isinstance(value, list):
        return [plain(item) for item in cast("list[Any]", value)]
    return value
