"""Keys are created (contract §2.2): what is accepted, what is refused, what the proxy reads of it."""

import asyncio
from decimal import Decimal
from typing import Any
from uuid import uuid4

import asyncpg
import httpx2
import msgspec
import pytest

from shared.keys import is_junk, key_sha256, mask_key, mint_key, peppered_digest
from shared.records import key_detail_decoder, limits_decoder
from shared.secrets import Secrets, parse_master_key
from tests.admin.conftest import ADMIN_KEY, KEYS, app_of, client_of, event, make_key, make_setting, read_key, record_of
from tests.servers import MASTER_KEY, Database

ANSWER_MEMBERS = {
    "name", "createdAt", "updatedAt", "tags", "keyId", "revoked", "key", "revokedReason", "costLimitInUsd",
    "costLimitInUsdOverTime", "costLimitInUsdUnit", "rateLimitOverTime", "rateLimitUnit", "ttl", "settingId",
    "allowedPaths", "settingIds", "shouldLogRequest", "shouldLogResponse", "rotationEnabled", "policyId",
    "isKeyNotHashed",
}  # fmt: skip


async def test_key_with_nothing_but_a_name_and_a_setting(admin: httpx2.AsyncClient) -> None:
    """Every member is always there; unset is empty, 0 or false."""
    setting = await make_setting(admin)
    chosen = f"actualKey-{uuid4()}"
    created = await make_key(admin, name="Spike's Testing Key", key=chosen, settingId=setting["id"], tags=["spike"])

    assert set(created) == ANSWER_MEMBERS
    assert created == {
        **dict.fromkeys(("revokedReason", "costLimitInUsdUnit", "rateLimitUnit", "ttl", "policyId"), ""),
        **dict.fromkeys(("costLimitInUsd", "costLimitInUsdOverTime", "rateLimitOverTime"), 0),
        **dict.fromkeys(
            ("revoked", "shouldLogRequest", "shouldLogResponse", "rotationEnabled", "isKeyNotHashed"), False
        ),
        "name": "Spike's Testing Key",
        "tags": ["spike"],
        "key": mask_key(chosen),
        "settingId": setting["id"],
        "settingIds": [],
        "allowedPaths": [],
        "keyId": created["keyId"],
        "createdAt": created["createdAt"],
        "updatedAt": created["createdAt"],
    }
    assert await read_key(admin, created["keyId"]) == created


