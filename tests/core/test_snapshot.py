"""The immutable view: rows in, keys out, nothing stale, nothing lost when a row comes twice."""

import itertools
import random

import msgspec
import pytest

from proxy.core import snapshot as module
from proxy.core.snapshot import SHARDS, Rejection, Snapshot, SnapshotBuilder, shard_range
from shared.records import KeyRecord, SettingRecord
from shared.secrets import Secrets

SECRETS = Secrets(bytes(32))
DIGEST = bytes(range(32))
OTHER = bytes(reversed(range(32)))


def make_key(digest: bytes = DIGEST, key_id: str = "k1", **over: object) -> KeyRecord:
    record = KeyRecord(key_id, "acme", "", digest, False, 0, b"[]", b'{"name": "n", "setting_ids": ["s1"]}')
    return msgspec.structs.replace(record, **over)


def make_setting(setting_id: str = "s1", url: str = "http://one") -> SettingRecord:
    sealed = b"" if url == "sealed badly" else SECRETS.seal(b'{"apikey": "a"}', setting_id)
    return SettingRecord(setting_id, "acme", "openai", sealed, msgspec.json.encode({"params": {"url": url}}))


def grow(
    former: Snapshot, *records: KeyRecord | SettingRecord, is_full: bool = False
) -> tuple[Snapshot, SnapshotBuilder]:
    builder = SnapshotBuilder(former, SECRETS, is_full=is_full)
    for record in records:
        if isinstance(record, KeyRecord):
            builder.put_key(record)
        else:
            builder.put_setting(record)
    return builder.build(), builder


def load(*records: KeyRecord | SettingRecord) -> Snapshot:
    return grow(Snapshot(), *records, is_full=True)[0]


def test_an_empty_view_has_no_keys() -> None:
    """What a proxy has before its first load."""
    assert Snapshot().find_key((DIGEST,)) is None
    assert (Snapshot().keys, Snapshot().settings) == (0, {})


def test_a_key_is_found_under_any_of_its_digests() -> None:
    """One for each pepper while the master key rotates."""
    view = load(make_key())

    for digests in ((DIGEST,), (OTHER, DIGEST), (DIGEST, OTHER)):
        key = view.find_key(digests)
        assert key is not None
        assert key.digest == DIGEST

    assert view.find_key((OTHER,)) is None


def test_a_key_is_compiled_once() -> None:
    """The second look-up gives the same object."""
    view = load(make_key())

    assert view.find_key((DIGEST,)) is view.find_key((DIGEST,))


def test_the_former_view_never_changes() -> None:
    """Who holds it goes on seeing it."""
    former = load(make_key(), make_setting())
    before = former.find_key((DIGEST,))
    view, _ = grow(former, make_key(is_revoked=True), make_key(OTHER, "k2"), make_setting(url="http://two"))

    assert former.find_key((DIGEST,)) is before
    assert former.find_key((OTHER,)) is None
    assert (former.keys, former.settings["s1"].base_url) == (1, "http://one")
    assert view.keys == 2
    assert view.find_key((DIGEST,)).is_revoked  # type: ignore[union-attr]


def test_what_was_compiled_stays_unless_its_record_changed() -> None:
    """A change of one key costs no other key a compilation, and its own at once."""
    former = load(make_key(), make_key(OTHER, "k2"))
    kept, replaced = former.find_key((DIGEST,)), former.find_key((OTHER,))
    view, _ = grow(former, make_key(OTHER, "k2", expires_at_ms=5))

    assert view.find_key((DIGEST,)) is kept
    assert view.find_key((OTHER,)) is not replaced
    assert view.find_key((OTHER,)).expires_at_ms == 5  # type: ignore[union-attr]


def test_a_changed_setting_reaches_the_keys_that_use_it() -> None:
    """Compiled keys hold settings, so none of them outlives a change of one."""
    former = load(make_key(), make_setting())
    assert former.find_key((DIGEST,)).settings[0].base_url == "http://one"  # type: ignore[union-attr]
    view, _ = grow(former, make_setting(url="http://two"))

    assert view.find_key((DIGEST,)).settings[0].base_url == "http://two"  # type: ignore[union-attr]


