"""Which rows a poll reads: every one that changed, once, whatever the order of commits."""

import asyncio
import random
import time
import uuid
from typing import Any

from proxy.adapters import snapshot_rows
from proxy.core.snapshot import SHARDS
from proxy.observations import SnapshotSwapped
from tests.servers import Database
from tests.snapshot_rig import Connect, Operator, Start, connect, digest_of, fresh, operator, start, until

__all__ = ["connect", "fresh", "operator", "start"]


async def mute(connect: Connect, fresh: Database) -> None:
    """Without NOTIFY, the poll alone has to find everything."""
    owner = await connect(fresh.owner)
    await owner.execute("ALTER TABLE keys DISABLE TRIGGER keys_announce")
    await owner.execute("ALTER TABLE provider_settings DISABLE TRIGGER provider_settings_announce")


async def test_an_overtaken_transaction_is_not_missed(
    connect: Connect, operator: Operator, start: Start, fresh: Database
) -> None:
    """It began first, another began later and committed first, and a poll came between the two commits."""
    await mute(connect, fresh)
    for name in ("early", "late"):
        await operator.add_key(name)
    poller = await start()
    slow, quick = await connect(), await connect()

    transaction = slow.connection.transaction()
    await transaction.start()
    await slow.revoke("early")
    await quick.revoke("late")
    await until(lambda: poller.get("late").is_revoked)
    await poller.polled()
    assert not poller.get("early").is_revoked
    await transaction.commit()

    await until(lambda: poller.get("early").is_revoked, 2)
    await operator.execute("UPDATE keys SET is_revoked = false WHERE digest = $1", digest_of("late"))
    await until(lambda: not poller.get("late").is_revoked)
    assert poller.get("early").is_revoked


async def test_a_transaction_that_wrote_last_and_committed_first_is_not_missed(
    connect: Connect, operator: Operator, start: Start, fresh: Database
) -> None:
    """The other order: the one that began later commits later, after several polls, a delete and a setting."""
    await mute(connect, fresh)
    setting = await operator.add_setting()
    for name in ("one", "two", "three"):
        await operator.add_key(name, setting)
    poller = await start()
    first, second = (await connect()).connection, (await connect()).connection

    one, two = first.transaction(isolation="repeatable_read"), second.transaction()
    await one.start()
    await first.execute("DELETE FROM keys WHERE digest = $1", digest_of("one"))
    await two.start()
    await second.execute("UPDATE keys SET is_revoked = true WHERE digest = $1", digest_of("two"))
    await second.execute("DELETE FROM provider_settings")
    await one.commit()
    await until(lambda: poller.find("one") is None)
    await operator.revoke("three")
    await until(lambda: poller.get("three").is_revoked)
    await poller.polled()
    assert not poller.get("two").is_revoked
    assert len(poller.get("two").settings) == 1
    await two.commit()

    await until(lambda: poller.get("two").is_revoked and poller.get("two").settings == (), 2)


async def test_a_transaction_that_is_taken_back_changes_nothing(
    connect: Connect, operator: Operator, start: Start
) -> None:
    """Nor does one of its savepoints."""
    await operator.add_key("k")
    poller = await start()
    view = poller.snapshots.current
    slow = (await connect()).connection
    transaction = slow.transaction()
    await transaction.start()
    await slow.execute("DELETE FROM keys")
    await poller.polled()
    await transaction.rollback()
    async with slow.transaction():
        await slow.execute("SAVEPOINT s")
        await slow.execute("UPDATE keys SET is_revoked = true")
        await slow.execute("ROLLBACK TO s")
    await poller.polled()

    assert poller.snapshots.current is view


async def test_a_change_inside_a_savepoint_arrives(
    connect: Connect, operator: Operator, start: Start, fresh: Database
) -> None:
    """A row carries its outer transaction, which is what a snapshot knows."""
    await mute(connect, fresh)
    await operator.add_key("k")
    poller = await start()
    slow = (await connect()).connection
    async with slow.transaction():
        await slow.execute("SAVEPOINT a")
        await slow.execute("SAVEPOINT b")
        await slow.execute("UPDATE keys SET is_revoked = true")
        await slow.execute("RELEASE b")
        await operator.add_key("other")
        await until(lambda: poller.find("other"))
        await poller.polled()

    await until(lambda: poller.get("k").is_revoked, 2)


