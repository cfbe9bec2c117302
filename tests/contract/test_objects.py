"""Who owns an upstream object: workers that share a Redis, and what happens when it is lost."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator

import asyncpg
import pytest
import pytest_asyncio

from proxy.adapters import objects as objects_module
from proxy.adapters.object_store import waiting as waiting_module
from proxy.adapters.object_store.names import KEPT_SECONDS
from proxy.adapters.object_store.postgres_objects import PAGE
from proxy.adapters.postgres import Pool, open_pool
from tests.limiter_rig import wait_until
from tests.object_rig import PROVIDER, Workers, ask, make_object_event, ship
from tests.servers import Database, PostgresServer, ValkeyServer

UNAVAILABLE = "limiter_unavailable"


@pytest_asyncio.fixture
async def workers(valkey: ValkeyServer, pool: Pool) -> AsyncIterator[Workers]:
    server = valkey.fresh()
    workers = Workers(server, pool)
    yield workers
    await workers.close()
    server.stop()


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def proxy(database: Database) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(**database.proxy)
    yield connection
    await connection.close()


@pytest_asyncio.fixture
async def clean(database: Database) -> None:
    """No events."""
    owner = await asyncpg.connect(**database.owner)
    await owner.execute("TRUNCATE events")
    await owner.close()


pytestmark = pytest.mark.usefixtures("clean")


async def test_another_worker_knows_what_was_made_here(workers: Workers) -> None:
    """Only for the account that made it, at the provider it was made at."""
    maker, other = await workers.start(), await workers.start()
    await workers.whole(maker, other)
    assert await maker.remember_now("default", PROVIDER, "resp_1", "setting-1")
    assert await ask(other, "resp_1") == "setting-1"
    assert await ask(maker, "resp_1") == "setting-1"
    await workers.whole(maker, other, account_id="stranger")
    for worker in (maker, other):
        assert await ask(worker, "resp_1", "stranger") is None
        assert await ask(worker, "resp_1", provider="elsewhere") is None
        assert await ask(worker, "resp_2") is None
    assert await workers.keys() == {f"{PROVIDER}:resp_1"}
    ttl = await workers.redis.ttl(f"weir:{{default}}:object:{PROVIDER}:resp_1")
    assert KEPT_SECONDS - 60 < ttl <= KEPT_SECONDS


async def test_remembering_never_waits_and_arrives(workers: Workers) -> None:
    """Here it is known at once, in Redis when the loop has turned."""
    maker, other = await workers.start(), await workers.start()
    await workers.whole(maker, other)
    for number in range(3_000):
        maker.remember("default", PROVIDER, f"resp_{number}", f"setting-{number}")
    assert await ask(maker, "resp_7") == "setting-7"
    assert await maker.flush(20) == 0
    assert len(await workers.keys()) == 3_000
    assert [await ask(other, f"resp_{number}") for number in (0, 1_500, 2_999)] == [
        "setting-0", "setting-1500", "setting-2999",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "object_id",
    ["", " ", "a b", "resp/1", "../resp_1", "resp_1\n", "résp", "resp:1", "{default}", "*", "a" * 129, "\ud800", "\0"],
)
async def test_an_id_that_is_none_names_nothing(workers: Workers, object_id: str) -> None:
    """A caller's is not looked up, upstream's is not kept. Without a connection: nobody is asked."""
    workers.server.kill()
    worker = await workers.start()
    assert await ask(worker, object_id) is None
    worker.remember("default", PROVIDER, object_id, "setting-1")
    worker.forget("default", PROVIDER, object_id)
    assert not await worker.remember_now("default", PROVIDER, object_id, "setting-1")
    assert await ask(worker, object_id) is None
    assert worker.waiting == 0


async def test_what_was_deleted_is_forgotten(workers: Workers) -> None:
    """Also when Redis was away, in the order that it happened in."""
    maker, other = await workers.start(), await workers.start()
    await workers.whole(maker, other)
    await maker.remember_now("default", PROVIDER, "resp_1", "setting-1")
    maker.forget("default", PROVIDER, "resp_1")
    assert await maker.flush(10) == 0
    assert [await ask(maker, "resp_1"), await ask(other, "resp_1")] == [None, None]
    workers.server.kill()
    maker.remember("default", PROVIDER, "resp_2", "setting-1")
    maker.remember("default", PROVIDER, "resp_3", "setting-1")
    maker.forget("default", PROVIDER, "resp_2")
    workers.server.start()
    assert await maker.flush(20) == 0
    assert await workers.keys() == {f"{PROVIDER}:resp_3"}


async def test_redis_lost(workers: Workers) -> None:
    """What this worker knows it knows; of the rest nobody can tell, which is not the same as no."""
    maker, other = await workers.start(), await workers.start()
    await workers.whole(maker, other)
    await maker.remember_now("default", PROVIDER, "resp_1", "setting-1")
    workers.server.kill()
    maker.remember("default", PROVIDER, "resp_2", "setting-1")
    assert not await maker.remember_now("default", PROVIDER, "resp_3", "setting-1")
    assert [await ask(maker, f"resp_{number}") for number in (1, 2, 3)] == ["setting-1"] * 3
    assert await ask(maker, "resp_4") == UNAVAILABLE
    assert await ask(other, "resp_1") == UNAVAILABLE
    workers.server.start()
    await workers.whole(maker, other)
    assert [await ask(other, f"resp_{number}") for number in (1, 2, 3)] == ["setting-1"] * 3


async def test_redis_frozen(workers: Workers) -> None:
    """A look-up ends all the same, and what was said meanwhile arrives."""
    maker, other = await workers.start(0.05), await workers.start(0.05)
    await wait_until(lambda: ask(maker, "resp_nobody"), None, seconds=20)
    os.kill(workers.server.child.pid, signal.SIGSTOP)
    try:
        assert not await maker.remember_now("default", PROVIDER, "resp_1", "setting-1")
        assert await ask(maker, "resp_1") == "setting-1"
        assert await ask(other, "resp_1") == UNAVAILABLE
    finally:
        os.kill(workers.server.child.pid, signal.SIGCONT)
    await wait_until(lambda: ask(other, "resp_1"), "setting-1", seconds=20)


async def test_redis_back_empty(workers: Workers, proxy: asyncpg.Connection) -> None:
    """From Postgres what has been shipped, from the workers what has not; nothing of it is denied meanwhile."""
    maker, other = await workers.start(), await workers.start()
    await workers.whole(maker, other)
    await ship(
        proxy,
        make_object_event("resp_shipped", "setting-1", ago_seconds=86_400),
        make_object_event("resp_nearly_gone", "setting-2", ago_seconds=KEPT_SECONDS - 3_600),
        make_object_event("resp_gone", "setting-2", ago_seconds=KEPT_SECONDS + 3_600),
        make_object_event("chatcmpl-1", "setting-1", endpoint="/api/providers/openai/v1/chat/completions"),
        make_object_event("resp_of_stranger", "setting-9", account_id="stranger"),
        make_object_event("resp_bad id", "setting-1"),
    )
    await maker.remember_now("default", PROVIDER, "resp_unshipped", "setting-3")
    workers.empty()
    answers = set()
    for _ in range(2_000):
        answers |= {await ask(other, "resp_shipped"), await ask(other, "resp_unshipped")}
        if {"setting-1", "setting-3"} <= answers:
            break
        await asyncio.sleep(0.02)
    assert answers <= {UNAVAILABLE, "setting-1", "setting-3"}
    assert {"setting-1", "setting-3"} <= answers, answers
    await workers.whole(maker, other)
    assert await ask(other, "resp_nearly_gone") == "setting-2"
    assert [await ask(other, name) for name in ("resp_gone", "chatcmpl-1", "resp_of_stranger")] == [None] * 3
    assert 0 < await workers.redis.ttl(f"weir:{{default}}:object:{PROVIDER}:resp_nearly_gone") <= 3_600
    assert workers.restored()[-1] == 3
    assert await workers.keys() == {f"{PROVIDER}:resp_{name}" for name in ("shipped", "nearly_gone", "unshipped")}


async def test_redis_emptied_while_it_runs(workers: Workers, proxy: asyncpg.Connection) -> None:
    """No connection breaks: the mark is gone, and that is seen. One worker restores, the others tell theirs."""
    all_workers = [await workers.start() for _ in range(3)]
    await workers.whole(*all_workers)
    await ship(proxy, make_object_event("resp_1", "setting-1"))
    await all_workers[0].remember_now("default", PROVIDER, "resp_2", "setting-2")
    before = len(workers.restored())
    await workers.redis.flushall()
    await wait_until(lambda: ask(all_workers[1], "resp_1"), "setting-1")
    await wait_until(lambda: ask(all_workers[2], "resp_2"), "setting-2")
    await workers.whole(*all_workers)
    assert len(workers.restored()) == before + 1


async def test_redis_emptied_while_it_is_restored(workers: Workers, proxy: asyncpg.Connection) -> None:
    """What was told to the one before is not there: it is not called whole, and all of it is told again."""
    await ship(proxy, *[make_object_event(f"resp_{number}", "setting-1", number) for number in range(PAGE + 10)])
    workers.source.after_page = workers.redis.flushall
    worker = await workers.start()
    await workers.whole(worker)
    assert len(workers.source.asked) == 2
    assert workers.restored() == [PAGE + 10]
    assert len(await workers.keys()) == PAGE + 10


async def test_pages_meet_without_gap(workers: Workers, proxy: asyncpg.Connection) -> None:
    """Though many objects were made at the same moment."""
    moment = make_object_event("x", "y").admitted_at
    events = [make_object_event(f"resp_{number}", "s", admitted_at=moment) for number in range(2 * PAGE + 1)]
    await ship(proxy, *events)
    worker = await workers.start()
    await workers.whole(worker)
    assert workers.restored() == [2 * PAGE + 1]
    assert len(await workers.keys()) == 2 * PAGE + 1


async def test_a_restarted_redis_is_told_only_what_it_may_lack(workers: Workers, proxy: asyncpg.Connection) -> None:
    """Its mark says how old its data is."""
    maker = await workers.start()
    await workers.whole(maker)
    await maker.remember_now("default", PROVIDER, "resp_old", "setting-1")
    assert await maker.flush(10) == 0
    await ship(
        proxy,
        make_object_event("resp_old", "setting-1", ago_seconds=86_400),
        make_object_event("resp_lost", "setting-2", ago_seconds=60),
    )
    await asyncio.sleep(1.5)  # what is older than a second is in the append-only file
    workers.server.kill()
    workers.server.start()
    other = await workers.start()
    await workers.whole(maker, other)
    assert workers.restored()[-1] == 1
    assert [await ask(other, "resp_old"), await ask(other, "resp_lost")] == ["setting-1", "setting-2"]


async def test_without_postgres_what_is_lost_cannot_be_told(workers: Workers, proxy: asyncpg.Connection) -> None:
    """New objects are known all the same; when Postgres is back, so are the others. Told once."""
    maker, other = await workers.start(), await workers.start()
    await workers.whole(maker, other)
    await ship(proxy, make_object_event("resp_1", "setting-1"))
    workers.source.is_away = True
    workers.empty()
    await wait_until(lambda: asyncio.sleep(0, workers.unrestored() > 0), True, seconds=20)
    maker.remember("default", PROVIDER, "resp_2", "setting-2")
    await wait_until(lambda: ask(other, "resp_2"), "setting-2", seconds=20)
    assert await ask(other, "resp_1") == UNAVAILABLE
    await asyncio.sleep(objects_module._RETRY_SECONDS + 1)
    assert workers.unrestored() <= 2  # one for each worker that tried
    workers.source.is_away = False
    await wait_until(lambda: ask(other, "resp_1"), "setting-1", seconds=20)


async def test_a_first_start_knows_at_once_that_there_is_nothing(
    valkey: ValkeyServer, postgres: PostgresServer
) -> None:
    """An account that never made an object need not wait for workers to tell of some."""
    pool = await open_pool((await postgres.create_database(migrated=True)).proxy, 2)
    workers = Workers(valkey.fresh(), pool)
    worker = await workers.start()
    await wait_until(lambda: asyncio.sleep(0, workers.restored()), [0])
    assert await ask(worker, "resp_1") is None
    assert await ask(worker, "resp_1", "another-account") is None, "found out within the look-up"
    await workers.close()
    pool.terminate()


async def test_what_did_not_fit_the_queue_comes_from_postgres(
    workers: Workers, proxy: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A long outage: the queue is bounded, and Redis is not taken for whole afterwards."""
    monkeypatch.setattr(waiting_module, "MOST_WAITING", 20)
    monkeypatch.setattr(objects_module, "MOST_REMEMBERED", 10)
    maker, other = await workers.start(), await workers.start()
    await workers.whole(maker, other)
    workers.server.kill()
    for number in range(40):
        maker.remember("default", PROVIDER, f"resp_{number}", "setting-1")
    assert maker.waiting == 20
    assert len(maker._memory) == 10
    await ship(proxy, *[make_object_event(f"resp_{number}", "setting-1") for number in range(40)])
    workers.server.start()
    await workers.whole(maker, other)
    await wait_until(lambda: ask(other, "resp_0"), "setting-1", seconds=20)
    assert len(await workers.keys()) == 40


async def test_the_mark_is_touched_and_no_other(workers: Workers, monkeypatch: pytest.MonkeyPatch) -> None:
    """It tells how much a restart may have lost; one that is gone is not made by touching it."""
    monkeypatch.setattr(objects_module, "TOUCH_SECONDS", 0.1)
    worker = await workers.start()
    await workers.whole(worker)
    mark = "weir:{default}:objects"
    first = await workers.redis.get(mark)

    async def is_touched() -> bool:
        now = await workers.redis.get(mark)
        return now != first and now.rpartition(":")[0] == first.rpartition(":")[0]

    await wait_until(is_touched, True)
    worker._store.wake.set()
    workers.source.is_away = True
    await workers.redis.delete(mark)
    await wait_until(lambda: asyncio.sleep(0, workers.unrestored() > 0), True, seconds=20)
    assert await workers.redis.get(mark) is None
    assert await ask(worker, "resp_1") == UNAVAILABLE