def test_rows_read_again_make_no_new_view() -> None:
    """Downstream nothing happens: the very same view stays, whether the read was full or not."""
    former = load(make_key(), make_setting())
    setting = former.setting_records["s1"]

    for is_full in (False, True):
        view, builder = grow(former, setting, make_key(), is_full=is_full)
        assert view is former
        assert builder.changed_rows == 0


def test_a_deleted_key_is_gone() -> None:
    """And deleting it again makes no difference."""
    builder = SnapshotBuilder(load(make_key(), make_key(OTHER, "k2")), SECRETS)
    builder.remove_key(DIGEST, "k1")
    builder.remove_key(DIGEST, "k1")
    view = builder.build()

    assert view.find_key((DIGEST,)) is None
    assert view.find_key((OTHER,)) is not None
    assert (view.keys, builder.changed_rows) == (1, 1)


def test_a_tombstone_does_not_touch_another_key_with_the_same_digest() -> None:
    """A key may be deleted and made again; its tombstone is read after the new one."""
    builder = SnapshotBuilder(load(make_key(key_id="new")), SECRETS)
    builder.remove_key(DIGEST, "old")
    builder.remove_key(b"", "old")
    view = builder.build()

    assert view.find_key((DIGEST,)).id == "new"  # type: ignore[union-attr]


def test_a_key_deleted_and_made_again_in_one_poll_lives() -> None:
    """Tombstones first, rows after: a row that is there is there."""
    builder = SnapshotBuilder(load(make_key(key_id="old")), SECRETS)
    builder.remove_key(DIGEST, "old")
    builder.put_key(make_key(key_id="new"))
    view = builder.build()

    assert view.find_key((DIGEST,)).id == "new"  # type: ignore[union-attr]
    assert view.keys == 1


def test_a_deleted_setting_leaves_its_keys() -> None:
    """The key stays, without that setting."""
    builder = SnapshotBuilder(load(make_key(), make_setting()), SECRETS)
    builder.remove_setting("s1")
    builder.remove_setting("never")
    view = builder.build()

    assert view.find_key((DIGEST,)).settings == ()  # type: ignore[union-attr]
    assert view.settings == {}


def test_a_full_load_drops_what_is_missing() -> None:
    """Keys and settings that are not in it are gone, and they count as changes."""
    former = load(make_key(), make_key(OTHER, "k2"), make_setting())
    view, builder = grow(former, make_key(OTHER, "k2"), is_full=True)

    assert view.find_key((DIGEST,)) is None
    assert view.find_key((OTHER,)).settings == ()  # type: ignore[union-attr]
    assert (view.keys, view.settings, builder.changed_rows) == (1, {}, 2)


def test_a_full_load_shares_what_is_equal() -> None:
    """Two views of a million keys do not hold every record twice."""
    former = load(make_key(), make_key(OTHER, "k2"))
    view, _ = grow(former, make_key(), make_key(OTHER, "k2", is_revoked=True), is_full=True)
    packed = [shard[DIGEST] for view_ in (former, view) for shard in view_.shards if DIGEST in shard]

    assert packed[0] is packed[1]


def test_a_shard_read_as_it_is_replaces_what_was_believed() -> None:
    """Rows that no change told of appear, differ or vanish; the other shards stay."""
    near = DIGEST[:31] + b"\xff"
    third = DIGEST[:30] + b"\xee\xee"
    former = load(make_key(), make_key(near, "k2"), make_key(OTHER, "k3"))
    builder = SnapshotBuilder(former, SECRETS)
    builder.put_shard(0, [make_key(is_revoked=True), make_key(third, "k4")])
    view = builder.build()

    assert view.find_key((DIGEST,)).is_revoked  # type: ignore[union-attr]
    assert view.find_key((near,)) is None
    assert view.find_key((third,)) is not None
    assert view.find_key((OTHER,)) is not None
    assert (view.keys, builder.changed_rows) == (3, 3)


def test_every_digest_is_in_the_range_of_its_shard_alone() -> None:
    """The ranges that Postgres is asked for cover all digests, once."""
    ranges = [shard_range(index) for index in range(SHARDS)]
    assert all(high == low for (_, high), (low, _) in itertools.pairwise(ranges))

    digests = [bytes(32), b"\xff" * 32, *(random.Random(1).randbytes(32) for _ in range(200))]
    view = load(*(make_key(digest, digest.hex()) for digest in digests))
    for (low, high), shard in zip(ranges, view.shards, strict=True):
        assert all(low <= digest < high for digest in shard)


