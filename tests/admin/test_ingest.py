"""`ingest_events`: exact, idempotent, and the rollups always agree with the rows."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import asyncpg
import msgspec
import pytest
import pytest_asyncio

from shared.events import Event, event_encoder
from shared.usage import COMPLETION_CLASSES, PROMPT_CLASSES
from tests.admin.conftest import event
from tests.servers import Database

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def proxy(database: Database) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(**database.proxy)
    yield connection
    await connection.close()


async def ingest(proxy: asyncpg.Connection, *events: dict[str, Any]) -> int:
    return await proxy.fetchval("SELECT ingest_events($1::jsonb)", msgspec.json.encode(events).decode())


async def spend(owner: asyncpg.Connection, key_id: str) -> Any:
    return await owner.fetchrow(
        "SELECT coalesce(sum(requests), 0)::bigint AS requests, coalesce(sum(unpriced), 0)::bigint AS unpriced,"
        " coalesce(sum(prompt_tokens), 0)::bigint AS prompt, coalesce(sum(completion_tokens), 0)::bigint AS completion,"
        " coalesce(sum(list_cost_nano), 0)::bigint AS list, coalesce(sum(charged_cost_nano), 0)::bigint AS charged"
        " FROM spend_hours WHERE key_id = $1",
        key_id,
    )


async def test_every_field_of_the_record_is_a_column(owner: asyncpg.Connection, proxy: asyncpg.Connection) -> None:
    """The struct, the function and the table name the same things, and each arrives as it was sent."""
    values: dict[str, Any] = {}
    for index, field in enumerate(Event.__struct_fields__, 1):
        kind = Event.__annotations__[field]
        values[field] = {
            "int": index, "bool": True, "str": f"text {index}", "int | None": index, "bytes": b"\x00\xff%d" % index
        }.get(getattr(kind, "__name__", str(kind)), f"text {index}")  # fmt: skip
    values |= {
        "id": str(uuid4()),
        "request_id": str(uuid4()),
        "tags": ("a", 'b"c,{}'),
        "admitted_at": 1_799_999_999_999_999,
        "ended_at": 1_800_000_000_000_001,
        "is_final": False,
        "outcome": "cut",
    }
    sent = Event(**values)
    batch = b"[" + event_encoder.encode(sent) + b"]"

    assert await proxy.fetchval("SELECT ingest_events($1::jsonb)", batch.decode()) == 1

    row = dict(await owner.fetchrow("SELECT * FROM events WHERE id = $1", sent.id))
    assert set(row) == set(Event.__struct_fields__)
    assert row.pop("admitted_at") == EPOCH + timedelta(microseconds=sent.admitted_at)
    assert row.pop("ended_at") == EPOCH + timedelta(microseconds=sent.ended_at)
    row |= {"id": str(row["id"]), "request_id": str(row["request_id"]), "tags": tuple(row["tags"])}
    assert row == {name: value for name, value in values.items() if name not in ("admitted_at", "ended_at")}


async def test_absent_fields_have_the_records_defaults(owner: asyncpg.Connection, proxy: asyncpg.Connection) -> None:
    """The journal leaves defaults out; the row has them all the same."""
    bare = Event(id=str(uuid4()), request_id=str(uuid4()), admitted_at=1, ended_at=2, outcome="failed", status=502)
    await proxy.fetchval("SELECT ingest_events($1::jsonb)", f"[{event_encoder.encode(bare).decode()}]")

    row = dict(await owner.fetchrow("SELECT * FROM events WHERE id = $1", bare.id))
    for name in Event.__struct_fields__[8:]:
        expected = getattr(bare, name)
        assert row[name] == (list(expected) if isinstance(expected, tuple) else expected), name


@pytest.mark.parametrize("offset", [0, 1, 999_999, 123_456, 654_321])
async def test_times_are_exact_to_the_microsecond(
    owner: asyncpg.Connection, proxy: asyncpg.Connection, offset: int
) -> None:
    """Also far from now, where doubles are coarse."""
    for second in (0, 1, 951_782_400, 1_800_000_000, 4_102_444_799, 9_000_000_000):
        microseconds = second * 1_000_000 + offset
        sent = event(admitted_at=microseconds, ended_at=microseconds)
        await ingest(proxy, sent)
        row = await owner.fetchrow("SELECT admitted_at, ended_at FROM events WHERE id = $1", sent["id"])
        assert row["admitted_at"] == row["ended_at"] == EPOCH + timedelta(microseconds=microseconds)


async def test_replay_changes_nothing(owner: asyncpg.Connection, proxy: asyncpg.Connection) -> None:
    """The same batch again, in part, twice in one batch: every event counts once."""
    key_id = str(uuid4())
    events = [event(key_id=key_id, charged_cost_nano=7, list_cost_nano=9, input_tokens=3) for _ in range(5)]

    assert await ingest(proxy, *events) == 5
    assert await ingest(proxy, *events) == 0
    assert await ingest(proxy, *events[:2], event(key_id=key_id, charged_cost_nano=7, list_cost_nano=9)) == 1
    twice = event(key_id=key_id, charged_cost_nano=7, list_cost_nano=9)
    assert await ingest(proxy, twice, twice) == 1

    assert dict(await spend(owner, key_id)) == {
        "requests": 7,
        "unpriced": 0,
        "prompt": 15,
        "completion": 0,
        "list": 63,
        "charged": 49,
    }


async def test_two_shippers_with_the_same_batch_count_it_once(
    database: Database, owner: asyncpg.Connection, proxy: asyncpg.Connection
) -> None:
    """An adopted journal and its late owner may send the same events at the same moment."""
    key_id = str(uuid4())
    batch = [event(key_id=key_id, charged_cost_nano=1, list_cost_nano=1) for _ in range(50)]
    other = await asyncpg.connect(**database.proxy)
    transaction = proxy.transaction()
    await transaction.start()
    assert await ingest(proxy, *batch) == 50

    waiting = asyncio.get_running_loop().create_task(ingest(other, *batch))
    await transaction.commit()
    assert await waiting == 0
    await other.close()

    assert (await spend(owner, key_id))["charged"] == 50


async def test_unknown_price_is_null_and_counted_as_unknown(
    owner: asyncpg.Connection, proxy: asyncpg.Connection
) -> None:
    """It is never 0."""
    key_id = str(uuid4())
    unknown, free = event(key_id=key_id), event(key_id=key_id, list_cost_nano=0, charged_cost_nano=0)
    await ingest(proxy, unknown, free)

    costs = {
        str(row["id"]): (row["list_cost_nano"], row["charged_cost_nano"])
        for row in await owner.fetch("SELECT * FROM events WHERE key_id = $1", key_id)
    }
    assert costs == {unknown["id"]: (None, None), free["id"]: (0, 0)}
    assert (await spend(owner, key_id))["unpriced"] == 1


async def test_refusals_are_rows_and_no_spend(owner: asyncpg.Connection, proxy: asyncpg.Connection) -> None:
    """A refused call consumed nothing."""
    key_id = str(uuid4())
    await ingest(proxy, event(key_id=key_id, outcome="refused", status=429, error_kind="rate_limited", refusals=250))

    assert await owner.fetchval("SELECT refusals FROM events WHERE key_id = $1", key_id) == 250
    assert (await spend(owner, key_id))["requests"] == 0
    assert await proxy.fetchval("SELECT count(*) FROM proxy_charges WHERE key_id = $1", key_id) == 0


async def test_rollups_agree_with_the_rows(owner: asyncpg.Connection, proxy: asyncpg.Connection) -> None:
    """By hour of admission, in several shards, each token class in its sum."""
    key_id = str(uuid4())
    classes = {f"{name}_tokens": 10**index for index, name in enumerate((*PROMPT_CLASSES, *COMPLETION_CLASSES))}
    hour = 3_600_000_000
    batch = [
        event(
            key_id=key_id,
            worker=f"w{n % 5}",
            admitted_at=n // 4 * hour,
            charged_cost_nano=n,
            list_cost_nano=n,
            **classes,
        )
        for n in range(20)
    ]
    await ingest(proxy, *batch[:13])
    await ingest(proxy, *batch[13:])

    rows = await owner.fetch("SELECT * FROM spend_hours WHERE key_id = $1", key_id)
    assert {row["hour"] for row in rows} == {EPOCH + timedelta(hours=n) for n in range(5)}
    assert all(0 <= row["shard"] < 8 for row in rows)
    total = await spend(owner, key_id)
    assert (total["requests"], total["charged"]) == (20, sum(range(20)))
    assert (total["prompt"], total["completion"]) == (20 * 11_111, 20 * 11_100_000)


async def test_events_lie_in_the_partition_of_their_month(owner: asyncpg.Connection, proxy: asyncpg.Connection) -> None:
    """The present month and the next twelve have one; anything else is in the default partition, and none is lost."""
    now = datetime.now(UTC)
    this_month = datetime(now.year, now.month, 1, tzinfo=UTC)
    edge = int(this_month.timestamp()) * 1_000_000
    first, before = event(admitted_at=edge, ended_at=edge), event(admitted_at=edge - 1, ended_at=edge)
    await ingest(proxy, first, before)

    async def partition_of(sent: dict[str, Any]) -> str:
        return await owner.fetchval("SELECT tableoid::regclass::text FROM events WHERE id = $1", sent["id"])

    assert await partition_of(first) == f"events_{now:%Y_%m}"
    assert await partition_of(before) == "events_default"


async def test_a_bad_event_leaves_nothing_of_its_batch(owner: asyncpg.Connection, proxy: asyncpg.Connection) -> None:
    """A batch is all or nothing."""
    key_id = str(uuid4())
    with pytest.raises(asyncpg.NotNullViolationError):
        await ingest(proxy, event(key_id=key_id), {"id": str(uuid4())})

    assert await owner.fetchval("SELECT count(*) FROM events WHERE key_id = $1", key_id) == 0
    assert (await spend(owner, key_id))["requests"] == 0
