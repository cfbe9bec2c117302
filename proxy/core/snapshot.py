"""The view that one request sees of keys, settings and prices: immutable, swapped by one reference (design §5).

Keys lie packed in shards by the first bits of their digest, so a change copies one shard of some hundred keys, never
all. What requests use is compiled on first use and remembered by the snapshot it was compiled from, so a stale
compiled key cannot exist. Pure: the adapter decides when rows are read and how a long build is interleaved.
"""

from collections.abc import Iterable, Mapping, Sequence, Set
from typing import NamedTuple

import msgspec

from proxy.core.compiled import (
    BadRecordError,
    CompiledKey,
    CompiledSetting,
    RecordKind,
    StoredKey,
    check_key,
    compile_key,
    compile_setting,
)
from proxy.core.overrides import Overrides, OverridesBuilder
from shared.price_overrides import PriceRecord
from shared.records import KeyRecord, SettingRecord
from shared.secrets import Secrets

__all__ = ["SHARDS", "CompiledKey", "CompiledSetting", "Rejection", "Shard", "Snapshot", "SnapshotBuilder"]

SHARDS = 4096
"""244 keys in each at a million keys: copying one costs 2 µs."""
DIGEST_BYTES = 32
_REMEMBERED = 5_000
"""Compiled keys in each of the two generations that a snapshot remembers, about 3 kB a key."""

Shard = dict[bytes, bytes]
# One empty shard stands for all of them: a shard is never written to once it is in a snapshot.
_EMPTY: Shard = {}
_NO_KEYS = (_EMPTY,) * SHARDS
_pack = msgspec.msgpack.Encoder().encode
_unpack = msgspec.msgpack.Decoder(StoredKey).decode


class Rejection(NamedTuple):
    """A record that could not be used as it is, and why."""

    kind: RecordKind
    id: str
    error: str


def _shard_of(digest: bytes) -> int:
    return digest[0] << 4 | digest[1] >> 4


def shard_range(index: int) -> tuple[bytes, bytes]:
    """The digests of a shard: from the first (included) to the second (excluded)."""
    end = (index + 1) << 4
    # No digest sorts after 33 bytes of 0xff: the end of the last shard.
    return (index << 4).to_bytes(2), end.to_bytes(2) if end < 1 << 16 else b"\xff" * (DIGEST_BYTES + 1)


class Snapshot:
    """One immutable view. Equal questions get equal answers for as long as it is held."""

    __slots__ = ("_older", "_recent", "keys", "overrides", "setting_records", "settings", "shards")

    def __init__(
        self,
        shards: tuple[Shard, ...] | None = None,
        settings: Mapping[str, CompiledSetting] | None = None,
        setting_records: Mapping[str, SettingRecord] | None = None,
        keys: int = 0,
        overrides: Overrides | None = None,
    ) -> None:
        self.shards: tuple[Shard, ...] = shards or _NO_KEYS
        """Packed records by digest. For builders, and for who lets go of a large view bit by bit."""
        self.settings: Mapping[str, CompiledSetting] = settings or {}
        """Every provider setting by id."""
        self.setting_records: Mapping[str, SettingRecord] = setting_records or {}
        """The records they were compiled from, to recognise a row that has not changed."""
        self.keys = keys
        """How many keys there are."""
        self.overrides = overrides or Overrides()
        """The operator's own prices."""
        self._recent: dict[bytes, CompiledKey] = {}
        self._older: dict[bytes, CompiledKey] = {}

    def find_key(self, digests: tuple[bytes, ...]) -> CompiledKey | None:
        """The key stored under one of the digests (one for each pepper), or None. Costs no I/O."""
        recent = self._recent
        for digest in digests:
            key = recent.get(digest)
            if key is not None:
                return key
        for digest in digests:
            packed = self.shards[_shard_of(digest)].get(digest)
            if packed is not None:
                return self._remember(digest, packed)
        return None

    def _remember(self, digest: bytes, packed: bytes) -> CompiledKey:
        """Two generations are an LRU that costs a hit nothing: what nobody asked for during one is dropped."""
        key = self._older.get(digest)
        if key is None:
            key = compile_key(_unpack(packed), digest, self.settings)
        if len(self._recent) >= _REMEMBERED:
            self._older, self._recent = self._recent, {}
        self._recent[digest] = key
        return key

    def inherit(self, former: "Snapshot", changed: Iterable[bytes]) -> None:
        """Remember what `former` compiled, less what has changed since. Only while nobody else holds this view."""
        self._recent, self._older = former._recent.copy(), former._older.copy()
        for digest in changed:
            self._recent.pop(digest, None)
            self._older.pop(digest, None)


