"""Shipping to a real Postgres: everything lands once, whatever Postgres does meanwhile."""

import asyncio
import secrets
import shutil
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import asyncpg
import msgspec
import pytest

from proxy.adapters.event_store import EventStore
from proxy.core.journal import encode_event
from proxy.observations import EventsLost, EventsShipped, ShippingFailed
from tests.attempts import make_attempt, make_event
from tests.journal_rig import Ledger, Rig, eventually, frozen, segment_paths
from tests.servers import Database, PostgresServer

MakeRig = Callable[..., Rig]


@pytest.fixture
async def make_rig(database: Database, tmp_path: Path) -> AsyncIterator[MakeRig]:
    """Rigs on this test's folder, closed at its end."""
    made: list[Rig] = []

    def make(**over: Any) -> Rig:
        options = over.pop("options", {**database.proxy, "timeout": 2, "command_timeout": 1})
        made.append(Rig(tmp_path / "journal", options, **over))
        return made[-1]

    yield make
    for rig in made:
        await rig.close(0.5)


@pytest.fixture
def ledger(database: Database) -> Ledger:
    return Ledger(database.owner)


async def test_all_events_land_and_nothing_is_left(make_rig: MakeRig, ledger: Ledger) -> None:
    """Batches of at most 500; at the end the folder is gone."""
    rig = make_rig()
    rig.shipper.start()
    ids = rig.make_calls(1700, key_id="land")

    await eventually(lambda: ledger.sums("land"), (1700, 1700 * 2_000_000, 1700, 1700 * 2_000_000))
    await rig.close()

    assert set(await ledger.rows("land")) == set(ids)
    told = rig.told(EventsShipped)
    assert sum(one.events for one in told) == sum(one.fresh for one in told) == 1700
    assert max(one.events for one in told) <= 500
    assert not rig.journal.folder.path.exists()
    assert rig.journal.root.exists()


async def test_a_replay_three_times_at_once_changes_nothing(make_rig: MakeRig, ledger: Ledger) -> None:
    """Rows and sums of events and rollup stay, however often and however concurrently a journal is shipped."""
    rig = make_rig()
    rig.make_calls(1200, key_id="replay")
    batches: list[list[bytes]] = []
    while batch := rig.journal.backlog.next_batch():
        batches.append(batch.documents)
        rig.journal.backlog.acknowledge(batch)
    stores = [EventStore(rig.store._options) for _ in range(3)]

    async def replay(store: EventStore, order: int) -> int:
        return sum([await store.ingest(documents) for documents in batches[::order]])

    fresh = await asyncio.gather(replay(stores[0], 1), replay(stores[1], 1), replay(stores[2], 1))
    again = await asyncio.gather(replay(stores[0], 1), replay(stores[1], -1), replay(stores[2], 1))

    assert (sum(fresh), again) == (1200, [0, 0, 0])
    assert await ledger.sums("replay") == (1200, 1200 * 2_000_000, 1200, 1200 * 2_000_000)
    for store in stores:
        store.close()


async def test_a_frozen_postgres_delays_and_loses_nothing(
    make_rig: MakeRig, ledger: Ledger, postgres: PostgresServer
) -> None:
    """It hangs with a batch under way; what was sent twice is counted once; memory holds none of it."""
    rig = make_rig()
    rig.shipper.start()
    rig.make_calls(10, key_id="frozen")
    await eventually(lambda: ledger.sums("frozen"), (10, 20_000_000, 10, 20_000_000))

    with frozen(postgres.child.pid):
        for _ in range(25):
            rig.make_calls(80, key_id="frozen")
            await asyncio.sleep(0.1)
        waiting, failures = rig.journal.depth, rig.told(ShippingFailed)
        assert waiting == 2000
        assert rig.journal.oldest_seconds() > 0
        assert not rig.journal.backlog._memory

    thawed = time.monotonic()
    await eventually(lambda: ledger.sums("frozen"), (2010, 4_020_000_000, 2010, 4_020_000_000))
    assert time.monotonic() - thawed < 10
    assert failures
    assert failures[-1].waiting_events > 0
    await rig.close()
    assert not rig.journal.folder.path.exists()


