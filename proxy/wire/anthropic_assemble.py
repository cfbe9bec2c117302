"""Streams of messages and of the old text completion, put together (see `assemble`)."""

from collections.abc import Callable, Iterator
from typing import Any, cast

import msgspec

from proxy.wire.pieces import Members, NotWhole, Parts, as_object, index_of, plain, take

Frames = Iterator[tuple[str, bytes]]

_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder()
_TEXTS = {"text_delta": "text", "thinking_delta": "thinking", "input_json_delta": "partial_json"}
"""Deltas whose member is a text in pieces."""


class _Message:
    """A message while it comes."""

    def __init__(self, started: Members) -> None:
        if started.get("content"):
            raise NotWhole
        self.members = started
        self.is_stopped = False
        self._blocks: dict[int, Members] = {}
        self._open: dict[int, Members] = {}

    def start_block(self, event: Members) -> None:
        index = index_of(event)
        if index in self._blocks:
            raise NotWhole
        self._blocks[index] = self._open[index] = as_object(event.get("content_block"))

    def add_delta(self, event: Members) -> None:
        block = self._open.get(index_of(event))
        if block is None:
            raise NotWhole
        _add_delta(block, as_object(event.get("delta")))

    def stop_block(self, event: Members) -> None:
        block = self._open.pop(index_of(event), None)
        if block is None:
            raise NotWhole
        # The arguments of a tool are one JSON text, cut anywhere.
        text = "".join(block.pop("partial_json", ())).encode()
        if text:
            as_object(_decoder.decode(text))
            block["input"] = msgspec.Raw(text)

    def change(self, event: Members) -> None:
        usage = as_object(event.pop("usage", None) or {})
        self.members.update(as_object(event.pop("delta", None) or {}))
        self.members.update(event)
        if usage:
            take(as_object(self.members.setdefault("usage", {})), usage)

    def stop(self, _: Members) -> None:
        self.is_stopped = True

    def whole(self) -> Members:
        if not self.is_stopped or self._open:
            raise NotWhole
        return {**self.members, "content": [self._blocks[index] for index in sorted(self._blocks)]}


_EVENTS: dict[str, Callable[[_Message, Members], None]] = {
    "content_block_start": _Message.start_block,
    "content_block_delta": _Message.add_delta,
    "content_block_stop": _Message.stop_block,
    "message_delta": _Message.change,
    "message_stop": _Message.stop,
}


def assemble_message(frames: Frames) -> bytes:
    """A message of its events. Raises NotWhole and what decoding raises, like the other one."""
    message: _Message | None = None
    for _, data in frames:
        event = as_object(_decoder.decode(data))
        kind = event.pop("type", None)
        if kind == "ping":
            continue
        if message is None:
            if kind != "message_start":
                raise NotWhole
            message = _Message(as_object(event.get("message")))
            continue
        if message.is_stopped or not isinstance(kind, str) or kind not in _EVENTS:
            raise NotWhole
        _EVENTS[kind](message, event)
    if message is None:
        raise NotWhole
    return _encoder.encode(plain(message.whole()))


def _add_delta(block: Members, delta: Members) -> None:
    kind = delta.pop("type", None)
    if not isinstance(kind, str) or len(delta) != 1:
        raise NotWhole
    [(name, value)] = delta.items()
    if _TEXTS.get(kind) == name and isinstance(value, str):
        parts = block.get(name)
        if not isinstance(parts, Parts):
            parts = block[name] = Parts([parts] if isinstance(parts, str) else [])
        parts.append(value)
    elif (kind, name) == ("signature_delta", "signature"):
        block[name] = value
    elif (kind, name) == ("citations_delta", "citation"):
        citations: Any = block.get("citations") or []
        if not isinstance(citations, list):
            raise NotWhole
        block["citations"] = [*cast("list[Any]", citations), value]
    else:
        raise NotWhole


def assemble_completion(frames: Frames) -> bytes:
    """A text completion of its events."""
    answer: Members = {}
    text = Parts()
    for name, data in frames:
        event = as_object(_decoder.decode(data))
        if name == "ping" or event.get("type") == "ping":
            continue
        piece = event.pop("completion", None)
        if not isinstance(piece, str) or answer.get("stop_reason") is not None:
            raise NotWhole
        text.append(piece)
        take(answer, event)
    if answer.get("stop_reason") is None:
        raise NotWhole
    return _encoder.encode({**answer, "completion": "".join(text)})
