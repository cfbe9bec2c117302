"""The poll against a real Postgres: changes arrive, wake it, and are waited for; bad rows stay local."""

import asyncio
import itertools
import statistics
import time
import uuid

import asyncpg
import pytest

from proxy.adapters.snapshots import MAX_WAITERS
from proxy.adapters.tasks import Tasks
from proxy.observations import RecordRejected, SnapshotFailed, SnapshotSwapped
from tests.servers import Database
from tests.snapshot_rig import NEVER, Connect, Operator, Start, connect, digest_of, fresh, operator, start, until

__all__ = ["connect", "fresh", "operator", "start"]


async def test_the_first_load_has_every_row(operator: Operator, start: Start) -> None:
    """Keys with their settings opened and their limits typed, as the operator wrote them."""
    first, second = await operator.add_setting(url="http://one/v1"), await operator.add_setting()
    key_id = await operator.add_key("k", first)
    await operator.execute("UPDATE keys SET setting_ids = $1, tags = '{a,b}'", [uuid.UUID(second), uuid.UUID(first)])
    await operator.add_limit(key_id, "cost", "d", 5_000_000)
    await operator.add_limit(key_id, "requests", "m", 7)
    poller = await start()
    key = poller.get("k")

    assert (key.id, key.name, key.tags, key.account_id, key.is_closed) == (key_id, "k", ("a", "b"), "default", False)
    assert [setting.id for setting in key.settings] == [second, first]
    assert key.settings[1].base_url == "http://one"
    assert key.settings[0].credential == {"apikey": "sk-upstream"}
    assert [(one.resource, one.window, one.amount, one.generation) for one in key.limits] == [
        ("requests", "m", 7, 1),
        ("cost", "d", 5_000_000, 1),
    ]
    assert abs(key.limits[0].reset_at_ms - time.time() * 1000) < 60_000
    assert [(one.keys, one.is_full, one.rejected_rows) for one in poller.told(SnapshotSwapped)] == [(1, True, 0)]


async def test_every_kind_of_change_arrives(operator: Operator, start: Start) -> None:
    """Added, revoked, given an end, limited, deleted; settings changed and deleted."""
    poller = await start()
    setting = await operator.add_setting(url="http://one")
    key_id = await operator.add_key("k", setting)
    await until(lambda: poller.find("k"))

    await operator.revoke("k")
    await until(lambda: poller.get("k").is_revoked)

    await operator.execute("UPDATE keys SET is_revoked = false, expires_at = '2030-01-01T00:00:00.5Z'")
    await until(lambda: poller.get("k").expires_at_ms == 1_893_456_000_500 and not poller.get("k").is_revoked)

    await operator.add_limit(key_id, "requests", "s", 3)
    await until(lambda: [one.amount for one in poller.get("k").limits] == [3])
    await operator.execute("UPDATE limits SET amount = 4, generation = 2")
    await until(lambda: [(one.amount, one.generation) for one in poller.get("k").limits] == [(4, 2)])
    await operator.execute("DELETE FROM limits")
    await until(lambda: not poller.get("k").is_limited)

    await operator.execute('UPDATE provider_settings SET params = \'{"url": "http://two"}\'')
    await until(lambda: poller.get("k").settings[0].base_url == "http://two")
    await operator.execute("DELETE FROM provider_settings")
    await until(lambda: poller.get("k").settings == ())

    await operator.delete("k")
    await until(lambda: poller.find("k") is None)

    assert poller.snapshots.current.keys == 0
    assert poller.told(SnapshotFailed) == []
    assert [one.is_full for one in poller.told(SnapshotSwapped)].count(True) == 1


async def test_a_quiet_second_swaps_nothing(operator: Operator, start: Start) -> None:
    """Polls that find nothing keep the very same view, and its age low."""
    await operator.add_key("k")
    poller = await start()
    view = poller.snapshots.current
    for _ in range(3):
        await poller.polled()

    assert poller.snapshots.current is view
    assert poller.snapshots.age_seconds() < 1
    assert len(poller.told(SnapshotSwapped)) == 1


async def test_notify_wakes_the_poll(operator: Operator, start: Start) -> None:
    """Without a poll being due for an hour, a change is effective at once."""
    await operator.add_key("k")
    poller = await start(NEVER)
    waits: list[float] = []
    for number in range(20):
        await operator.execute("UPDATE keys SET name = $1", f"name {number}")
        committed = time.monotonic()
        await until(lambda number=number: poller.get("k").name == f"name {number}")
        waits.append(time.monotonic() - committed)

    assert statistics.median(waits) < 0.1


async def test_a_burst_of_changes_is_few_polls(operator: Operator, start: Start) -> None:
    """Waking is coalesced: between two polls there are 20 ms, however many changes come."""
    poller = await start(NEVER)
    for number in range(200):
        await operator.add_key(f"k{number}")
    await until(lambda: poller.snapshots.current.keys == 200)

    assert min(later - sooner for sooner, later in itertools.pairwise(poller.swapped_at)) >= 0.02


