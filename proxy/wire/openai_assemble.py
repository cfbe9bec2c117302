"""Streams of chat completions, completions and responses, put together (see `assemble`)."""

from collections.abc import Iterator
from typing import Any, cast

import msgspec

from proxy.wire.pieces import Members, NotWhole, Numbered, Parts, as_object, as_objects, index_of, plain, take

Frames = Iterator[tuple[str, bytes]]

_DONE = b"[DONE]"
_TEXTS = frozenset({"content", "refusal", "reasoning", "reasoning_content", "arguments", "text"})
"""Strings that come in pieces. Any other string is said once, or each time the same."""
_NO_MEANING = frozenset({"obfuscation", "choices"})
_ENDINGS = frozenset({"response.completed", "response.incomplete", "response.failed"})
_ITEM = b'"response.output_item.done"'
_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder()


def assemble_chat(frames: Frames) -> bytes:
    """A chat completion of its chunks. Raises NotWhole and what decoding raises, like the other two."""
    answer, choices = _read_chunks(frames)
    for choice in choices:
        message: Members = choice.pop("delta", {})
        message.setdefault("content", None)
        choice["message"] = message
    return _encoder.encode(plain({**answer, "object": "chat.completion", "choices": choices}))


def assemble_completion(frames: Frames) -> bytes:
    """A completion of its chunks, which already bear the plain answer's `object`."""
    answer, choices = _read_chunks(frames)
    return _encoder.encode(plain({**answer, "choices": choices}))


def _read_chunks(frames: Frames) -> tuple[Members, list[Members]]:
    """What the chunks say of the answer, and its choices in their order."""
    answer: Members = {}
    choices: dict[int, Members] = {}
    is_done = False
    for _, data in frames:
        if is_done:
            raise NotWhole
        if data.strip() == _DONE:
            is_done = True
            continue
        chunk = as_object(_decoder.decode(data))
        if chunk.get("error") is not None:
            raise NotWhole
        for piece in as_objects(chunk.get("choices") or []):
            index = index_of(piece)
            _add_choice(choices.setdefault(index, {"index": index}), piece)
        take(answer, {name: value for name, value in chunk.items() if name not in _NO_MEANING})
    if not is_done or not choices or any(choice.get("finish_reason") is None for choice in choices.values()):
        raise NotWhole
    if answer.get("usage") is None:
        answer.pop("usage", None)
    return answer, [choices[index] for index in sorted(choices)]


def _add_choice(choice: Members, piece: Members) -> None:
    delta = as_object(piece.pop("delta", None) or {})
    if "audio" in delta:
        raise NotWhole  # base64 in pieces, each with its own padding
    _merge(choice, {"delta": delta} if delta else {})
    _merge(choice, {name: piece.pop(name) for name in ("text", "logprobs") if name in piece})
    take(choice, piece)


def _merge(into: Members, piece: Members) -> None:
    """What comes in pieces. Raises NotWhole where it is not sure how they belong together."""
    for name, value in piece.items():
        known = into.get(name)
        if value is None:
            into.setdefault(name, None)
        elif known is None:
            into[name] = _begin(name, value)
        elif isinstance(known, Parts):
            known.append(_text(value))
        elif isinstance(known, Numbered):
            _merge_numbered(known, value)
        elif isinstance(known, dict):
            _merge(cast("Members", known), as_object(value))
        elif isinstance(known, list) and isinstance(value, list):
            cast("list[Any]", known).extend(cast("list[Any]", value))
        elif value not in ("", known):
            if known != "":
                raise NotWhole
            into[name] = value


def _begin(name: str, value: Any) -> Any:
    if name in _TEXTS and isinstance(value, str):
        return Parts([value])
    if name == "tool_calls":
        numbered = Numbered()
        _merge_numbered(numbered, value)
        return numbered
    if isinstance(value, dict):
        begun: Members = {}
        _merge(begun, cast("Members", value))
        return begun
    return value


def _merge_numbered(into: Numbered, value: Any) -> None:
    for piece in as_objects(value):
        index = index_of(piece)
        del piece["index"]
        _merge(into.setdefault(index, {}), piece)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise NotWhole
    return value


class _LastEvent(msgspec.Struct):
    type: str
    response: msgspec.Raw


class _Output(msgspec.Struct):
    output: list[msgspec.Raw]


def assemble_response(frames: Frames) -> bytes:
    """The object in the last event, as it came."""
    said = [data for _, data in frames if data.strip() != _DONE]
    if not said:
        raise NotWhole
    last = msgspec.json.decode(said[-1], type=_LastEvent)
    answer = bytes(last.response)
    has_output = bool(msgspec.json.decode(answer, type=_Output).output)
    # Some servers leave out of the last event what they have said before.
    if last.type not in _ENDINGS or (not has_output and any(_ITEM in data for data in said)):
        raise NotWhole
    return answer
