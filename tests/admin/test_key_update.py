"""PATCH of a key (contract §2.2): what is not said stays, limits come in pairs, counters begin anew when told to."""

from typing import Any
from uuid import uuid4

import asyncpg
import httpx2
import pytest

from shared.keys import mask_key
from tests.admin.conftest import KEYS, make_key, make_setting, read_key


async def patch(admin: httpx2.AsyncClient, key_id: str, **body: Any) -> httpx2.Response:
    return await admin.patch(f"{KEYS}/{key_id}", json=body)


async def patched(admin: httpx2.AsyncClient, key_id: str, **body: Any) -> dict[str, Any]:
    answer = await patch(admin, key_id, **body)
    assert answer.status_code == 200, answer.text
    assert answer.json() == await read_key(admin, key_id)
    return answer.json()


async def limit_row(owner: asyncpg.Connection, key_id: str, resource: str, unit: str) -> Any:
    return await owner.fetchrow(
        "SELECT * FROM limits WHERE scope_id = $1 AND resource = $2 AND window_unit = $3", key_id, resource, unit
    )


async def test_contract_test_update(admin: httpx2.AsyncClient) -> None:
    """Name, tags and allowed paths are replaced; then the paths are cleared."""
    created = await make_key(admin, name="Spike's Testing Key", tags=["spike"])
    paths = [{"path": "/api/providers/openai/v1/embeddings", "method": "POST"}]
    first = await patched(admin, created["keyId"], name="Rena's Testing Key", tags=["rena"], allowedPaths=paths)
    second = await patched(admin, created["keyId"], allowedPaths=[])

    assert (first["name"], first["tags"], first["allowedPaths"]) == ("Rena's Testing Key", ["rena"], paths)
    assert second == {**first, "allowedPaths": [], "updatedAt": second["updatedAt"]}


async def test_nothing_said_changes_nothing(admin: httpx2.AsyncClient, owner: asyncpg.Connection) -> None:
    """Nor do an empty name, empty lists and null, which cannot clear; only `updatedAt` moves."""
    created = await make_key(
        admin, tags=["a"], rateLimitOverTime=1, rateLimitUnit="m", costLimitInUsd=1, ttl="1h", isKeyNotHashed=True
    )
    before = await limit_row(owner, created["keyId"], "requests", "m")
    after = await patched(
        admin,
        created["keyId"],
        name="",
        tags=[],
        settingId="",
        settingIds=[],
        revoked=None,
        rateLimitUnit=None,
        policyId="",
    )

    assert after == {**created, "updatedAt": after["updatedAt"]}
    assert await limit_row(owner, created["keyId"], "requests", "m") == before


async def test_key_that_was_read_can_be_sent_back(admin: httpx2.AsyncClient) -> None:
    """Read, change one member, send all: the usual way of scripts."""
    created = await make_key(admin, tags=["a"], rateLimitOverTime=5, rateLimitUnit="h", ttl="2d", costLimitInUsd=3)
    whole = await read_key(admin, created["keyId"])
    after = await patched(admin, created["keyId"], **{**whole, "name": "new"})

    assert after == {**whole, "name": "new", "updatedAt": after["updatedAt"]}


@pytest.mark.parametrize("flag", ["rotationEnabled", "shouldLogRequest", "shouldLogResponse", "isKeyNotHashed"])
async def test_flags_are_switched(admin: httpx2.AsyncClient, flag: str) -> None:
    """Each by itself, on and off; null says nothing."""
    created = await make_key(admin)

    async def say(value: bool | None) -> dict[str, Any]:
        after = await patched(admin, created["keyId"], **{flag: value})
        return {**after, "updatedAt": created["updatedAt"]}

    assert await say(True) == {**created, flag: True}
    assert await say(None) == {**created, flag: True}
    assert await say(False) == created


async def test_settings_are_replaced(admin: httpx2.AsyncClient) -> None:
    """Singular or plural, the last form said is the one shown."""
    created = await make_key(admin)
    first, second = (await make_setting(admin))["id"], (await make_setting(admin))["id"]

    many = await patched(admin, created["keyId"], settingIds=[second, first])
    assert (many["settingId"], many["settingIds"]) == ("", [second, first])
    one = await patched(admin, created["keyId"], settingId=first)
    assert (one["settingId"], one["settingIds"]) == (first, [])