@pytest.mark.parametrize("is_full", [False, True])
def test_a_bad_setting_leaves_the_last_good_one(is_full: bool) -> None:
    """It is rejected, told, and the keys that use it go on."""
    former = load(make_key(), make_setting())
    view, builder = grow(former, make_key(), make_setting(url="nowhere"), is_full=is_full)

    assert builder.rejections == [
        Rejection("provider_setting", "s1", "url is not an http or https URL without user, query or fragment")
    ]
    assert view.find_key((DIGEST,)).settings[0].base_url == "http://one"  # type: ignore[union-attr]


def test_a_setting_that_was_never_good_is_not_there() -> None:
    """A key that names it has the others."""
    view, builder = grow(Snapshot(), make_setting(url="nowhere"), make_setting("s2"), is_full=True)

    assert len(builder.rejections) == 1
    assert set(view.settings) == {"s2"}


def test_a_secret_that_does_not_open_is_told_once() -> None:
    """When the row is new or changed, not each time it is read."""
    record = make_setting(url="sealed badly")
    record = msgspec.structs.replace(record, detail=b"{}")
    former, builder = grow(Snapshot(), record, is_full=True)
    assert [rejection.id for rejection in builder.rejections] == ["s1"]
    assert not former.settings["s1"].is_usable

    for is_full in (False, True):
        view, builder = grow(former, record, is_full=is_full)
        assert (view, builder.rejections) == (former, [])


def test_a_key_with_bad_json_is_closed_not_old() -> None:
    """What the last good form allowed is over; it is told once."""
    former = load(make_key())
    view, builder = grow(former, make_key(detail=b"{"))
    assert view.find_key((DIGEST,)).is_closed  # type: ignore[union-attr]
    assert [(rejection.kind, rejection.id) for rejection in builder.rejections] == [("key", "k1")]

    again, builder = grow(view, make_key(detail=b"{"))
    assert (again, builder.rejections) == (view, [])


@pytest.mark.parametrize("digest", [b"", b"x", bytes(31), bytes(33)])
def test_a_digest_of_another_length_is_rejected(digest: bytes) -> None:
    """No key that a caller shows can have it."""
    view, builder = grow(Snapshot(), make_key(digest), make_key(), is_full=True)

    assert view.keys == 1
    assert builder.rejections == [Rejection("key", "k1", f"the digest has {len(digest)} bytes")]


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of many keys in use, those used lately stay compiled; what nobody asks for is dropped."""
    monkeypatch.setattr(module, "_REMEMBERED", 10)
    chance = random.Random(2)
    digests = [chance.randbytes(32) for _ in range(100)]
    view = load(*(make_key(digest, digest.hex()) for digest in digests))
    favourite = view.find_key((digests[0],))
    for digest in digests[1:]:
        assert view.find_key((digest,)).id == digest.hex()  # type: ignore[union-attr]
        assert view.find_key((digests[0],)) is favourite

    assert len(view._recent) + len(view._older) <= 20


def test_a_long_life_of_random_changes_ends_as_the_rows_are() -> None:
    """Whatever was put, put again, removed or verified: the view equals the table."""
    chance = random.Random(4)
    digests = [chance.randbytes(32) for _ in range(40)]
    rows: dict[bytes, KeyRecord] = {}
    view = Snapshot()
    for step in range(2_000):
        builder = SnapshotBuilder(view, SECRETS, is_full=chance.random() < 0.05)
        if builder.is_full:
            for row in rows.values():
                builder.put_key(row)
        for _ in range(chance.randrange(4)):
            digest = chance.choice(digests)
            if digest in rows and chance.random() < 0.4:
                builder.remove_key(digest, rows.pop(digest).id)
            else:
                rows[digest] = make_key(digest, f"{digest.hex()}-{step % 3}", expires_at_ms=step)
                builder.put_key(rows[digest])
        view = builder.build()

        assert view.keys == len(rows)
        for digest in digests:
            key = view.find_key((digest,))
            assert (key and (key.id, key.expires_at_ms)) == (
                (rows[digest].id, rows[digest].expires_at_ms) if digest in rows else None
            )
