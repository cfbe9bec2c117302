"""Gateway keys: mint, digest, mask. The one algorithm both planes share.

`sk-weir-<id>_<secret>_<checksum>`: the id (8 characters) may be shown, the secret carries 256 bits, the checksum lets
junk be refused without a look-up. Operators may also choose a key themselves, as BricksLLM's do. What is stored is
HMAC-SHA256(pepper, SHA-256(key)): BricksLLM's stored SHA-256 can be imported, and the stored form is no credential.
"""

import hashlib
import hmac
import os
import zlib

KEY_PREFIX = "sk-weir-"
_ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_ID_CHARACTERS = 8
_SECRET_CHARACTERS = 43
_CHECKSUM_CHARACTERS = 6
MINTED_KEY_CHARACTERS = len(KEY_PREFIX) + _ID_CHARACTERS + 1 + _SECRET_CHARACTERS + 1 + _CHECKSUM_CHARACTERS


def _base62(number: int, width: int) -> str:
    digits: list[str] = []
    for _ in range(width):
        number, digit = divmod(number, 62)
        digits.append(_ALPHABET[digit])
    return "".join(reversed(digits))


def _checksum(body: str) -> str:
    return _base62(zlib.crc32(body.encode("utf-8", "surrogatepass")), _CHECKSUM_CHARACTERS)


def mint_key() -> str:
    """A new random key."""
    public_id = _base62(int.from_bytes(os.urandom(8)), _ID_CHARACTERS)
    secret = _base62(int.from_bytes(os.urandom(32)), _SECRET_CHARACTERS)
    body = f"{KEY_PREFIX}{public_id}_{secret}"
    return f"{body}_{_checksum(body)}"


def is_junk(key: str) -> bool:
    """True for a text with our prefix and length whose checksum is wrong: no look-up can find it."""
    if not key.startswith(KEY_PREFIX) or len(key) != MINTED_KEY_CHARACTERS:
        return False
    body, _, checksum = key.rpartition("_")
    return _checksum(body) != checksum


def key_sha256(key: str) -> bytes:
    """The 32 bytes that BricksLLM stores in hex; the input of `peppered_digest`."""
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest()


def peppered_digest(sha256: bytes, pepper: bytes) -> bytes:
    """The 32 bytes that are stored and looked up."""
    return hmac.digest(pepper, sha256, "sha256")


def mask_key(key: str) -> str:
    """What may be shown of a key in answers and errors (contract §4.4): 5 characters and 46 stars.

    A key of 5 characters or fewer shows its first one only.
    """
    if len(key) <= 5:
        return key[:1] + "*" * 5
    return key[:5] + "*" * 46