class SnapshotBuilder:
    """Collects rows, in any number of small steps, into the next view; the former one is never touched.

    A full build starts from nothing and swaps everything; what is equal in the former view is shared with it.
    """

    def __init__(self, former: Snapshot, secrets: Secrets, *, is_full: bool = False) -> None:
        self.rejections: list[Rejection] = []
        """Records that were new or changed and could not be used as they are."""
        self.changed_rows = 0
        """Rows that make a difference; a row read again unchanged makes none."""
        self.is_full = is_full
        self._former = former
        self._secrets = secrets
        self._shards: list[Shard] = list(_NO_KEYS if is_full else former.shards)
        self._own_shards: set[int] = set()
        self._keys = 0 if is_full else former.keys
        self._new_keys = 0
        self._changed: set[bytes] = set()
        self._settings: dict[str, CompiledSetting] = {} if is_full else dict(former.settings)
        self._setting_records: dict[str, SettingRecord] = {} if is_full else dict(former.setting_records)
        self._changes_settings = False
        self._overrides = OverridesBuilder(former.overrides, is_full=is_full)

    def put_key(self, record: KeyRecord) -> None:
        """A key as it is now. Its typed part always counts; a JSON part that does not decode closes it."""
        digest = record.digest
        if len(digest) != DIGEST_BYTES:
            self.rejections.append(Rejection("key", record.id, f"the digest has {len(digest)} bytes"))
            return
        stored, why = check_key(record)
        packed = _pack(stored)
        index = _shard_of(digest)
        known = self._former.shards[index].get(digest)
        if known is None or packed != known:
            self._mark(digest)
            if why:
                self.rejections.append(Rejection("key", record.id, why))
        elif not self.is_full and self._shards[index].get(digest) is known:
            return
        else:
            packed = known  # one copy for both views
        shard = self._own(index)
        if digest not in shard:
            self._keys += 1
            self._new_keys += known is None
        shard[digest] = packed

    def remove_key(self, digest: bytes, key_id: str) -> None:
        """A key was deleted. Another key that has the same digest now stays."""
        if len(digest) != DIGEST_BYTES:
            return
        index = _shard_of(digest)
        packed = self._shards[index].get(digest)
        if packed is not None and _unpack(packed).id == key_id:
            self._drop(index, digest)

    def put_shard(self, index: int, records: Sequence[KeyRecord]) -> None:
        """All keys of one shard as they are now: what else it holds is gone."""
        for record in records:
            self.put_key(record)
        present = {record.digest for record in records}
        for digest in [digest for digest in self._shards[index] if digest not in present]:
            self._drop(index, digest)

    def put_setting(self, record: SettingRecord) -> None:
        """A provider setting as it is now. One whose JSON part is bad leaves the last good one in place."""
        if self._setting_records.get(record.id) == record:
            return
        good = self._former.setting_records.get(record.id)
        try:
            if good == record:
                compiled, why = self._former.settings[record.id], ""
            else:
                compiled, why = compile_setting(record, self._secrets)
                self.changed_rows += 1
        except BadRecordError as error:
            self.rejections.append(Rejection("provider_setting", record.id, str(error)))
            if not self.is_full or good is None:
                return
            record, compiled, why = good, self._former.settings[record.id], ""
        if why:
            self.rejections.append(Rejection("provider_setting", record.id, why))
        self._settings[record.id] = compiled
        self._setting_records[record.id] = record
        self._changes_settings = True

    def remove_setting(self, setting_id: str) -> None:
        """A provider setting was deleted."""
        if self._settings.pop(setting_id, None) is not None:
            del self._setting_records[setting_id]
            self.changed_rows += 1
            self._changes_settings = True

    def keep_settings(self, setting_ids: Set[str]) -> None:
        """These are all there are: the rest is gone."""
        for setting_id in self._settings.keys() - setting_ids:
            self.remove_setting(setting_id)

    def put_price(self, record: PriceRecord) -> None:
        """A price override as it is now. A bad one leaves the last good one in place."""
        if why := self._overrides.put(record):
            self.rejections.append(Rejection("price", record.id, why))

    def remove_price(self, price_id: str) -> None:
        """A price override was deleted."""
        self._overrides.remove(price_id)

    def keep_prices(self, price_ids: Set[str]) -> None:
        """These are all there are: the rest is gone."""
        self._overrides.keep(price_ids)

    def build(self) -> Snapshot:
        """The next view; the former one itself when nothing differs."""
        former = self._former
        overrides = self._overrides.build()
        self.changed_rows += self._overrides.changed_rows
        if self.is_full:
            self.changed_rows += former.keys - (self._keys - self._new_keys)
            self.changed_rows += len(former.settings.keys() - self._settings.keys())
        if not self.changed_rows:
            return former
        view = Snapshot(tuple(self._shards), self._settings, self._setting_records, self._keys, overrides)
        if not self.is_full and not self._changes_settings:
            view.inherit(former, self._changed)
        return view

    def _own(self, index: int) -> Shard:
        if index not in self._own_shards:
            self._own_shards.add(index)
            self._shards[index] = self._shards[index].copy()
        return self._shards[index]

    def _drop(self, index: int, digest: bytes) -> None:
        del self._own(index)[digest]
        self._keys -= 1
        self._mark(digest)

    def _mark(self, digest: bytes) -> None:
        self.changed_rows += 1
        if not self.is_full:
            self._changed.add(digest)
