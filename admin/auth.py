"""Who may use the admin plane: whoever has its one key, compared in constant time; wrong ones are told to wait.

Closed by default (design §8): without ADMIN_PASS the plane listens on loopback only, with a key it made itself.
"""

import hashlib
import hmac
import ipaddress
import os
import secrets
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from admin.errors import Problem
from shared.settings import Settings, SettingsError

KEY_FILE = "admin-key"
SHORTEST_KEY = 16
WEAK_KEYS = frozenset({"admin", "password", "changeme", "secret", "letmein", "sk-1234", "1234567890123456"})
FAILURES_PER_MINUTE = 10
_REMEMBERED_ADDRESSES = 10_000


class AdminKey(NamedTuple):
    """The admin key and where it came from."""

    text: str
    place: str
    """For people: a file, or the setting's name."""
    warning: str = ""
    """What is wrong with it, where that is tolerated (loopback)."""


def is_loopback(address: str) -> bool:
    """True when only this machine can reach `address`."""
    if address == "localhost":
        return True
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False


def _weakness(key: str) -> str:
    if not key.isascii() or not key.isprintable() or key != key.strip():
        return "can be sent in no header: use printable ASCII without spaces around it"
    if key.lower() in WEAK_KEYS or len(set(key)) < 4:
        return "is a key that is guessed first"
    if len(key) < SHORTEST_KEY:
        return f"is shorter than {SHORTEST_KEY} characters"
    return ""


def _stored_key(path: Path) -> str:
    """The key in `path`, made and stored (mode 0600) when there is none yet."""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        fresh = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(descriptor, "w") as file:
                file.write(secrets.token_urlsafe(32) + "\n")
            os.link(fresh, path)  # never over a key that is there, never half a key
        except FileExistsError:
            os.chmod(path, 0o600)
        finally:
            os.unlink(fresh)
        key = path.read_text(encoding="ascii").strip()
    except OSError as error:
        raise SettingsError(f"WEIR_DATA_DIR: cannot keep the admin key at {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        key = ""
    if len(key) < SHORTEST_KEY:
        raise SettingsError(f"{path} holds no usable admin key; remove it and a new one is made")
    return key


def find_admin_key(settings: Settings) -> AdminKey:
    """ADMIN_PASS, or on loopback the stored key. Raises SettingsError where the plane must not start."""
    is_local = is_loopback(settings.weir_admin_address)
    if settings.admin_pass:
        weakness = _weakness(settings.admin_pass)
        if weakness and (not is_local or "header" in weakness):
            raise SettingsError(f"ADMIN_PASS: {weakness}")
        return AdminKey(settings.admin_pass, "ADMIN_PASS", weakness and f"ADMIN_PASS {weakness}")
    if not is_local:
        raise SettingsError(
            f"ADMIN_PASS: must be set, because WEIR_ADMIN_ADDRESS {settings.weir_admin_address} is not loopback"
        )
    path = Path(settings.weir_data_dir) / KEY_FILE
    return AdminKey(_stored_key(path), str(path.resolve()))


class Gate:
    """Lets the right key in, always, and tells who presents wrong ones to wait.

    Decision: the key is compared first, so nobody can lock its owner out by guessing from the same address (a proxy, a
    NAT, a forgotten script). Against guessing stands the key's own length, not patience. Wrong keys count as failures
    per address (IPv6: per /64); a missing one is no guess. At most 10,000 addresses are remembered, the latest.
    """

    def __init__(self, key: str, monotonic: Callable[[], float]) -> None:
        self._digest = hashlib.sha256(key.encode()).digest()
        self._monotonic = monotonic
        self._failures: OrderedDict[str, tuple[float, int]] = OrderedDict()  # address -> (minute began, failures)

    def check(self, presented: list[bytes], address: str) -> None:
        """Raises Problem (401 or 429) unless `presented`, the values of X-API-KEY, is the key once."""
        if not presented:
            raise Problem(401, "unauthorized", "unauthorized", "the header X-API-KEY is missing")
        # Digests are of one length, so the comparison tells nothing, not even how long the key is.
        digest = hashlib.sha256(b",".join(presented)).digest()
        if len(presented) == 1 and hmac.compare_digest(digest, self._digest):
            return
        now = self._monotonic()
        address = _network(address)
        began, failures = self._failures.get(address, (now, 0))
        if now - began >= 60:
            began, failures = now, 0
        if failures >= FAILURES_PER_MINUTE:
            wait = max(1, int(began + 60 - now + 0.999))
            raise Problem(429, "too-many-failures", "too many wrong admin keys", f"try again in {wait} s", wait)
        self._failures[address] = (began, failures + 1)
        self._failures.move_to_end(address)
        if len(self._failures) > _REMEMBERED_ADDRESSES:
            self._failures.popitem(last=False)
        raise Problem(401, "unauthorized", "unauthorized", "the admin key in X-API-KEY is wrong")


def _network(address: str) -> str:
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv6Address) and parsed.ipv4_mapped is None:
        return str(ipaddress.ip_network((parsed, 64), strict=False))
    return str(parsed)
