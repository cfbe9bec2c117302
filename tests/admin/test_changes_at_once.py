"""Two operators at once: each change is whole or refused, whichever comes first."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

import asyncpg
import httpx2
import pytest

from tests.admin.conftest import KEYS, SETTINGS, make_key, make_setting, read_key
from tests.servers import Database

ROUNDS = 20


@asynccontextmanager
async def locked(database: Database, statement: str, *args: Any) -> AsyncIterator[asyncpg.Connection]:
    """A transaction of another operator that has run `statement` and has not yet committed."""
    connection = await asyncpg.connect(**database.admin)
    transaction = connection.transaction()
    await transaction.start()
    await connection.execute(statement, *args)
    try:
        yield connection
        await transaction.commit()
    finally:
        await connection.close()


async def until_one_waits(owner: asyncpg.Connection) -> None:
    """Returns when a transaction waits for another's lock."""
    async with asyncio.timeout(4):  # less than the plane's own time limit for a write
        while not await owner.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted"):
            await asyncio.sleep(0.005)


async def test_two_patches_of_one_limit(admin: httpx2.AsyncClient, owner: asyncpg.Connection) -> None:
    """Both are done, one after the other: one limit stays, whole, and its generation counts both."""
    key_id = (await make_key(admin, rateLimitOverTime=1, rateLimitUnit="m"))["keyId"]
    bodies = [{"rateLimitOverTime": n, "rateLimitUnit": "m", "tags": [f"{n}"], "name": f"{n}"} for n in range(2, 10)]
    answers = await asyncio.gather(*(admin.patch(f"{KEYS}/{key_id}", json=body) for body in bodies))

    assert {answer.status_code for answer in answers} == {200}
    after = await read_key(admin, key_id)
    assert [after["name"]] == after["tags"] == [str(after["rateLimitOverTime"])]
    [row] = await owner.fetch("SELECT * FROM limits WHERE scope_id = $1", key_id)
    assert row["generation"] == 1 + len(bodies)
    assert await owner.fetchval("SELECT max(updated_at) FROM keys WHERE id = $1", key_id) == row["reset_at"]


async def test_two_patches_of_different_units(admin: httpx2.AsyncClient, owner: asyncpg.Connection) -> None:
    """One window limit stays: the later one's."""
    key_id = (await make_key(admin))["keyId"]
    bodies = [{"rateLimitOverTime": n, "rateLimitUnit": unit} for n, unit in enumerate("smhdsmhd", 1)]
    answers = await asyncio.gather(*(admin.patch(f"{KEYS}/{key_id}", json=body) for body in bodies))

    assert {answer.status_code for answer in answers} == {200}
    [row] = await owner.fetch("SELECT * FROM limits WHERE scope_id = $1", key_id)
    assert {"rateLimitOverTime": row["amount"], "rateLimitUnit": row["window_unit"]} in bodies


async def test_patch_against_delete(admin: httpx2.AsyncClient, owner: asyncpg.Connection) -> None:
    """The patch is done or 404; the key is gone either way, with its limits."""
    for _ in range(ROUNDS):
        key_id = (await make_key(admin))["keyId"]
        change = {"rateLimitOverTime": 1, "rateLimitUnit": "m", "costLimitInUsd": 1}
        changed, deleted = await asyncio.gather(
            admin.patch(f"{KEYS}/{key_id}", json=change), admin.delete(f"{KEYS}/{key_id}")
        )
        assert changed.status_code in (200, 404)
        assert deleted.status_code == 200
        assert await owner.fetchval("SELECT count(*) FROM limits WHERE scope_id = $1", key_id) == 0
        assert await owner.fetchval("SELECT count(*) FROM tombstones WHERE id = $1", key_id) == 1


async def test_patch_that_waits_for_a_delete_is_404(
    admin: httpx2.AsyncClient, database: Database, owner: asyncpg.Connection
) -> None:
    """It finds nothing once the delete is committed."""
    key_id = (await make_key(admin))["keyId"]
    async with locked(database, "DELETE FROM keys WHERE id = $1::text::uuid", key_id):
        patching = asyncio.gather(admin.patch(f"{KEYS}/{key_id}", json={"name": "x"}))
        await until_one_waits(owner)
    [answer] = await patching

    assert answer.status_code == 404


