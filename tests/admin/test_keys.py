"""Keys are found and deleted (contract §2.2)."""

from typing import Any
from uuid import uuid4

import asyncpg
import httpx2
import pytest

from admin import database as admin_database
from tests.admin.conftest import KEYS, make_key, make_setting, record_of
from tests.servers import Database


async def test_keys_are_found_by_tags(admin: httpx2.AsyncClient) -> None:
    """A key has all the tags asked for; `tag` and `tags` are one filter."""
    one, two = f"tag-{uuid4()}", f"tag-{uuid4()}"
    await make_key(admin, name="A", tags=[one])
    await make_key(admin, name="B", tags=[one, two])

    async def names(**params: Any) -> list[str]:
        answer = await admin.get(KEYS, params=params)
        assert answer.status_code == 200
        return sorted(key["name"] for key in answer.json())

    assert await names(tag=one) == ["A", "B"]
    assert await names(tag=two) == ["B"]
    assert await names(tag="tag-3") == []
    assert await names(tags=[one, two]) == ["B"]
    assert await names(tag=one, tags=two) == ["B"]
    assert await names(tags=f"{one},{two}") == []
    assert await names(tag=one.upper()) == []
    assert await names(tag="%") == []


async def test_filters_are_anded(admin: httpx2.AsyncClient) -> None:
    """Ids, provider and tags together; an id that cannot exist finds nothing rather than everything."""
    tag = f"tag-{uuid4()}"
    first, second = await make_key(admin, tags=[tag]), await make_key(admin, tags=[tag])

    async def ids(**params: Any) -> list[str]:
        return [key["keyId"] for key in (await admin.get(KEYS, params=params)).json()]

    assert set(await ids(tag=tag, provider="openai")) == {first["keyId"], second["keyId"]}
    assert await ids(tag=tag, provider="anthropic") == []
    assert await ids(tag=tag, provider="openai' OR '1'='1") == []
    assert await ids(tag=tag, keyIds=first["keyId"]) == [first["keyId"]]
    assert set(await ids(keyIds=[first["keyId"], second["keyId"], "nonsense"])) == {first["keyId"], second["keyId"]}
    assert await ids(keyIds="nonsense") == []
    assert await ids(tag="other", keyIds=first["keyId"]) == []


@pytest.mark.parametrize("params", [{}, {"tag": ""}, {"tags": ["", ""], "provider": ""}, {"unknown": "x"}])
async def test_no_filter_is_400(admin: httpx2.AsyncClient, params: dict[str, Any]) -> None:
    """In the contract's own spelling."""
    answer = await admin.get(KEYS, params=params)

    assert (answer.status_code, answer.json()["type"]) == (400, "/errors/missing-filteres")
    assert answer.json()["title"] == "filters are not found"


async def test_deleted_key_is_gone(admin: httpx2.AsyncClient, database: Database, owner: asyncpg.Connection) -> None:
    """200 and an empty body, however often; the proxies find a tombstone; the text may be used again."""
    chosen = f"chosen-{uuid4()}"
    created = await make_key(admin, key=chosen, rateLimitOverTime=1, rateLimitUnit="m")
    digest = await owner.fetchval("SELECT digest FROM keys WHERE id = $1", created["keyId"])
    answer = await admin.delete(f"{KEYS}/{created['keyId']}")

    assert (answer.status_code, answer.content) == (200, b"")
    assert await record_of(database, created["keyId"]) is None
    assert (await admin.get(KEYS, params={"keyIds": created["keyId"]})).json() == []
    tombstone = await owner.fetchrow("SELECT * FROM tombstones WHERE id = $1", created["keyId"])
    assert (tombstone["kind"], tombstone["digest"]) == ("key", digest)
    assert await owner.fetchval("SELECT count(*) FROM limits WHERE scope_id = $1", created["keyId"]) == 0
    for unknown in (created["keyId"], "nonsense", str(uuid4())):
        again = await admin.delete(f"{KEYS}/{unknown}")
        assert (again.status_code, again.content) == (200, b"")
    assert await owner.fetchval("SELECT count(*) FROM audit_log WHERE action = 'delete'") == 1
    await make_key(admin, key=chosen)


async def test_listing_many_keys_is_one_query(admin: httpx2.AsyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many keys have limits and spend."""
    tag = f"tag-{uuid4()}"
    setting_id = (await make_setting(admin))["id"]
    for _ in range(30):
        await make_key(admin, settingId=setting_id, tags=[tag], costLimitInUsd=1)
    queries: list[str] = []
    original = admin_database.Database.run_querystring

    async def told(self: Any, querystring: Any, in_pool: bool = True) -> Any:
        queries.append(str(querystring))
        return await original(self, querystring, in_pool)

    monkeypatch.setattr(admin_database.Database, "run_querystring", told)
    answer = await admin.get(KEYS, params={"tag": tag})

    assert len(answer.json()) == 30
    assert len(queries) == 1