async def test_a_long_transaction_elsewhere_costs_nothing(
    connect: Connect, operator: Operator, start: Start, fresh: Database
) -> None:
    """It holds xmin back for hours; rows changed meanwhile are still read once, not at every poll."""
    poller = await start()
    idle = (await connect()).connection
    transaction = idle.transaction()
    await transaction.start()
    await idle.execute("SELECT pg_current_xact_id()")
    for number in range(20):
        await operator.add_key(f"k{number}")
    await until(lambda: poller.snapshots.current.keys == 20)
    await poller.polled()
    last = poller.snapshots.horizon
    assert last is not None
    proxy = (await connect(fresh.proxy)).connection
    read_again = await proxy.fetch(snapshot_rows._CHANGED_KEYS, last.snapshot)
    behind = await proxy.fetchval("SELECT count(*) FROM proxy_keys WHERE changed_xid >= $1::text::xid8", str(last.xmin))
    await transaction.rollback()

    assert (len(read_again), behind) == (0, 20)


async def test_a_key_put_back_under_its_id_by_an_older_transaction_lives(
    connect: Connect, operator: Operator, start: Start, fresh: Database
) -> None:
    """Its row carries an older transaction than the tombstone: the tombstone tells of the past."""
    await mute(connect, fresh)
    key_id = await operator.add_key("k")
    poller = await start()
    older, other = (await connect()), (await connect()).connection
    transaction = older.connection.transaction()
    await transaction.start()
    await older.execute("SELECT pg_current_xact_id()")
    holding = other.transaction()
    await holding.start()
    await other.execute("SELECT pg_current_xact_id()")
    await operator.delete("k")
    await until(lambda: poller.find("k") is None)
    await older.add_key("k", key_id=key_id)
    await transaction.commit()
    await until(lambda: poller.find("k"))
    await holding.rollback()
    for _ in range(3):
        await poller.polled()
    assert poller.get("k").id == key_id

    await operator.delete("k")
    await until(lambda: poller.find("k") is None)


async def test_a_digest_that_changed_no_longer_leads_to_its_key(operator: Operator, start: Start) -> None:
    """The row stays, the old secret does not."""
    await operator.add_key("old")
    poller = await start()
    for name in ("new", "newer"):
        await operator.execute("UPDATE keys SET digest = $1", digest_of(name))
    await until(lambda: poller.find("newer"))

    assert poller.find("old") is None
    assert poller.find("new") is None
    assert poller.snapshots.current.keys == 1