async def test_revoking(admin: httpx2.AsyncClient) -> None:
    """A reason stays until another comes; un-revoking empties it."""
    key_id = (await make_key(admin))["keyId"]

    revoked = await patched(admin, key_id, revoked=True, revokedReason="stolen")
    assert (revoked["revoked"], revoked["revokedReason"]) == (True, "stolen")
    assert (await patched(admin, key_id, revoked=True))["revokedReason"] == "stolen"
    assert (await patched(admin, key_id, revokedReason="lost"))["revokedReason"] == "lost"
    open_again = await patched(admin, key_id, revoked=False, revokedReason="ignored")
    assert (open_again["revoked"], open_again["revokedReason"]) == (False, "")
    refused = await patch(admin, key_id, revokedReason="why")
    assert (refused.status_code, refused.json()["detail"]) == (400, "revokedReason needs revoked to be true")


async def test_revoked_wins_over_expired(admin: httpx2.AsyncClient) -> None:
    """An operator's reason is not hidden; un-revoking an expired key does not open it."""
    key_id = (await make_key(admin, ttl="1us"))["keyId"]

    assert (await patched(admin, key_id, revoked=True, revokedReason="stolen"))["revokedReason"] == "stolen"
    still = await patched(admin, key_id, revoked=False)
    assert (still["revoked"], still["revokedReason"]) == (True, "expired")


async def test_used_up_key_that_was_read_can_be_sent_back(admin: httpx2.AsyncClient, owner: asyncpg.Connection) -> None:
    """What time or spend made of it is no operator's word: with a higher limit it is open again."""
    key_id = (await make_key(admin, costLimitInUsd=0.000000001))["keyId"]
    await owner.execute("INSERT INTO spend_carried VALUES ($1, 'default', 1, 1)", key_id)
    whole = await read_key(admin, key_id)
    assert (whole["revoked"], whole["revokedReason"]) == (True, "expired")

    same = await patched(admin, key_id, **whole)
    assert (same["revoked"], same["revokedReason"]) == (True, "expired")
    assert not await owner.fetchval("SELECT is_revoked FROM keys WHERE id = $1", key_id)
    raised = await patched(admin, key_id, **{**whole, "costLimitInUsd": 1})
    assert (raised["revoked"], raised["revokedReason"]) == (False, "")

    said = await patched(admin, key_id, revoked=True, revokedReason="expired")
    assert (said["revoked"], said["revokedReason"]) == (True, "expired")
    assert await owner.fetchval("SELECT is_revoked FROM keys WHERE id = $1", key_id)


async def test_saying_the_unit_starts_a_new_generation(admin: httpx2.AsyncClient, owner: asyncpg.Connection) -> None:
    """The same limit's counter begins at 0 now, even with the same numbers."""
    key_id = (await make_key(admin, rateLimitOverTime=2, rateLimitUnit="m"))["keyId"]
    first = await limit_row(owner, key_id, "requests", "m")
    same = await patched(admin, key_id, rateLimitOverTime=2, rateLimitUnit="m")
    second = await limit_row(owner, key_id, "requests", "m")
    await patched(admin, key_id, rateLimitOverTime=7, rateLimitUnit="m")
    third = await limit_row(owner, key_id, "requests", "m")

    assert (same["rateLimitOverTime"], same["rateLimitUnit"]) == (2, "m")
    assert [row["generation"] for row in (first, second, third)] == [1, 2, 3]
    assert first["id"] == second["id"] == third["id"]
    assert first["reset_at"] < second["reset_at"] < third["reset_at"]
    assert third["amount"] == 7


async def test_another_unit_replaces_the_limit(admin: httpx2.AsyncClient, owner: asyncpg.Connection) -> None:
    """One window limit per resource; the other resource and the lifetime cost stay."""
    key_id = (
        await make_key(
            admin,
            rateLimitOverTime=2,
            rateLimitUnit="m",
            costLimitInUsdOverTime=1,
            costLimitInUsdUnit="d",
            costLimitInUsd=5,
        )
    )["keyId"]
    old = await limit_row(owner, key_id, "requests", "m")
    after = await patched(admin, key_id, rateLimitOverTime=100, rateLimitUnit="d")
    new = await limit_row(owner, key_id, "requests", "d")

    assert (after["rateLimitOverTime"], after["rateLimitUnit"]) == (100, "d")
    assert (after["costLimitInUsdOverTime"], after["costLimitInUsdUnit"], after["costLimitInUsd"]) == (1, "d", 5)
    assert await limit_row(owner, key_id, "requests", "m") is None
    assert new["id"] != old["id"]
    assert (await limit_row(owner, key_id, "cost", "d"))["generation"] == 1

    await patched(admin, key_id, costLimitInUsdOverTime=2, costLimitInUsdUnit="mo")
    assert (await limit_row(owner, key_id, "cost", "total"))["generation"] == 1