async def test_everything_that_is_accepted_comes_back_and_reaches_the_proxy(
    admin: httpx2.AsyncClient, database: Database
) -> None:
    """As it was said, and as exact records."""
    first, second = (await make_setting(admin))["id"], (await make_setting(admin))["id"]
    said: dict[str, Any] = {
        "name": "all",
        "tags": ["a", "b,c", 'd"{}'],
        "settingIds": [second, first],
        "costLimitInUsd": 0.1,
        "costLimitInUsdOverTime": 8999999.25,
        "costLimitInUsdUnit": "mo",
        "rateLimitOverTime": 2,
        "rateLimitUnit": "m",
        "ttl": "1h30m",
        "allowedPaths": [{"path": "/api/chat/completion", "method": "POST"}],
        "isKeyNotHashed": True,
        "shouldLogRequest": True,
        "shouldLogResponse": False,
        "rotationEnabled": True,
    }
    chosen = f"actualKey-{uuid4()}"
    created = await make_key(admin, key=chosen, **said)
    assert {name: created[name] for name in said} == said

    row = await record_of(database, created["keyId"])
    secrets = Secrets(parse_master_key(MASTER_KEY))
    detail = key_detail_decoder.decode(row["detail"])
    limits = {(one.resource, one.window): one for one in limits_decoder.decode(row["limits"])}
    assert row["digest"] == peppered_digest(key_sha256(chosen), secrets.peppers[secrets.pepper_version])
    assert not row["is_revoked"]
    assert row["expires_at_ms"] // 1000 - created["createdAt"] in (5400, 5401)
    assert (detail.name, detail.tags) == ("all", ("a", "b,c", 'd"{}'))
    assert detail.setting_ids == (second, first)
    assert [(one.path, one.method) for one in detail.allowed_paths] == [("/api/chat/completion", "POST")]
    assert (detail.rotation, detail.should_log_request, detail.should_log_response) == (True, True, False)
    assert {window: one.amount for window, one in limits.items()} == {
        ("cost", "total"): 100_000_000,
        ("cost", "mo"): 8_999_999_250_000_000,
        ("requests", "m"): 2,
    }
    assert {one.generation for one in limits.values()} == {1}
    assert all(one.reset_at_ms // 1000 - created["createdAt"] in (0, 1) for one in limits.values())


async def test_the_largest_key_fits_what_a_proxy_reads_of_one(admin: httpx2.AsyncClient, database: Database) -> None:
    """65,536 characters of JSON (proxy/adapters/snapshot_rows.py); a longer detail would close the key."""
    settings = [(await make_setting(admin))["id"] for _ in range(100)]
    # The longest text of JSON that 255 characters make, and the most spaces that jsonb adds.
    created = await make_key(
        admin,
        name="\x01" * 255,
        tags=["\x01" * 255] * 15 + ["\x01" * 160],
        settingIds=settings,
        allowedPaths=[{"path": "/", "method": "A"}] * 923,
        rotationEnabled=False,
    )
    row = await record_of(database, created["keyId"])

    assert 50_000 < len(row["detail"]) <= 65_536
    assert key_detail_decoder.decode(row["detail"]).setting_ids == tuple(settings)


async def test_amounts_are_answered_digit_for_digit(admin: httpx2.AsyncClient) -> None:
    """Money enters and leaves by its decimal text, never through a float."""
    setting_id = (await make_setting(admin))["id"]
    for text in ("0.1", "0.000000001", "9000000", "0.30000000", "8999999.999999999", "1e-9", "123456.789012345"):
        body = f'{{"name":"n","settingId":"{setting_id}","costLimitInUsd":{text}}}'
        answer = await admin.put(KEYS, content=body)
        shown = msgspec.json.Decoder(float_hook=Decimal).decode(answer.content)["costLimitInUsd"]
        assert Decimal(shown) == Decimal(text)


async def test_minted_key_is_shown_once(admin: httpx2.AsyncClient, owner: asyncpg.Connection) -> None:
    """In full in the answer that makes it, a mask ever after; the database never has it."""
    created = await make_key(admin, key=None)
    key = created["key"]

    assert key.startswith("sk-weir-")
    assert not is_junk(key)
    assert (await read_key(admin, created["keyId"]))["key"] == mask_key(key)
    patched = await admin.patch(f"{KEYS}/{created['keyId']}", json={"name": "other"})
    assert patched.json()["key"] == mask_key(key)
    row = await owner.fetchrow("SELECT * FROM keys WHERE id = $1", created["keyId"])
    assert key not in str(dict(row))
    assert key_sha256(key) != row["digest"]


async def test_the_shortest_key_is_not_its_mask(admin: httpx2.AsyncClient) -> None:
    """Eight characters are enough, and three of them stay hidden."""
    shortest = uuid4().hex[:8]
    created = await make_key(admin, key=shortest)

    assert created["key"] == shortest[:5] + "*" * 46


INVALID: list[tuple[dict[str, Any], str]] = [
    ({"name": ""}, "fields [name] are invalid"),
    ({"name": None}, "fields [name] are invalid"),
    ({"key": ""}, "fields [key] are invalid"),
    ({"tags": ["a", ""]}, "fields [tags] are invalid"),
    ({"tags": [""], "name": "", "key": ""}, "fields [tags, key, name] are invalid"),
    ({"settingId": "", "settingIds": [""]}, "fields [settingIds[0]] are invalid"),
    ({"costLimitInUsd": -0.1}, "fields [costLimitInUsd] are invalid"),
    ({"costLimitInUsdOverTime": -1, "costLimitInUsdUnit": "d"}, "fields [costLimitInUsdOverTime] are invalid"),
    ({"rateLimitOverTime": -1, "rateLimitUnit": "m"}, "fields [rateLimitOverTime] are invalid"),
    ({"rateLimitOverTime": 9_000_000_000_000_001, "rateLimitUnit": "m"}, "fields [rateLimitOverTime] are invalid"),
    ({"ttl": "soon"}, "fields [ttl] are invalid"),
    ({"ttl": "-1h"}, "fields [ttl] are invalid"),
    ({"ttl": "1000000d"}, "fields [ttl] are invalid"),
    ({"allowedPaths": [{"path": "", "method": "POST"}]}, "fields [allowedPaths.0.path] are invalid"),
    ({"allowedPaths": [{"path": "api", "method": "POST"}]}, "fields [allowedPaths.0.path] are invalid"),
    ({"allowedPaths": [{"path": "/a", "method": "GET"}, {"path": "/a"}]}, "fields [allowedPaths.1.method] are invalid"),
    ({"costLimitInUsd": 9000000.01}, "costLimitInUsd is larger than 9000000"),
    ({"costLimitInUsdOverTime": 9e6 + 1, "costLimitInUsdUnit": "d"}, "costLimitInUsdOverTime is larger than 9000000"),
    ({"costLimitInUsd": 1e-10}, "costLimitInUsd has more than 9 decimals"),
    ({"costLimitInUsd": 1e300}, "costLimitInUsd is too large"),
    ({"rateLimitUnit": "m"}, "rate limit over time can not be empty if rate limit unit is specified"),
    ({"costLimitInUsdUnit": "m"}, "cost limit over time can not be empty if cost limit unit is specified"),
    ({"rateLimitOverTime": 1}, "rate limit unit can not be empty if rate limit over time is specified"),
    ({"costLimitInUsdOverTime": 1}, "cost limit unit can not be empty if cost limit over time is specified"),
    ({"rateLimitOverTime": 1, "rateLimitUnit": "mo"}, "rate limit unit can not be identified"),
    ({"rateLimitOverTime": 1, "rateLimitUnit": "M"}, "rate limit unit can not be identified"),
    ({"costLimitInUsdOverTime": 1, "costLimitInUsdUnit": "s"}, "cost limit unit can not be identified"),
    ({"key": "a"}, "key must have at least 8 characters"),
    ({"key": "7-chars"}, "key must have at least 8 characters"),
    ({"key": "with space"}, "key must be at most 1024 printable ASCII characters without spaces"),
    ({"key": "k" * 1025}, "key must be at most 1024 printable ASCII characters without spaces"),
    ({"key": "schlüssel"}, "key must be at most 1024 printable ASCII characters without spaces"),
    ({"key": mint_key()[:-1] + "!"}, "key looks like one of Weir's own, but its checksum is wrong"),
    ({"rotationEnabled": True, "policyId": "p"}, "fields [policyId] are not supported yet"),
    ({"name": "n" * 256}, "name must have at most 255 characters"),
    ({"tags": ["a", "t" * 256]}, "tags must have at most 255 characters"),
    ({"allowedPaths": [{"path": "/" * 256, "method": "GET"}]}, "allowedPaths must have at most 255 characters"),
    ({"allowedPaths": [{"path": "/a", "method": "GÉT"}]}, "fields [allowedPaths.0.method] are invalid"),
    ({"tags": [f"{n}" for n in range(10_000)]}, "tags must take at most 24000 characters as JSON"),
    (
        {"allowedPaths": [{"path": f"/{n}", "method": "GET"} for n in range(1_000)]},
        "allowedPaths must take at most 24000 characters as JSON",
    ),
    ({"settingId": "", "settingIds": ["x"] * 101}, "settingIds must name at most 100 settings"),
]


@pytest.mark.parametrize(
    ("over", "detail"), INVALID, ids=[f"{n} {detail}"[:60] for n, (_, detail) in enumerate(INVALID)]
)
async def test_invalid_key_is_400(admin: httpx2.AsyncClient, over: dict[str, Any], detail: str) -> None:
    """With the contract's type, title and text."""
    setting_id = (await make_setting(admin))["id"]
    answer = await admin.put(KEYS, json={"name": "n", "settingId": setting_id, **over})

    assert answer.json() == {
        "type": "/errors/validation",
        "title": "key validation failed",
        "status": 400,
        "detail": detail,
        "instance": KEYS,
    }
    assert answer.status_code == 400


async def test_none_or_both_of_setting_ids_is_400(admin: httpx2.AsyncClient) -> None:
    """Said before anything else that is wrong."""
    setting_id = (await make_setting(admin))["id"]
    none = await admin.put(KEYS, json={"name": ""})
    both = await admin.put(KEYS, json={"name": "", "settingId": setting_id, "settingIds": [setting_id]})

    assert none.status_code == both.status_code == 400
    assert none.json()["type"] == both.json()["type"] == "/errors/key-manager"
    assert none.json()["detail"] == "settingId is not set in either setting_id or setting_ids field"
    assert both.json()["detail"] == "either settingId or settingIds"


@pytest.mark.parametrize("unknown", [str(uuid4()), "nonsense"])
async def test_unknown_setting_is_404(admin: httpx2.AsyncClient, unknown: str) -> None:
    """Alone or among known ones."""
    known = (await make_setting(admin))["id"]
    alone = await admin.put(KEYS, json={"name": "n", "settingId": unknown})
    among = await admin.put(KEYS, json={"name": "n", "settingIds": [known, unknown]})

    assert (alone.status_code, alone.json()["detail"]) == (404, "provider setting is not found")
    assert (among.status_code, among.json()["detail"]) == (404, "not all settings are found")
    assert alone.json()["type"] == among.json()["type"] == "/errors/not-found"


async def test_a_setting_named_twice_counts_once(admin: httpx2.AsyncClient) -> None:
    """The order stays."""
    first, second = (await make_setting(admin))["id"], (await make_setting(admin))["id"]

    said = [second, first, second, first.upper()]
    assert (await make_key(admin, settingIds=said))["settingIds"] == [second, first]


async def test_duplicate_key_is_409(admin: httpx2.AsyncClient) -> None:
    """One after the other or at once: one is made, and no text of the database is told."""
    setting_id = (await make_setting(admin))["id"]
    body = {"name": "n", "key": f"chosen-{uuid4()}", "settingId": setting_id}
    answers = await asyncio.gather(*(admin.put(KEYS, json=body) for _ in range(8)))

    assert sorted(answer.status_code for answer in answers) == [200] + [409] * 7
    refused = next(answer for answer in answers if answer.status_code == 409).json()
    assert (refused["type"], refused["title"]) == ("/errors/key-manager", "key creation error")
    assert refused["detail"] == "key already exists"


async def test_no_limit_is_no_row(admin: httpx2.AsyncClient, owner: asyncpg.Connection) -> None:
    """0 is unlimited."""
    said = {"costLimitInUsd": 0, "rateLimitOverTime": 0, "rateLimitUnit": "", "costLimitInUsdOverTime": 0.0}
    created = await make_key(admin, **said)

    assert await owner.fetchval("SELECT count(*) FROM limits WHERE scope_id = $1", created["keyId"]) == 0


@pytest.mark.parametrize(("ttl", "seconds"), [("2d", 172_800), ("90s", 90), ("1.5h", 5400), ("0", None), ("", None)])
async def test_ttl_counts_from_creation(
    admin: httpx2.AsyncClient, owner: asyncpg.Connection, ttl: str, seconds: int | None
) -> None:
    """Go's durations and days; empty and 0 are forever."""
    created = await make_key(admin, ttl=ttl)
    lasts = await owner.fetchval("SELECT expires_at - created_at FROM keys WHERE id = $1", created["keyId"])

    assert created["ttl"] == ttl
    assert (lasts and lasts.total_seconds()) == seconds


async def test_expired_key_is_shown_as_revoked(admin: httpx2.AsyncClient, owner: asyncpg.Connection) -> None:
    """On reading; no row says so."""
    created = await make_key(admin, ttl="1us")
    shown = await read_key(admin, created["keyId"])

    assert (shown["revoked"], shown["revokedReason"]) == (True, "expired")
    assert not await owner.fetchval("SELECT is_revoked FROM keys WHERE id = $1", created["keyId"])


async def test_used_up_lifetime_cost_is_shown_as_revoked(
    admin: httpx2.AsyncClient, owner: asyncpg.Connection, database: Database
) -> None:
    """Spend of the events plus what retention carried, to the nano-USD; a higher limit opens the key again."""
    created = await make_key(admin, costLimitInUsd=0.000000010)
    key_id = created["keyId"]
    proxy = await asyncpg.connect(**database.proxy)

    async def spend(nano: int) -> bool:
        batch = msgspec.json.encode([event(key_id=key_id, charged_cost_nano=nano, list_cost_nano=nano)]).decode()
        await proxy.fetchval("SELECT ingest_events($1::jsonb)", batch)
        return (await read_key(admin, key_id))["revoked"]

    await owner.execute("INSERT INTO spend_carried VALUES ($1, 'default', 1, 3)", key_id)
    assert not await spend(6)
    assert await spend(1)
    assert (await read_key(admin, key_id))["revokedReason"] == "expired"
    await proxy.close()

    raised = await admin.patch(f"{KEYS}/{key_id}", json={"costLimitInUsd": 0.000000011})
    assert not raised.json()["revoked"]
    assert not await owner.fetchval("SELECT is_revoked FROM keys WHERE id = $1", key_id)


async def test_rotating_the_master_key_keeps_keys_unique(admin: httpx2.AsyncClient, database: Database) -> None:
    """A key stored under the old pepper is still the same key."""
    chosen = f"chosen-{uuid4()}"
    await make_key(admin, key=chosen)
    setting_id = (await make_setting(admin))["id"]
    environ = database.settings_environ("admin")
    environ |= {"WEIR_MASTER_KEY_OLD": environ["WEIR_MASTER_KEY"], "WEIR_MASTER_KEY": "ff" * 32}

    # The app shares the process's pool, so it is not started: only its secrets differ.
    async with client_of(app_of(environ), **{"X-API-KEY": ADMIN_KEY}) as rotated:
        answer = await rotated.put(KEYS, json={"name": "n", "key": chosen, "settingId": setting_id})

    assert answer.status_code == 409
