"""The text of a stream's deltas, for as long as upstream may still fail to report its usage.

Decides what of the frames is text, by the names of the members that hold it; it must not know how many tokens it is.
Nearly every stream ends in its usage, so nothing is done while frames pass: the first of them wait as bytes, and when
somebody asks, which is seldom, their texts are cut out of them and stand for the frames that came after, by length.
"""

import re

import msgspec

from proxy.wire.format import MOST_SEEN_TEXT

MOST_KEPT = 32 * 1024
"""Bytes of frames after which no more are kept, so that thousands of long streams stay small: above 100 of a token."""

_decode_text = msgspec.json.Decoder(str).decode


def text_members(*names: str) -> re.Pattern[bytes]:
    r"""Finds the texts of members of these names, wherever they are in valid JSON.

    A name cannot be imitated from within a text: there its quotes are `\"`, and the colon would come after that.
    """
    either = "|".join(map(re.escape, names)).encode()
    return re.compile(rb'"(?:%b)"[ \t]*+:[ \t]*+"([^"\\]*+(?:\\.[^"\\]*+)*+)"' % either)


class SeenText:
    """The first frames of a stream. `frames` and `size` (bytes) always count all of them that have passed."""

    __slots__ = ("_find", "_frames", "_is_full", "_kept", "_read")

    def __init__(self, members: re.Pattern[bytes]) -> None:
        self._find = members.findall
        self._kept = b""
        self._frames = 0
        self._is_full = False
        # Text, bytes that JSON spells it in, bytes kept: once there are enough and somebody asked, who may ask often.
        self._read: tuple[str, int, int] | None = None

    def keep(self, blocks: list[bytes], frames: int) -> None:
        """All blocks of frames so far. Nothing happens once there are enough."""
        if not self._is_full:
            self._kept, self._frames = b"".join(blocks), frames
            self._is_full = len(self._kept) >= MOST_KEPT

    def drop(self) -> None:
        """Usage is known: nobody will ask."""
        self._kept, self._is_full, self._read = b"", True, ("", 0, 0)

    def text(self) -> str:
        """The text of what is kept, at most MOST_SEEN_TEXT characters."""
        return self._decoded()[0][:MOST_SEEN_TEXT]

    def chars(self, frames: int, size: int) -> int:
        """Characters in all frames: what was not kept has as many more bytes than its frames' wrapping needs."""
        text, spelt, kept = self._decoded()
        if not spelt:
            return 0
        wrapping = (kept - spelt) * (frames - self._frames) // self._frames
        return len(text) * (spelt + max(size - kept - wrapping, 0)) // spelt

    def _decoded(self) -> tuple[str, int, int]:
        if self._read is not None:
            return self._read
        # Joined first: a character beyond 16 bits may be escaped in two halves, in two frames.
        spelt = b"".join(self._find(self._kept))
        try:
            text = _decode_text(b'"%b"' % spelt)
        except (msgspec.DecodeError, UnicodeDecodeError):
            text = spelt.decode(errors="replace")
        read = text, len(spelt), len(self._kept)
        if self._is_full:
            self._read, self._kept = read, b""
        return read