async def test_limits_are_cleared(admin: httpx2.AsyncClient, owner: asyncpg.Connection) -> None:
    """By amount 0 with unit "", and the lifetime cost by 0."""
    key_id = (
        await make_key(
            admin,
            rateLimitOverTime=2,
            rateLimitUnit="m",
            costLimitInUsdOverTime=1,
            costLimitInUsdUnit="d",
            costLimitInUsd=5,
        )
    )["keyId"]
    await patched(admin, key_id, rateLimitOverTime=0, rateLimitUnit="")
    await patched(admin, key_id, costLimitInUsdOverTime=0, costLimitInUsdUnit="")
    assert await owner.fetchval("SELECT count(*) FROM limits WHERE scope_id = $1", key_id) == 1
    after = await patched(admin, key_id, costLimitInUsd=0)

    assert (after["rateLimitOverTime"], after["costLimitInUsdOverTime"], after["costLimitInUsd"]) == (0, 0, 0)
    assert (after["rateLimitUnit"], after["costLimitInUsdUnit"]) == ("", "")
    assert await owner.fetchval("SELECT count(*) FROM limits WHERE scope_id = $1", key_id) == 0


async def test_lifetime_cost_never_begins_anew(admin: httpx2.AsyncClient, owner: asyncpg.Connection) -> None:
    """Changed, it keeps its generation; added later, it counts since the key exists."""
    key_id = (await make_key(admin, costLimitInUsd=1))["keyId"]
    before = await limit_row(owner, key_id, "cost", "total")
    await patched(admin, key_id, costLimitInUsd=2)
    after = await limit_row(owner, key_id, "cost", "total")
    assert (after["id"], after["generation"], after["reset_at"]) == (before["id"], 1, before["reset_at"])
    assert after["amount"] == 2_000_000_000

    later = (await make_key(admin))["keyId"]
    await patched(admin, later, costLimitInUsd=1)
    row = await limit_row(owner, later, "cost", "total")
    assert row["reset_at"] == await owner.fetchval("SELECT created_at FROM keys WHERE id = $1", later)


async def test_change_of_a_limit_alone_reaches_the_poll(admin: httpx2.AsyncClient, owner: asyncpg.Connection) -> None:
    """The key's row carries the new transaction, by which the proxies find it."""
    key_id = (await make_key(admin, rateLimitOverTime=2, rateLimitUnit="m"))["keyId"]
    before = await owner.fetchval("SELECT changed_xid::text::bigint FROM keys WHERE id = $1", key_id)
    await patched(admin, key_id, rateLimitOverTime=3, rateLimitUnit="m")

    assert await owner.fetchval("SELECT changed_xid::text::bigint FROM keys WHERE id = $1", key_id) > before


PAIRS: list[tuple[dict[str, Any], str]] = [
    ({"rateLimitUnit": "m"}, "rate limit over time can not be empty if rate limit unit is specified"),
    ({"rateLimitUnit": ""}, "rate limit over time can not be empty if rate limit unit is specified"),
    ({"rateLimitOverTime": 5}, "rate limit unit can not be empty if rate limit over time is specified"),
    ({"rateLimitOverTime": 5, "rateLimitUnit": ""}, "rate limit over time must be 0 if rate limit unit is empty"),
    ({"rateLimitOverTime": 0, "rateLimitUnit": "m"}, "rate limit unit has to be empty if rate limit over time is 0"),
    ({"rateLimitOverTime": 5, "rateLimitUnit": "mo"}, "rate limit unit can not be identified"),
    ({"costLimitInUsdUnit": "m"}, "cost limit over time can not be empty if cost limit unit is specified"),
    ({"costLimitInUsdOverTime": 5}, "cost limit unit can not be empty if cost limit over time is specified"),
    (
        {"costLimitInUsdOverTime": 5, "costLimitInUsdUnit": ""},
        "cost limit over time must be 0 if cost limit unit is empty",
    ),
    (
        {"costLimitInUsdOverTime": 0, "costLimitInUsdUnit": "m"},
        "cost limit unit has to be empty if cost limit over time is 0",
    ),
    ({"costLimitInUsdOverTime": 5, "costLimitInUsdUnit": "s"}, "cost limit unit can not be identified"),
    ({"tags": [""]}, "fields [tags] are invalid"),
    ({"settingIds": ["", ""]}, "fields [settingIds[0], settingIds[1]] are invalid"),
    ({"costLimitInUsd": -1}, "fields [costLimitInUsd] are invalid"),
    ({"costLimitInUsd": 1e-10}, "costLimitInUsd has more than 9 decimals"),
    ({"costLimitInUsd": 9000001}, "costLimitInUsd is larger than 9000000"),
    ({"allowedPaths": [{"path": "/x", "method": ""}]}, "fields [allowedPaths.0.method] are invalid"),
    ({"revokedReason": "r" * 256, "revoked": True}, "revokedReason must have at most 255 characters"),
    ({"tags": [f"{n}" for n in range(10_000)]}, "tags must take at most 24000 characters as JSON"),
    ({"rateLimitOverTime": -1, "rateLimitUnit": "m"}, "fields [rateLimitOverTime] are invalid"),
    ({"policyId": "p"}, "fields [policyId] are not supported yet"),
    ({"ttl": "3h"}, "ttl cannot be changed"),
    ({"ttl": ""}, "ttl cannot be changed"),
    ({"key": "another"}, "key cannot be changed"),
]


