"""Every change by an operator is one row in the change's own transaction; no secret is anywhere in the database."""

from collections.abc import Awaitable, Callable
from typing import Any
from uuid import uuid4

import asyncpg
import httpx2
import msgspec
import pytest

from admin import audit
from tests.admin.conftest import KEYS, SETTINGS, make_key, make_setting

SECRET = "sk-upstream-never-to-be-seen"
CHOSEN = "a-chosen-key-never-to-be-seen"


async def rows(owner: asyncpg.Connection) -> list[dict[str, Any]]:
    return [dict(row) for row in await owner.fetch("SELECT * FROM audit_log ORDER BY id")]


async def test_each_change_is_one_row(admin: httpx2.AsyncClient, owner: asyncpg.Connection) -> None:
    """Who, from where, what, on which resource, with which values."""
    before = await rows(owner)
    setting = await make_setting(admin, setting={"apikey": SECRET, "url": "https://a.example"})
    key = await make_key(admin, settingId=setting["id"], key=CHOSEN, costLimitInUsd=0.1, tags=["t"])
    await admin.patch(f"{KEYS}/{key['keyId']}", json={"revoked": True, "revokedReason": "stolen", "key": CHOSEN})
    await admin.delete(f"{KEYS}/{key['keyId']}")
    renewed = {"setting": {"apikey": SECRET + "2", "url": ""}, "costMap": None, "allowedModels": []}
    await admin.patch(f"{SETTINGS}/{setting['id']}", json=renewed)
    await admin.patch(f"{SETTINGS}/{setting['id']}", json={"name": "n", "costMap": {"promptCostPerModel": {"m": 0.5}}})
    await admin.delete(f"{SETTINGS}/{setting['id']}")

    told = (await rows(owner))[len(before) :]
    assert [(row["action"], row["resource"], row["resource_id"]) for row in told] == [
        ("create", "provider_setting", setting["id"]),
        ("create", "key", key["keyId"]),
        ("update", "key", key["keyId"]),
        ("delete", "key", key["keyId"]),
        ("update", "provider_setting", setting["id"]),
        ("update", "provider_setting", setting["id"]),
        ("delete", "provider_setting", setting["id"]),
    ]
    assert {(row["actor"], row["remote_address"]) for row in told} == {("admin-key", "127.0.0.1")}
    changes = [msgspec.json.decode(row["change"]) for row in told]
    assert changes[0]["setting"] == {"url": "https://a.example"}
    assert changes[0]["secretSettings"] == ["apikey"]
    assert changes[1] == {
        "name": "test",
        "settingId": setting["id"],
        "tags": ["t"],
        "costLimitInUsd": 0.1,
        "minted": False,
    }
    assert changes[2] == {"revoked": True, "revokedReason": "stolen"}
    assert changes[4] == {"setting": {}, "secretSettings": ["apikey"], "costMap": None, "allowedModels": []}
    assert changes[5] == {"name": "n", "costMap": {"promptCostPerModel": {"m": 0.5}}}
    assert changes[3] == changes[6] == {}


async def test_no_change_is_no_row(admin: httpx2.AsyncClient, owner: asyncpg.Connection) -> None:
    """Reading, refusing and failing leave nothing."""
    key = await make_key(admin, key=f"k-{uuid4()}")
    before = await rows(owner)
    for attempt in (
        admin.get(SETTINGS),
        admin.get(KEYS, params={"keyIds": key["keyId"]}),
        admin.post("/api/v2/events", json={"start": 1, "end": 2}),
        admin.put(SETTINGS, json={"provider": "nonsense"}),
        admin.put(KEYS, json={"name": "n", "settingId": str(uuid4())}),
        admin.patch(f"{KEYS}/{key['keyId']}", json={"ttl": "1h"}),
        admin.patch(f"{KEYS}/{uuid4()}", json={"name": "x"}),
        admin.delete(f"{KEYS}/{uuid4()}"),
        admin.post("/api/v2/key-management/keys", json={}),
        admin.patch(f"{SETTINGS}/{uuid4()}", json={"name": "x"}),
        admin.patch(f"{SETTINGS}/{key['settingId']}", json={"setting": {"url": "http://thief.example"}}),
        admin.delete(f"{SETTINGS}/{key['settingId']}"),
        admin.delete(f"{SETTINGS}/{uuid4()}"),
    ):
        await attempt

    assert await rows(owner) == before


async def test_change_and_row_are_one(
    admin: httpx2.AsyncClient, owner: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What cannot be told does not happen."""
    key = await make_key(admin, key=f"k-{uuid4()}")
    counts = (
        "SELECT (SELECT count(*) FROM keys), (SELECT count(*) FROM provider_settings), (SELECT count(*) FROM limits)"
    )
    unused = await make_setting(admin)
    before = (await owner.fetchrow(counts), await rows(owner))

    async def broken(*_: Any) -> None:
        raise OSError

    monkeypatch.setattr(audit, "record", broken)
    attempts: list[Callable[[], Awaitable[httpx2.Response]]] = [
        lambda: admin.put(SETTINGS, json={"provider": "openai", "setting": {"apikey": "k"}}),
        lambda: admin.put(KEYS, json={"name": "n", "settingId": key["settingId"], "costLimitInUsd": 1}),
        lambda: admin.patch(f"{KEYS}/{key['keyId']}", json={"rateLimitOverTime": 1, "rateLimitUnit": "m"}),
        lambda: admin.delete(f"{KEYS}/{key['keyId']}"),
        lambda: admin.patch(f"{SETTINGS}/{key['settingId']}", json={"setting": {"apikey": "k2"}, "name": "new"}),
        lambda: admin.delete(f"{SETTINGS}/{unused['id']}"),
    ]
    assert [(await attempt()).status_code for attempt in attempts] == [503] * 6

    assert (await owner.fetchrow(counts), await rows(owner)) == before


async def test_no_secret_is_stored_in_clear(admin: httpx2.AsyncClient, owner: asyncpg.Connection) -> None:
    """Neither an upstream credential nor a gateway key, chosen or minted, in any column of any table."""
    setting = await make_setting(admin, setting={"apikey": "another"})
    renewed = {"apikey": SECRET, "url": "https://a.example"}
    await admin.patch(f"{SETTINGS}/{setting['id']}", json={"setting": renewed})
    minted = (await make_key(admin, key=None, settingId=setting["id"]))["key"]
    await make_key(admin, key=CHOSEN, settingId=setting["id"])
    tables = await owner.fetch(
        "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'r'"
    )
    for table in tables:
        content = await owner.fetchval(f"SELECT string_agg(t::text, ' ') FROM {table['relname']} t") or ""
        for secret in (SECRET, CHOSEN, minted):
            assert secret not in content
            assert secret.encode().hex() not in content
