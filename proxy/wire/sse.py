"""Server-sent events: where frames end, and what a frame says.

Decides which bytes may leave now: whole frames at once, a partial one waits. It must not know what the frames mean,
nor change a byte. Framing is WHATWG's (html.spec.whatwg.org, 9.2.6): a line ends at LF, CRLF or CR, a frame at an
empty line. A frame whose empty line is a lone CR leaves at once; a LF that comes right after still belongs to it.
"""

from collections.abc import Iterator

from shared.errors import UpstreamFailure

LONGEST_PARTIAL = 1024 * 1024
"""Bytes of an unfinished frame that may wait."""

_BOM = b"\xef\xbb\xbf"
_LF, _CR = b"\n", b"\r"
# Two line ends in a row, seen as byte pairs. CR LF is one line end, so it is not among them.
_BLANK_PAIRS = (b"\n\n", b"\r\r", b"\n\r")


class FrameTooLong(UpstreamFailure):
    """An unfinished frame outgrew LONGEST_PARTIAL."""

    def __init__(self) -> None:
        super().__init__("upstream_invalid", f"upstream sent a frame of more than {LONGEST_PARTIAL} bytes")


class FrameSplitter:
    """Cuts a byte stream at frame boundaries. What it returns, joined, is what it was fed, less the partial rest."""

    __slots__ = ("_last", "_partial")

    def __init__(self) -> None:
        self._partial = bytearray()
        # The byte before the next chunk: one byte is all the context a boundary needs. A stream starts on a new line.
        self._last = _LF

    @property
    def partial(self) -> bytes:
        """The unfinished frame that waits."""
        return bytes(self._partial)

    def feed(self, chunk: bytes) -> bytes:
        """The frames that are complete now, as one object; `chunk` itself where it ends with a frame.

        Linear in all bytes fed, however they are cut. Raises FrameTooLong.
        """
        if not self._partial and chunk.endswith(b"\n\n"):
            self._last = _LF
            return chunk
        return self._cut(chunk)

    def _cut(self, chunk: bytes) -> bytes:
        if not chunk:
            return b""
        partial = self._partial
        end = _last_boundary(self._last + chunk) - 1
        if end <= 0 and not partial and self._last == _CR and chunk.startswith(_LF):
            end = 1
        self._last = chunk[-1:]
        if end <= 0:
            partial += chunk
            block = b""
        else:
            block = bytes(partial + chunk[:end]) if partial else chunk[:end]
            self._partial = partial = bytearray(chunk[end:])
        if len(partial) > LONGEST_PARTIAL:
            raise FrameTooLong
        return block


def _last_boundary(window: bytes) -> int:
    """Where the last complete frame ends; 0 when none does."""
    end = window.rfind(b"\n\n") + 2
    if end == 1:
        end = 0
    if _CR in window:
        for pair in (b"\r\r", b"\n\r"):
            at = window.rfind(pair)
            if at >= 0:
                end = max(end, _past_line_feed(window, at + 2))
    return end


def _past_line_feed(block: bytes, at: int) -> int:
    """`at`, or one further when a CR before it is half of a CRLF."""
    return at + 1 if block[at - 1 : at + 1] == b"\r\n" else at


def frame_at(block: bytes, at: int) -> tuple[int, int]:
    """Start and end of the frame around offset `at` of a block of whole frames; empty lines between belong to none."""
    start, end = 0, len(block)
    for pair in _BLANK_PAIRS:
        before = block.rfind(pair, 0, at)
        if before >= 0:
            start = max(start, before + 2)
        after = block.find(pair, at, end)
        if after >= 0:
            end = min(end, _past_line_feed(block, after + 2))
    while block[start : start + 1] in (_LF, _CR):
        start += 1
    return start, end


def iter_data(block: bytes) -> Iterator[tuple[str, bytes]]:
    """Event name and data of each frame that has data. A frame without an event name gives an empty one."""
    event = ""
    data: list[bytes] = []
    for line in block.removeprefix(_BOM).splitlines():
        if not line:
            if data:
                yield event, b"\n".join(data)
            event, data = "", []
            continue
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if name == b"data":
            data.append(value)
        elif name == b"event":
            event = value.decode(errors="replace")
    if data:
        yield event, b"\n".join(data)
