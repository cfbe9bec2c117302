"""The Lua steps, and how names and amounts are laid out for them. The scripts' heads say what they expect.

A run is EVALSHA of one script for several attempts of one account: `Run` collects them and packs the command.
"""

import hashlib
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path

import msgspec

from proxy.core.holds import Bucket
from proxy.core.limits import RESOURCES, Naming
from shared.records import Limit

_FOLDER = Path(__file__).parent
_PRELUDE = (_FOLDER / "prelude.lua").read_text(encoding="utf-8")


class Script(msgspec.Struct, frozen=True):
    """A Lua step, prelude included."""

    source: str
    sha: str


def _load(name: str) -> Script:
    source = _PRELUDE + (_FOLDER / f"{name}.lua").read_text(encoding="utf-8")
    return Script(source, hashlib.sha1(source.encode(), usedforsecurity=False).hexdigest())


RESERVE = _load("reserve")
SETTLE = _load("settle")
RENEW = _load("renew")
CLAIM = _load("claim")
RESTORE = _load("restore")
OPEN = _load("open")
CORRECT = _load("correct")
SOURCES = tuple(script.source for script in (RESERVE, SETTLE, RENEW, CLAIM, RESTORE, OPEN, CORRECT))

ADMITTED_KINDS = ("backed", "clamped", "lane")
USED_UP, HELD, STALE_WINDOW, KNOWN_ATTEMPT = -1, -2, -3, -4


class Epoch(msgspec.Struct, frozen=True):
    """A past that Redis's counters have in common; a new one begins when they are rebuilt (design §6)."""

    value: bytes
    """As Redis has it: `<id>:<server's run id>:<opens at, Redis's milliseconds>`."""
    id: str
    run_id: bytes
    opens_ms: int

    @classmethod
    def of(cls, value: bytes) -> "Epoch | None":
        """None when it is not one of ours."""
        parts = value.split(b":")
        if len(parts) != 3 or not parts[2].isdigit():
            return None
        return cls(value, parts[0].decode("ascii", "replace"), parts[1], int(parts[2]))


def epoch_key(account_id: str) -> str:
    """Where the account's epoch is."""
    return f"weir:{{{account_id}}}:epoch"


def lock_key(account_id: str) -> str:
    """Who rebuilds the account's counters holds this."""
    return f"weir:{{{account_id}}}:rebuild"


def attempts_key(account_id: str, epoch_id: str, attempt_id: str) -> str:
    """The hash that an attempt is marked in: one for each 65.5 s of UUIDv7 time, and new ones for a new epoch."""
    return f"weir:{{{account_id}}}:attempts:{epoch_id}:{attempt_id[:8]}"


def bucket_keys(bucket: Bucket) -> tuple[str, ...]:
    """The Redis keys of a bucket, as every script takes them."""
    if bucket.resource == "cost":
        return (bucket.name, f"{bucket.name}:holds")
    return (bucket.name,)


def bulk(value: str | int) -> str:
    """One argument in Redis's protocol, as text of one character for each byte.

    Commands for many attempts are put together from parts that were packed once, at 3.8 µs an attempt; packing every
    argument anew takes hiredis 7 µs (tests/bench/limiter_client.py).
    """
    text = str(value)
    if not text.isascii():
        text = text.encode().decode("latin-1")
    return f"${len(text)}\r\n{text}\r\n"


class Layout(msgspec.Struct, frozen=True, gc=False):
    """What of a script's keys and arguments depends on the buckets alone: packed once per key and window."""

    key_count: int
    keys: str
    argument_count: int
    arguments: str

    @classmethod
    def of(cls, buckets: Iterable[Bucket], arguments: list[str | int]) -> "Layout":
        """The keys of some buckets, and the arguments that go with them."""
        keys = [key for bucket in buckets for key in bucket_keys(bucket)]
        return cls(len(keys), "".join(map(bulk, keys)), len(arguments), "".join(map(bulk, arguments)))


def reserve_layout(limits: tuple[Limit, ...], naming: Naming) -> Layout:
    """The buckets' part of reserve.lua."""
    arguments: list[str | int] = [naming.from_ms, naming.until_ms, len(limits)]
    for limit, bucket in zip(limits, naming.buckets, strict=True):
        arguments += [RESOURCES[limit.resource].code, limit.amount, bucket.ends_ms]
    return Layout.of(naming.buckets, arguments)


def settle_layout(buckets: tuple[Bucket, ...]) -> Layout:
    """The buckets' part of settle.lua."""
    arguments: list[str | int] = [len(buckets)]
    for bucket in buckets:
        arguments += [RESOURCES[bucket.resource].code, bucket.ends_ms]
    return Layout.of(buckets, arguments)


@lru_cache(maxsize=1024)
def _epoch_parts(account_id: str, epoch: Epoch) -> tuple[str, str, str]:
    marks = attempts_key(account_id, epoch.id, "")
    marks = marks if marks.isascii() else marks.encode().decode("latin-1")
    return marks, bulk(epoch_key(account_id)), bulk(epoch.value.decode("latin-1"))


class Run:
    """One EVALSHA of RESERVE, SETTLE or RENEW in the making."""

    __slots__ = (
        "_argument_count", "_arguments", "_epoch_part", "_key_count", "_keys", "_marks", "_own_count", "_script",
    )  # fmt: skip

    def __init__(self, script: Script, account_id: str, epoch: Epoch, own_count: int) -> None:
        self._script = script
        self._own_count = own_count + 1
        self._marks, epoch_key_part, self._epoch_part = _epoch_parts(account_id, epoch)
        self._keys: list[str] = [epoch_key_part]
        self._key_count = 1
        self._arguments: list[str] = []
        self._argument_count = 2

    def add(self, attempt_id: str, own: str, layout: Layout) -> None:
        """One more attempt (a UUID): its `own_count` packed arguments, then those of its buckets."""
        marks = f"{self._marks}{attempt_id[:8]}"
        self._keys.append(f"${len(marks)}\r\n{marks}\r\n{layout.keys}")
        self._key_count += layout.key_count + 1
        self._arguments.append(f"${len(attempt_id)}\r\n{attempt_id}\r\n{own}{layout.arguments}")
        self._argument_count += layout.argument_count + self._own_count

    def packed(self) -> bytes:
        """The command."""
        size = 3 + self._key_count + self._argument_count
        head = f"*{size}\r\n$7\r\nEVALSHA\r\n$40\r\n{self._script.sha}\r\n{bulk(self._key_count)}"
        middle = f"{self._epoch_part}{bulk(len(self._arguments))}"
        return "".join((head, *self._keys, middle, *self._arguments)).encode("latin-1")