async def test_random_overlapping_transactions_lose_nothing(connect: Connect, start: Start, fresh: Database) -> None:
    """300 updates of several writers whose transactions overlap in every order; NOTIFY is absent."""
    await mute(connect, fresh)
    chance = random.Random(6)
    writers = [await connect() for _ in range(6)]
    setting = await writers[0].add_setting()
    poller = await start(0.02)
    names = [f"k{number}" for number in range(30)]
    ids = dict.fromkeys(names, "")
    missed: list[str] = []

    async def write(writer: Operator, owned: list[str], chance: random.Random) -> None:
        for _ in range(50):
            transaction = writer.connection.transaction(isolation=chance.choice(["read_committed", "repeatable_read"]))
            await transaction.start()
            if chance.random() < 0.5:
                await writer.execute("SELECT pg_current_xact_id()")
            await asyncio.sleep(chance.choice([0, 0, 0.005, 0.03]))
            name, change = chance.choice(owned), chance.random()
            after: dict[str, Any] = {}
            if not ids[name]:
                ids[name] = await writer.add_key(name, setting)
                after = {"is_revoked": False}
            elif change < 0.3:
                await writer.delete(name)
                ids[name] = ""
                after = {"gone": True}
            elif change < 0.6:
                await writer.execute("DELETE FROM limits WHERE scope_id = $1", uuid.UUID(ids[name]))
                await writer.add_limit(ids[name], "requests", "m", amount := chance.randrange(1, 1000))
                after = {"amounts": [amount]}
            else:
                mark = f"{name} {chance.random()}"
                await writer.execute(
                    "UPDATE keys SET name = $1, is_revoked = NOT is_revoked WHERE id = $2", mark, uuid.UUID(ids[name])
                )
                after = {"name": mark}
            await asyncio.sleep(chance.choice([0, 0, 0.005, 0.03]))
            await transaction.commit()
            committed = time.monotonic()

            def has_arrived(name: str = name, after: dict[str, Any] = after) -> bool:
                key = poller.find(name)
                if key is None or "gone" in after:
                    return key is None and "gone" in after
                seen = {"name": key.name, "is_revoked": key.is_revoked, "amounts": [one.amount for one in key.limits]}
                return all(seen[field] == value for field, value in after.items())

            while not has_arrived() and time.monotonic() < committed + 2:
                await asyncio.sleep(0.002)
            if not has_arrived():
                missed.append(f"{name}: {after}")

    share = len(names) // len(writers)
    await asyncio.gather(
        *(
            write(writer, names[place * share : (place + 1) * share], random.Random(chance.random()))
            for place, writer in enumerate(writers)
        )
    )

    assert missed == []
    assert poller.snapshots.current.keys == sum(bool(key_id) for key_id in ids.values())
    assert [one.is_full for one in poller.told(SnapshotSwapped)].count(True) == 1


async def test_what_no_change_told_of_is_put_right(
    connect: Connect, operator: Operator, start: Start, fresh: Database
) -> None:
    """A TRUNCATE, a row changed with triggers off: each shard is read as it really is when its turn comes."""
    for name in ("gone", "changed", "kept"):
        await operator.add_key(name)
    await operator.add_setting()
    poller = await start(0.02)
    owner = await connect(fresh.owner)
    await owner.execute("ALTER TABLE keys DISABLE TRIGGER USER")
    await owner.execute("ALTER TABLE provider_settings DISABLE TRIGGER USER")
    await owner.execute("DELETE FROM keys WHERE digest = $1", digest_of("gone"))
    await owner.execute("UPDATE keys SET is_revoked = true WHERE digest = $1", digest_of("changed"))
    await owner.execute("TRUNCATE provider_settings")
    await poller.polled()
    assert poller.find("gone") is not None
    assert not poller.get("changed").is_revoked
    assert poller.snapshots.current.setting_records

    for name in ("gone", "changed"):
        poller.snapshots._next_shard = digest_of(name)[0] << 4 | digest_of(name)[1] >> 4
        await poller.polled()
    poller.snapshots._next_shard = 0
    await until(lambda: not poller.snapshots.current.settings)
    assert poller.find("gone") is None
    assert poller.get("changed").is_revoked
    assert poller.find("kept") is not None
    assert SHARDS > poller.snapshots._next_shard >= 0


async def test_rows_of_the_future_are_not_read_again_and_again(
    connect: Connect, operator: Operator, start: Start, fresh: Database
) -> None:
    """A dump of an older, busier cluster brings transaction ids that are not due here: loaded once, changes seen."""
    await operator.add_key("k")
    owner = await connect(fresh.owner)
    await owner.execute("ALTER TABLE keys DISABLE TRIGGER keys_stamp")
    await owner.execute("UPDATE keys SET changed_xid = '4000000000'")
    await owner.execute("ALTER TABLE keys ENABLE TRIGGER keys_stamp")
    poller = await start()
    assert poller.find("k")
    await operator.add_setting()
    await until(lambda: poller.snapshots.current.settings)
    last = poller.snapshots.horizon
    assert last is not None
    proxy = (await connect(fresh.proxy)).connection
    assert await proxy.fetch(snapshot_rows._CHANGED_KEYS, last.snapshot) == []

    await operator.revoke("k")
    await until(lambda: poller.get("k").is_revoked)