async def test_a_row_with_bad_json_closes_its_key_and_no_other(operator: Operator, start: Start) -> None:
    """Its typed columns still apply, and further changes of others arrive."""
    for name in ("good", "bad", "huge"):
        await operator.add_key(name)
    poller = await start()
    await operator.execute("UPDATE keys SET allowed_paths = '\"all\"' WHERE digest = $1", digest_of("bad"))
    await operator.execute(
        "UPDATE keys SET allowed_paths = (SELECT jsonb_agg(jsonb_build_object('path', '/' || i, 'method', 'GET'))"
        " FROM generate_series(1, 20000) i) WHERE digest = $1",
        digest_of("huge"),
    )
    await until(lambda: poller.get("bad").is_closed and poller.get("huge").is_closed)
    assert {one.kind for one in poller.told(RecordRejected)} == {"key"}
    assert len(poller.told(RecordRejected)) == 2

    await operator.revoke("bad")
    await operator.revoke("good")
    await until(lambda: poller.get("bad").is_revoked and poller.get("good").is_revoked)
    assert not poller.get("good").is_closed

    await operator.execute("UPDATE keys SET allowed_paths = '[]'")
    await until(lambda: not poller.get("bad").is_closed and not poller.get("huge").is_closed)
    assert poller.told(SnapshotFailed) == []


async def test_a_bad_setting_leaves_the_last_good_one(operator: Operator, start: Start) -> None:
    """Its keys go on with what they had."""
    setting = await operator.add_setting(url="http://good")
    await operator.add_key("k", setting)
    poller = await start()
    await operator.execute("UPDATE provider_settings SET params = '{\"url\": 5}'")
    await until(lambda: poller.told(RecordRejected))
    assert poller.get("k").settings[0].base_url == "http://good"

    await operator.execute('UPDATE provider_settings SET params = \'{"url": "http://better"}\'')
    await until(lambda: poller.get("k").settings[0].base_url == "http://better")


async def test_a_secret_of_another_master_key_is_told_and_not_used(operator: Operator, start: Start) -> None:
    """The setting is there, not usable, and told once."""
    await operator.add_key("k", await operator.add_setting(sealed=b"sealed by somebody else"))
    poller = await start()
    for _ in range(3):
        await poller.polled()

    assert [setting.is_usable for setting in poller.get("k").settings] == [False]
    assert len(poller.told(RecordRejected)) == 1


async def test_infinity_never_reaches_the_poll(operator: Operator) -> None:
    """It has no milliseconds, so one such row would fail every poll: the schema refuses it."""
    key_id = await operator.add_key("k")
    await operator.add_limit(key_id, "requests", "s", 1)
    for statement in ("UPDATE keys SET expires_at = 'infinity'", "UPDATE limits SET reset_at = '-infinity'"):
        with pytest.raises(asyncpg.CheckViolationError):
            await operator.execute(statement)


async def test_waiting_for_a_change_ends_with_it(operator: Operator, start: Start) -> None:
    """A caller with a brand-new key waits for the poll that brings it."""
    poller = await start(NEVER)
    waiter = poller.tasks.spawn(poller.snapshots.changed(5), "waiter")
    await asyncio.sleep(0.05)
    assert not waiter.done()
    await operator.add_key("k")

    assert await waiter is True
    assert poller.find("k")


async def test_waiting_in_vain_ends_with_the_next_poll_or_in_time(start: Start) -> None:
    """A poll that began later and found nothing settles it: the key does not exist."""
    poller = await start(0.1)
    began = time.monotonic()
    assert await poller.snapshots.changed(10) is False
    assert time.monotonic() - began < 5

    slow = await start(NEVER)
    assert await slow.snapshots.changed(0.05) is False
    assert await slow.snapshots.changed(0) is False
    assert await slow.snapshots.changed(-1) is False


async def test_few_may_wait(start: Start) -> None:
    """Junk keys cannot pile up: past 256 waiters the answer is immediate, and waiters that leave make room."""
    poller = await start(NEVER)
    waiters = [poller.tasks.spawn(poller.snapshots.changed(30), "waiter") for _ in range(MAX_WAITERS)]
    await asyncio.sleep(0)
    assert await asyncio.wait_for(poller.snapshots.changed(30), 0.5) is False

    for waiter in waiters:
        waiter.cancel()
    await asyncio.wait(waiters)
    assert len(poller.snapshots._waiters) == 0


async def test_a_load_never_holds_the_loop(connect: Connect, start: Start, fresh: Database) -> None:
    """20,000 keys come in steps; between two of them others have their turn."""
    owner = await connect(fresh.owner)
    await owner.execute(
        "INSERT INTO keys (id, name, digest, digest_version, mask)"
        " SELECT gen_random_uuid(), 'k' || i, sha256(i::text::bytea), 'v', 'm' FROM generate_series(1, 20000) i"
    )
    held: list[float] = []

    async def take_turns() -> None:
        while True:
            spent = time.thread_time()
            await asyncio.sleep(0)
            held.append(time.thread_time() - spent)

    tasks = Tasks(lambda _: None)
    tasks.spawn(take_turns(), "turns")
    poller = await start(NEVER)
    await tasks.drain(0)

    assert poller.snapshots.current.keys == 20_000
    assert len(held) > 200
    assert max(held) < 0.05
