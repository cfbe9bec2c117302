"""UUIDv7 (RFC 9562 §5.7): ids that sort by the millisecond they were made in."""

import os
import time
import uuid


def uuid7() -> uuid.UUID:
    """A new id: 48 bits of Unix milliseconds, 74 random bits."""
    milliseconds = time.time_ns() // 1_000_000
    random = int.from_bytes(os.urandom(10))
    high = (milliseconds & 0xFFFF_FFFF_FFFF) << 80 | 0x7 << 76 | (random >> 68 & 0xFFF) << 64
    return uuid.UUID(int=high | 0b10 << 62 | (random & 0x3FFF_FFFF_FFFF_FFFF))


def uuid7_text() -> str:
    """The same as text, without building a UUID object: the request path makes two of these per call."""
    digits = f"{time.time_ns() // 1_000_000 & 0xFFFFFFFFFFFF:012x}"
    random = os.urandom(10)
    rest = random.hex()
    variant = "89ab"[random[1] & 3]
    return f"{digits[:8]}-{digits[8:]}-7{rest[:3]}-{variant}{rest[5:8]}-{rest[8:20]}"
