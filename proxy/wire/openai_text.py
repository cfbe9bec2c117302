"""The text of bodies and answers of OpenAI's APIs, for a count where upstream reported no usage.

Decides what a tokenizer would see: texts, names, calls of tools and what describes tools. It must not know how many
tokens that is. Nothing here is on the path of a call whose usage is known, and nothing raises.
"""

from collections.abc import Callable
from typing import Any, cast

import msgspec

from proxy.wire.openai_members import prompt_words

_TEXTS = frozenset({
    "role", "name", "content", "text", "refusal", "reasoning_content", "reasoning", "arguments", "input", "output",
    "delta", "code",
})  # fmt: skip
"""Members whose texts a model reads or writes, at any depth."""
_NO_TEXT = frozenset({
    "image_url", "input_audio", "audio", "file", "file_data", "logprobs", "annotations", "metadata",
    "encrypted_content",
})  # fmt: skip
"""Members in which such names mean something else."""
_DESCRIPTIONS = ("tools", "functions", "response_format", "text")
"""Members of a body whose JSON a model reads about as it is."""

_decode = msgspec.json.Decoder().decode


def _members(body: bytes) -> dict[str, Any]:
    try:
        members = _decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return {}
    return cast("dict[str, Any]", members) if type(members) is dict else {}


def _collect(value: Any, found: list[str]) -> None:
    """Every text in `value`, in the order it stands there. Without recursion: an answer may be nested at will."""
    waiting = [value]
    while waiting:
        value = waiting.pop()
        if type(value) is str:
            found.append(value)
        elif type(value) is list:
            waiting += reversed(cast("list[Any]", value))
        elif type(value) is dict:
            waiting += [
                inner
                for name, inner in reversed(cast("dict[str, Any]", value).items())
                if (name in _TEXTS if type(inner) is str else name not in _NO_TEXT)
            ]


def _text_of(body: bytes, names: tuple[str, ...], descriptions: tuple[str, ...] = ()) -> str:
    members = _members(body)
    found: list[str] = []
    for name in names:
        _collect(members.get(name), found)
    found += [msgspec.json.encode(members[name]).decode() for name in descriptions if members.get(name)]
    return "\n".join([text for text in found if text])


def answer_text(member: str) -> Callable[[bytes], str]:
    """What reads the text of a whole answer that stands in `member`."""
    return lambda body: _text_of(body, (member,))


def chat_prompt(body: bytes) -> str:
    """The text of a chat completion's body."""
    return _text_of(body, ("messages",), _DESCRIPTIONS)


def responses_prompt(body: bytes) -> str:
    """The text of a response's body; not what it goes on from."""
    return _text_of(body, ("instructions", "input"), _DESCRIPTIONS)


def completions_prompt(body: bytes) -> str:
    """The text of a completion's body, or a word for each of its tokens."""
    members = _members(body)
    return "\n".join([text for text in (prompt_words(members.get("prompt")), members.get("suffix")) if text])


def embeddings_prompt(body: bytes) -> str:
    """The text of an embedding's body, or a word for each of its tokens."""
    return prompt_words(_members(body).get("input"))
