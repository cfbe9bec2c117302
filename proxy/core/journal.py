"""The journal's records: how they are framed, encoded and read.

A record is `u32 length, u32 crc32, payload` (little endian); a payload's first byte is its kind. What is cut off or
does not match its checksum ends a segment: nothing before it is lost. A `close` carries its event as finished JSON,
so that shipping decodes nothing. Pure: files, clocks and locks are the adapters'.
"""

from collections.abc import Sequence
from struct import Struct
from typing import Literal, NamedTuple, cast
from zlib import crc32

import msgspec

from proxy.core.holds import SettleOrder
from shared.events import Event, event_encoder, without_bodies

_HEAD = Struct("<II")
_SIZE = Struct("<I")
HEAD_BYTES = _HEAD.size
LARGEST_RECORD = 1 << 24
"""A length beyond this is damage, not a record."""
LARGEST_EVENT = 1 << 16
"""An event that is longer as JSON, its bodies aside, has its texts cut: a caller's texts must not fill the journal."""
LARGEST_DOCUMENT = LARGEST_RECORD - LARGEST_EVENT
"""An event that is longer as JSON with its bodies loses them. The rest of the record has room behind it."""
LONGEST_TEXT = 500
"""Characters of a text that was cut; short enough for every index of Postgres (2,700 bytes)."""

OPEN, PROGRESS, CLOSE = b"OPC"

_NUL = b"\\u0000"
_LARGEST_NUMBER = 2**53
_LARGEST_STATUS = 2**31 - 1