async def test_the_same_text_twice(admin: httpx2.AsyncClient, owner: asyncpg.Connection) -> None:
    """One key is made, with all its limits; the others leave nothing."""
    setting_id = (await make_setting(admin))["id"]
    limits = {"costLimitInUsd": 1, "rateLimitOverTime": 1, "rateLimitUnit": "m"}
    before = await owner.fetchval("SELECT count(*) FROM limits")
    bodies = [{"name": f"{n}", "key": f"chosen-{uuid4()}", "settingId": setting_id, **limits} for n in range(5)]
    answers = await asyncio.gather(*(admin.put(KEYS, json=body) for body in bodies * 4))

    assert sorted(answer.status_code for answer in answers) == [200] * 5 + [409] * 15
    assert await owner.fetchval("SELECT count(*) FROM limits") == before + 10
    made = await owner.fetch("SELECT name FROM keys WHERE setting_ids @> ARRAY[$1::text::uuid]", setting_id)
    assert sorted(row["name"] for row in made) == ["0", "1", "2", "3", "4"]


async def test_two_patches_of_one_setting(admin: httpx2.AsyncClient) -> None:
    """What each said is there: neither wrote back what the other had changed."""
    setting = await make_setting(admin, provider="vllm", setting={"url": "http://one.example"})
    for n in range(ROUNDS):
        bodies: list[dict[str, Any]] = [
            {"name": f"{n}"},
            {"setting": {"url": f"http://{n}.example"}},
            {"unpriced": "free"},
        ]
        answers = await asyncio.gather(*(admin.patch(f"{SETTINGS}/{setting['id']}", json=body) for body in bodies))
        assert {answer.status_code for answer in answers} == {200}
        [after] = (await admin.get(SETTINGS, params={"ids": setting["id"]})).json()
        assert (after["name"], after["setting"]) == (f"{n}", {"url": f"http://{n}.example"})


async def test_setting_that_is_deleted_while_a_key_takes_it(
    admin: httpx2.AsyncClient, owner: asyncpg.Connection
) -> None:
    """Created, patched, deleted at once: never a key that names what is gone."""
    other = (await make_setting(admin))["id"]
    for _ in range(ROUNDS):
        setting_id = (await make_setting(admin))["id"]
        key_id = (await make_key(admin, settingId=other))["keyId"]
        deleted, created, changed = await asyncio.gather(
            admin.delete(f"{SETTINGS}/{setting_id}"),
            admin.put(KEYS, json={"name": "n", "settingIds": [other, setting_id]}),
            admin.patch(f"{KEYS}/{key_id}", json={"settingId": setting_id}),
        )
        assert {deleted.status_code, created.status_code, changed.status_code} <= {200, 404, 409}
        is_there = await owner.fetchval("SELECT count(*) FROM provider_settings WHERE id = $1", setting_id) == 1
        users = await owner.fetchval("SELECT count(*) FROM keys WHERE setting_ids @> ARRAY[$1::text::uuid]", setting_id)
        assert users == (created.status_code == 200) + (changed.status_code == 200)
        assert is_there == (deleted.status_code == 409)
        assert is_there or users == 0


@pytest.mark.parametrize("is_first", [True, False])
async def test_delete_and_use_wait_for_each_other(
    admin: httpx2.AsyncClient, database: Database, owner: asyncpg.Connection, is_first: bool
) -> None:
    """Whoever comes second sees what the first has done."""
    setting_id, other = (await make_setting(admin))["id"], (await make_setting(admin))["id"]
    key_id = (await make_key(admin, settingId=other))["keyId"]
    if is_first:
        statement = "DELETE FROM provider_settings WHERE id = $1::text::uuid"
        async with locked(database, statement, setting_id):
            waiting = asyncio.gather(admin.patch(f"{KEYS}/{key_id}", json={"settingId": setting_id}))
            await until_one_waits(owner)
        [answer] = await waiting
        assert answer.status_code == 404
        return
    statement = "SELECT FROM provider_settings WHERE id = $1::text::uuid FOR KEY SHARE"
    async with locked(database, statement, setting_id) as connection:
        await connection.execute(
            "UPDATE keys SET setting_ids = ARRAY[$1::text::uuid] WHERE id = $2::text::uuid", setting_id, key_id
        )
        waiting = asyncio.gather(admin.delete(f"{SETTINGS}/{setting_id}"))
        await until_one_waits(owner)
        # What only changes the setting waits for neither.
        assert (await admin.patch(f"{SETTINGS}/{other}", json={"name": "x"})).status_code == 200
    [answer] = await waiting
    assert answer.status_code == 409