@pytest.mark.parametrize(("body", "detail"), PAIRS, ids=[f"{n} {detail}"[:60] for n, (_, detail) in enumerate(PAIRS)])
async def test_invalid_update_is_400(admin: httpx2.AsyncClient, body: dict[str, Any], detail: str) -> None:
    """With the contract's texts; nothing changes."""
    created = await make_key(admin, ttl="2h", rateLimitOverTime=1, rateLimitUnit="m")
    answer = await patch(admin, created["keyId"], name="changed", **body)

    assert answer.status_code == 400
    assert answer.json() == {
        "type": "/errors/validation",
        "title": "key validation failed",
        "status": 400,
        "detail": detail,
        "instance": f"{KEYS}/:id",
    }
    assert await read_key(admin, created["keyId"]) == created


async def test_the_key_itself_may_be_repeated(admin: httpx2.AsyncClient) -> None:
    """As its mask, or as what it is."""
    chosen = f"chosen-{uuid4()}"
    key_id = (await make_key(admin, key=chosen))["keyId"]

    assert (await patch(admin, key_id, key=mask_key(chosen))).status_code == 200
    assert (await patch(admin, key_id, key=chosen)).status_code == 200


async def test_both_setting_forms_are_400(admin: httpx2.AsyncClient) -> None:
    """With the title of updates."""
    created = await make_key(admin)
    answer = await patch(admin, created["keyId"], settingId=created["settingId"], settingIds=[created["settingId"]])

    assert answer.status_code == 400
    assert (answer.json()["type"], answer.json()["title"]) == ("/errors/key-manager", "update key error")
    assert answer.json()["detail"] == "either settingId or settingIds"


@pytest.mark.parametrize("unknown", [str(uuid4()), "nonsense", "%00"])
async def test_unknown_key_is_404(admin: httpx2.AsyncClient, unknown: str) -> None:
    """Where BricksLLM drops the connection."""
    answer = await patch(admin, unknown, name="x")

    assert answer.status_code == 404
    assert (answer.json()["type"], answer.json()["title"]) == ("/errors/not-found", "update key failed")
    assert answer.json()["detail"] == "key is not found"


async def test_unknown_setting_is_404(admin: httpx2.AsyncClient) -> None:
    """And the rest of the body is not applied."""
    created = await make_key(admin)
    alone = await patch(admin, created["keyId"], name="new", settingId=str(uuid4()))
    among = await patch(admin, created["keyId"], name="new", settingIds=[created["settingId"], str(uuid4())])

    assert (alone.status_code, alone.json()["detail"]) == (404, "provider setting is not found")
    assert (among.status_code, among.json()["detail"]) == (404, "not all settings are found")
    assert await read_key(admin, created["keyId"]) == created


async def test_names_match_in_any_case(admin: httpx2.AsyncClient) -> None:
    """Unknown ones are ignored."""
    key_id = (await make_key(admin))["keyId"]
    body = b'{"NaMe": "y", "ALLOWEDPATHS": [{"PATH": "/a", "Method": "get"}], "nonsense": {"a": [1]}}'
    answer = await admin.patch(f"{KEYS}/{key_id}", content=body)

    assert answer.json()["name"] == "y"
    assert answer.json()["allowedPaths"] == [{"path": "/a", "method": "GET"}]
