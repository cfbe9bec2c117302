"""What is derived from WEIR_MASTER_KEY: the pepper of key digests, the cipher of provider secrets.

One master key (32 bytes, base64 or hex), `_OLD` beside it while rotating. Every use has its own HKDF label, so no
derived key serves two purposes. Sealed bytes are `key id (4) + nonce (12) + ciphertext`; the row's id is
authenticated with it, so a ciphertext moved to another row does not open.
"""

import base64
import binascii
import os

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

_KEY_BYTES = 32
_ID_BYTES = 4
_NONCE_BYTES = 12


class SecretError(Exception):
    """A sealed value does not open: another master key, another row, or altered bytes. Carries no secret."""


def parse_master_key(text: str) -> bytes:
    """The 32 bytes of a master key written in base64 (44 characters) or hex (64). Raises ValueError otherwise."""
    text = text.strip()
    try:
        raw = bytes.fromhex(text) if len(text) == 2 * _KEY_BYTES else base64.b64decode(text, validate=True)
    except (ValueError, binascii.Error):
        raise ValueError("is neither 64 hex digits nor base64 of 32 bytes") from None
    if len(raw) != _KEY_BYTES:
        raise ValueError(f"must hold 32 bytes, not {len(raw)}")
    return raw


def new_master_key() -> str:
    """A fresh random master key, base64."""
    return base64.b64encode(os.urandom(_KEY_BYTES)).decode()


def _derive(master: bytes, label: str, length: int = _KEY_BYTES) -> bytes:
    return HKDF(SHA256(), length, salt=None, info=b"weir/v1/" + label.encode()).derive(master)


class Secrets:
    """Everything derived from the current master key and, while rotating, from the old one."""

    def __init__(self, master: bytes, old: bytes | None = None) -> None:
        masters = [master] if old is None else [master, old]
        self._ciphers = {_derive(m, "key-id", _ID_BYTES): AESGCM(_derive(m, "provider-secret")) for m in masters}
        self._current_id = next(iter(self._ciphers))
        peppers = {_derive(m, "pepper-id", _ID_BYTES).hex(): _derive(m, "pepper") for m in masters}
        self.peppers: dict[str, bytes] = peppers
        """Pepper version -> pepper, the current one first."""
        self.pepper_version: str = next(iter(peppers))

    def seal(self, plain: bytes, row_id: str) -> bytes:
        """Encrypt for one row. Two calls never give the same bytes."""
        nonce = os.urandom(_NONCE_BYTES)
        sealed = self._ciphers[self._current_id].encrypt(nonce, plain, row_id.encode())
        return self._current_id + nonce + sealed

    def open(self, sealed: bytes, row_id: str) -> bytes:
        """The plain bytes of `seal`. Raises SecretError when they do not open for this row."""
        cipher = self._ciphers.get(sealed[:_ID_BYTES])
        if cipher is None:
            raise SecretError("sealed with a master key that is not configured")
        nonce, rest = sealed[_ID_BYTES : _ID_BYTES + _NONCE_BYTES], sealed[_ID_BYTES + _NONCE_BYTES :]
        try:
            return cipher.decrypt(nonce, rest, row_id.encode())
        except (InvalidTag, ValueError):
            raise SecretError("the sealed value was altered or belongs to another row") from None