class OpenAttempt(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """The `open` record: enough to bill the attempt if this process dies."""

    event: Event
    """A finished event of outcome `recovered`, with the prompt bound as its input tokens."""
    order: SettleOrder
    prompt_cost_nano: int | None
    """Cost of the prompt bound. None: no price is known."""
    output_price: int
    """Nano-USD per million output tokens, for what `progress` records tell."""


class Progress(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """How far a running stream had come."""

    attempt_id: str
    output_tokens: int
    at_us: int
    """Unix microseconds."""


class Closed(msgspec.Struct, frozen=True, gc=False):
    """A `close` record as it is read: the event's JSON, and what settles its attempt."""

    document: bytes
    order: SettleOrder | None
    """None: nothing to settle (a refusal, or an attempt that was voided)."""
    cost_nano: int | None


class Frame(NamedTuple):
    """One record as it lies in a segment."""

    kind: int
    payload: bytes
    end: int
    """Offset behind it."""


class Frames(NamedTuple):
    """The whole records found in some bytes."""

    frames: list[Frame]
    end: int
    """Offset behind the last whole record."""
    rest: Literal["none", "cut", "damaged"]
    """What lies behind it. cut: the beginning of a record, perhaps; damaged: surely no record."""


class _Identity(msgspec.Struct, gc=False):
    id: str


_encoder = msgspec.msgpack.Encoder()
_identity_decoder = msgspec.json.Decoder(_Identity)
_open_decoder = msgspec.msgpack.Decoder(OpenAttempt)
_progress_decoder = msgspec.msgpack.Decoder(Progress)
_settlement_decoder = msgspec.msgpack.Decoder(tuple[SettleOrder | None, int | None])


def frame(payload: bytes) -> bytes:
    """The payload as it is written."""
    return _HEAD.pack(len(payload), crc32(payload)) + payload


def encode_open(attempt: OpenAttempt) -> bytes:
    """The framed `open` record; without bodies, which a call that is under way has no need of on disk."""
    if attempt.event.request or attempt.event.response:
        attempt = msgspec.structs.replace(attempt, event=without_bodies(attempt.event))
    try:
        payload = _encoder.encode(attempt)
    except (UnicodeEncodeError, OverflowError):
        payload = b""
    if not payload or len(payload) > LARGEST_EVENT:
        payload = _encoder.encode(msgspec.structs.replace(attempt, event=tame(attempt.event, LONGEST_TEXT)))
    return frame(b"O" + payload)


def encode_progress(progress: Progress) -> bytes:
    """The framed `progress` record."""
    return frame(b"P" + _encoder.encode(progress))


def encode_close(event: Event, order: SettleOrder | None) -> bytes:
    """The framed `close` record. What Postgres or JSON cannot take is made harmless first: no event is lost for it."""
    if abs(event.charged_cost_nano or 0) > _LARGEST_NUMBER:  # an upstream that claims usage without any sense
        event = tame(event)
    settlement = _encoder.encode((order, event.charged_cost_nano))
    document = encode_event(event)
    return frame(b"".join((b"C", _SIZE.pack(len(document)), document, settlement)))


def encode_event(event: Event) -> bytes:
    """The event as JSON that `ingest_events` takes: valid UTF-8, no NUL."""
    try:
        document = event_encoder.encode(event)
    except (UnicodeEncodeError, OverflowError):
        document = event_encoder.encode(tame(event))
    if _NUL in document:  # or an escaped backslash before `u0000`: taming that is harmless too
        document = event_encoder.encode(tame(event))
    return document if len(document) <= LARGEST_EVENT else _fitted(event, document)


def _fitted(event: Event, document: bytes) -> bytes:
    """A long event as one that may be written: its texts are cut; if that is not enough, its bodies are given up."""
    if len(document) - _base64_size(event.request) - _base64_size(event.response) > LARGEST_EVENT:
        document = event_encoder.encode(tame(event, LONGEST_TEXT))
    return document if len(document) <= LARGEST_DOCUMENT else encode_event(without_bodies(event))


def _base64_size(body: bytes) -> int:
    return (len(body) + 2) // 3 * 4


def tame(event: Event, longest: int | None = None) -> Event:
    """The same event in values every store takes: no NUL, no lone surrogate, numbers that a double holds exactly.

    `longest` also cuts texts to so many characters, and a tuple to so many texts.
    """
    changes: dict[str, object] = {}
    for name in event.__struct_fields__:
        value = getattr(event, name)
        if isinstance(value, str):
            changes[name] = _tame_text(value, longest)
        elif isinstance(value, tuple):
            changes[name] = tuple(_tame_text(text, longest) for text in cast("tuple[str, ...]", value)[:longest])
        elif isinstance(value, int) and not isinstance(value, bool):
            largest = _LARGEST_STATUS if name == "status" else _LARGEST_NUMBER
            changes[name] = max(-largest, min(value, largest))
    return msgspec.structs.replace(event, **changes)


def _tame_text(text: str, longest: int | None) -> str:
    return text.replace("\x00", "\ufffd").encode("utf-8", "replace").decode("utf-8")[:longest]


def split_frames(data: bytes, base: int = 0, only: int | None = None) -> Frames:
    """The whole records at the beginning of `data`, which lies at offset `base` of its segment.

    `only`: records of other kinds than this are passed over, unchecked.
    """
    frames: list[Frame] = []
    at, total = 0, len(data)
    rest: Literal["none", "cut", "damaged"] = "none"
    while at < total:
        if total - at < HEAD_BYTES:
            rest = "cut"
            break
        length, checksum = _HEAD.unpack_from(data, at)
        end = at + HEAD_BYTES + length
        # Length 0 is what a file system leaves where a crash of the machine took the content.
        if not 0 < length <= LARGEST_RECORD:
            rest = "damaged"
            break
        if end > total:
            rest = "cut"
            break
        if only is not None and data[at + HEAD_BYTES] != only:
            at = end
            continue
        payload = data[at + HEAD_BYTES : end]
        if crc32(payload) != checksum:
            rest = "damaged"
            break
        frames.append(Frame(payload[0], payload, base + end))
        at = end
    return Frames(frames, base + at, rest)


def decode_open(payload: bytes) -> OpenAttempt:
    """Raises msgspec.MsgspecError."""
    return _open_decoder.decode(memoryview(payload)[1:])


def decode_progress(payload: bytes) -> Progress:
    """Raises msgspec.MsgspecError."""
    return _progress_decoder.decode(memoryview(payload)[1:])


def document_of(payload: bytes) -> bytes:
    """The event's JSON in a `close` record, undecoded."""
    return payload[1 + _SIZE.size : 1 + _SIZE.size + _SIZE.unpack_from(payload, 1)[0]]


def decode_close(payload: bytes) -> Closed:
    """Raises msgspec.MsgspecError."""
    document = document_of(payload)
    order, cost = _settlement_decoder.decode(memoryview(payload)[1 + _SIZE.size + len(document) :])
    return Closed(document, order, cost)


def attempt_of(payload: bytes) -> str:
    """The id of the attempt that a `close` record closes. Raises msgspec.MsgspecError."""
    return _identity_decoder.decode(document_of(payload)).id


def join_documents(documents: Sequence[bytes]) -> bytes:
    """The JSON array of events that `ingest_events` takes."""
    return b"[" + b",".join(documents) + b"]"