async def test_a_postgres_that_is_down_and_comes_back(make_rig: MakeRig) -> None:
    """Refused connections, then a restart: the queue on disk empties itself, segments go in their order."""
    folder = Path(tempfile.mkdtemp(prefix="weir-test-", dir="/tmp"))
    server = PostgresServer(folder)
    server.start()
    try:
        database = await server.create_database(migrated=True)
        ledger = Ledger(database.owner)
        options = {**database.proxy, "timeout": 2, "command_timeout": 1}
        rig = make_rig(options=options, segment_bytes=100_000)
        rig.shipper.start()
        rig.make_calls(300, key_id="down")
        await eventually(lambda: ledger.sums("down"), (300, 600_000_000, 300, 600_000_000))

        server.stop()
        rig.make_calls(1000, key_id="down")
        await asyncio.sleep(1)
        assert rig.journal.depth == 1000
        before = segment_paths(rig.journal.folder.path)
        assert len(before) > 7
        server.start()

        await eventually(lambda: ledger.sums("down"), (1300, 2_600_000_000, 1300, 2_600_000_000))
        await eventually(lambda: asyncio.sleep(0, segment_paths(rig.journal.folder.path)), before[-1:])
        assert rig.told(ShippingFailed)
        await rig.close()
        assert not rig.journal.folder.path.exists()
    finally:
        server.stop()
        shutil.rmtree(folder, ignore_errors=True)


async def test_a_cut_connection_is_made_again(make_rig: MakeRig, ledger: Ledger, database: Database) -> None:
    """An operator ends the backend: the next batch goes over a new one."""
    rig = make_rig(options={**database.proxy, "server_settings": {"role": "weir_proxy", "application_name": "cut me"}})
    rig.make_calls(5, key_id="cut")
    await rig.shipper.ship_waiting()
    user = await asyncpg.connect(**database.proxy | {"server_settings": {}})
    ended = await user.fetch("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'cut me'")
    await user.close()
    assert [row[0] for row in ended] == [True]

    rig.make_calls(5, key_id="cut")
    rig.shipper.start()

    await eventually(lambda: ledger.sums("cut"), (10, 20_000_000, 10, 20_000_000))


async def test_a_poisoned_event_is_put_aside_and_the_rest_lands(make_rig: MakeRig, ledger: Ledger) -> None:
    """Of 500 events one has an id that is none: 499 land, the one is kept in a private file, and told."""
    rig = make_rig()
    ids = rig.make_calls(321, key_id="poison")
    rig.journal.close(make_event(id="not a uuid", key_id="poison"), None)
    ids += rig.make_calls(178, key_id="poison")

    await rig.shipper.ship_waiting()

    assert set(await ledger.rows("poison")) == set(ids)
    aside = rig.journal.root / "rejected.jsonl"
    assert msgspec.json.decode(aside.read_bytes())["id"] == "not a uuid"
    assert aside.stat().st_mode & 0o777 == 0o600
    (lost,) = rig.told(EventsLost)
    assert lost.events == rig.journal.lost == 1
    assert "not a uuid" not in lost.why
    assert rig.journal.depth == 0


OUTLANDISH = [
    pytest.param({"custom_id": "x\x00y", "metadata": "\udfff"}, id="nul and surrogate"),
    pytest.param({"custom_id": secrets.token_hex(4000)}, id="longer than an index takes"),
    pytest.param({"user_id": secrets.token_urlsafe(9000)}, id="a user longer than an index takes"),
    pytest.param({"output_tokens": 10**25, "status": 2**40}, id="numbers beyond bigint"),
    pytest.param({"requested_model": "m" * 3_000_000}, id="megabytes of model"),
]


@pytest.mark.parametrize("outlandish", OUTLANDISH)
async def test_no_callers_text_makes_an_event_vanish(
    make_rig: MakeRig, ledger: Ledger, outlandish: dict[str, object]
) -> None:
    """What a caller or an upstream can put into an event never keeps its cost from being counted."""
    rig = make_rig()
    key_id = f"outlandish-{secrets.token_hex(4)}"
    event = make_event(key_id=key_id, **outlandish)
    rig.journal.close(event, None)

    await rig.shipper.ship_waiting()

    assert await ledger.rows(key_id) == {event.id: ("completed", 2_000_000)}
    assert rig.told(EventsLost) == []


