"""Durations as the admin API, headers and settings write them: Go's syntax (`1h30m`, `500ms`) plus days (`2d`).

A duration is an integer of nanoseconds inside, so `0.1s` is exact and comparing two is safe.
"""

import re
from decimal import Decimal

NANOSECONDS_PER_SECOND = 1_000_000_000

_UNITS = {
    "ns": 1,
    "us": 1_000,
    "µs": 1_000,
    "μs": 1_000,
    "ms": 1_000_000,
    "s": NANOSECONDS_PER_SECOND,
    "m": 60 * NANOSECONDS_PER_SECOND,
    "h": 3_600 * NANOSECONDS_PER_SECOND,
    # Not Go's, but the contract's documentation writes `2d` (§2.9).
    "d": 86_400 * NANOSECONDS_PER_SECOND,
}
_PART = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|μs|ms|s|m|h|d)", re.ASCII)
_LONGEST_TEXT = 64
_LARGEST = 2**63 - 1


def parse_duration(text: str) -> int:
    """The nanoseconds that `text` stands for. `0` needs no unit; a leading sign is not accepted.

    Raises ValueError when it is not a duration, or one longer than Go's (about 292 years).
    """
    text = text.strip()
    if text == "0":
        return 0
    if not text or len(text) > _LONGEST_TEXT:
        raise ValueError(f"not a duration: {text[:_LONGEST_TEXT]!r}")
    total = Decimal(0)
    position = 0
    while position < len(text):
        part = _PART.match(text, position)
        if part is None:
            raise ValueError(f"not a duration: {text!r} (write for example 500ms, 90s, 10m, 24h or 2d)")
        total += Decimal(part.group(1)) * _UNITS[part.group(2)]
        position = part.end()
    nanoseconds = int(total)
    if nanoseconds > _LARGEST:
        raise ValueError(f"duration out of range: {text!r}")
    return nanoseconds


def parse_seconds(text: str) -> float:
    """The same in seconds, for timeouts. Raises ValueError as `parse_duration` does."""
    return parse_duration(text) / NANOSECONDS_PER_SECOND
