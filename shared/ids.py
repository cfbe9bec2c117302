"""UUIDv7 (RFC 9562 §5.7): ids that sort by the millisecond they were made in."""

import os
import time
import uuid

_RANDOM_BYTES = 10
_POOL_BYTES = 400 * _RANDOM_BYTES
_pool = b""
_taken = 0


def _random() -> bytes:
    """Ten random bytes from a pool: one call to the kernel for hundreds of ids."""
    global _pool, _taken  # noqa: PLW0603 - one pool for the process
    start = _taken
    if start == len(_pool):
        _pool, start = os.urandom(_POOL_BYTES), 0
    _taken = start + _RANDOM_BYTES
    return _pool[start:_taken]


def _forget_pool() -> None:
    """A forked process must not make its parent's ids again."""
    global _pool, _taken
    _pool, _taken = b"", 0


os.register_at_fork(after_in_child=_forget_pool)


def uuid7() -> uuid.UUID:
    """A new id: 48 bits of Unix milliseconds, 74 random bits."""
    milliseconds = time.time_ns() // 1_000_000
    random = int.from_bytes(_random())
    high = (milliseconds & 0xFFFF_FFFF_FFFF) << 80 | 0x7 << 76 | (random >> 68 & 0xFFF) << 64
    return uuid.UUID(int=high | 0b10 << 62 | (random & 0x3FFF_FFFF_FFFF_FFFF))


def uuid7_text() -> str:
    """The same as text, without building a UUID object: the request path makes two of these per call."""
    digits = f"{time.time_ns() // 1_000_000 & 0xFFFFFFFFFFFF:012x}"
    random = _random()
    rest = random.hex()
    variant = "89ab"[random[1] & 3]
    return f"{digits[:8]}-{digits[8:]}-7{rest[:3]}-{variant}{rest[5:8]}-{rest[8:20]}"