async def test_every_field_of_an_event_arrives(make_rig: MakeRig, database: Database) -> None:
    """Event, table and `ingest_events` name the same fields: one that is missing anywhere would arrive empty."""
    rig = make_rig()
    event = make_event()
    given: dict[str, Any] = {}
    for number, name in enumerate(event.__struct_fields__):
        value = getattr(event, name)
        if name in ("id", "request_id", "admitted_at", "ended_at", "outcome"):
            given[name] = value
        elif isinstance(value, bool):
            given[name] = not value
        elif isinstance(value, str):
            given[name] = f"text {number}"
        elif isinstance(value, bytes):
            given[name] = b"\x00\xff%d" % number
        else:
            given[name] = ("tag",) if isinstance(value, tuple) else 1000 + number
    rig.journal.close(make_event(**given), None)

    await rig.shipper.ship_waiting()

    owner = await asyncpg.connect(**database.owner)
    row = await owner.fetchrow("SELECT * FROM events WHERE id = $1", event.id)
    await owner.close()
    assert row is not None
    found = dict(row) | {"id": str(row["id"]), "request_id": str(row["request_id"]), "tags": tuple(row["tags"])}
    for name in ("admitted_at", "ended_at"):
        found[name] = round(row[name].timestamp() * 1_000_000)
    assert found == given


async def test_what_only_memory_has_is_shipped_too(make_rig: MakeRig, ledger: Ledger) -> None:
    """With the disk full and Postgres there, unbudgeted traffic loses nothing."""
    rig = make_rig(max_bytes=1)
    attempts = [make_attempt(key_id="memory") for _ in range(700)]
    rig.journal.folder.append(b"x")  # one byte: now it is full
    for attempt in attempts:
        rig.journal.open(attempt, is_budgeted=False)
        rig.journal.close(make_event(id=attempt.event.id, key_id="memory"), attempt.order)

    await rig.shipper.ship_waiting()

    assert await ledger.sums("memory") == (700, 1_400_000_000, 700, 1_400_000_000)
    assert (rig.journal.depth, rig.journal.lost) == (0, 0)


async def test_what_is_not_settled_stays_for_an_heir(make_rig: MakeRig, ledger: Ledger) -> None:
    """The limiter's store is away at shutdown: the folder stays, its lock is free."""
    rig = make_rig()
    rig.is_limiter_away = True
    rig.shipper.start()
    rig.make_calls(3, key_id="unsettled")

    started = time.monotonic()
    await rig.close(0.5)

    assert time.monotonic() - started < 2
    assert len(await ledger.rows("unsettled")) == 3
    assert segment_paths(rig.journal.folder.path)


async def test_shutdown_writes_the_refusals_that_were_counted(make_rig: MakeRig, database: Database) -> None:
    """25 refusals: ten rows, and one that stands for fifteen; none of them is spend."""
    rig = make_rig()
    rig.shipper.start()
    now = time.time_ns() // 1000
    for _ in range(25):
        rig.journal.record_refusal(
            make_event(outcome="refused", key_id="refused", error_kind="rate_limited", admitted_at=now, ended_at=now)
        )

    await rig.close()

    owner = await asyncpg.connect(**database.owner)
    rows = await owner.fetch("SELECT refusals FROM events WHERE key_id = 'refused' ORDER BY refusals")
    rolled = await owner.fetchval("SELECT count(*) FROM spend_hours WHERE key_id = 'refused'")
    await owner.close()
    assert ([row[0] for row in rows], rolled) == ([1] * 10 + [15], 0)


async def test_the_proxys_role_writes_through_the_function_only(database: Database) -> None:
    """INSERT is denied, `ingest_events` is not."""
    store = EventStore(database.proxy)
    event = make_event(key_id="role")
    assert await store.ingest([encode_event(event)]) == 1
    assert await store.charges([event, make_event()]) == {event.id: 2_000_000}
    store.close()

    proxy = await asyncpg.connect(**database.proxy)
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await proxy.execute("INSERT INTO spend_carried VALUES ('role', 'default', 1, 1)")
    await proxy.close()
