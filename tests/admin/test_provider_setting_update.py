"""PATCH and DELETE of a provider setting (contract §2.3), the other providers, and the filter by provider."""

from typing import Any
from uuid import uuid4

import asyncpg
import httpx2
import msgspec
import pytest

from admin.provider_settings.checks import PROVIDER_PARAMS
from proxy.providers import PROVIDERS
from shared.records import CostMap, setting_detail_decoder
from shared.secrets import Secrets, parse_master_key
from tests.admin.conftest import ADMIN_KEY, KEYS, SETTINGS, app_of, client_of, make_key, make_setting
from tests.servers import MASTER_KEY, Database

SECRETS = Secrets(parse_master_key(MASTER_KEY))
OPENAI = {"provider": "openai", "setting": {"apikey": "sk-one", "url": "https://one.example"}}
ANTHROPIC = {"provider": "anthropic", "setting": {"apikey": "sk-one"}}
VLLM = {"provider": "vllm", "setting": {"url": "http://one.example"}}
VLLM_KEYED = {"provider": "vllm", "setting": {"url": "http://one.example", "apiKey": "sk-one"}}


async def stored(database: Database, setting_id: str) -> tuple[dict[str, str], dict[str, str]]:
    """The secret and the other parameters, as the proxy opens them."""
    connection = await asyncpg.connect(**database.proxy)
    row = await connection.fetchrow("SELECT * FROM proxy_settings WHERE id = $1", setting_id)
    await connection.close()
    return msgspec.json.decode(SECRETS.open(row["sealed"], setting_id)), setting_detail_decoder.decode(
        row["detail"]
    ).params


async def patch(admin: httpx2.AsyncClient, setting_id: str, **body: Any) -> httpx2.Response:
    return await admin.patch(f"{SETTINGS}/{setting_id}", json=body)


async def patched(admin: httpx2.AsyncClient, setting_id: str, **body: Any) -> dict[str, Any]:
    answer = await patch(admin, setting_id, **body)
    assert answer.status_code == 200, answer.text
    assert "sk-" not in answer.text
    assert [answer.json()] == (await admin.get(SETTINGS, params={"ids": setting_id})).json()
    return answer.json()


def test_both_planes_know_the_same_parameters() -> None:
    """What the proxy needs of a provider's setting is asked for, and what it holds secret is sealed."""
    assert PROVIDER_PARAMS.keys() == PROVIDERS.keys()
    for name, row in PROVIDERS.items():
        assert set(PROVIDER_PARAMS[name].required) == set(row.required_params)
        assert set(PROVIDER_PARAMS[name].secret) == set(row.secret_params)


@pytest.mark.parametrize(
    ("body", "secret", "shown"),
    [
        (OPENAI, {"apikey": "sk-one"}, {"url": "https://one.example"}),
        (ANTHROPIC, {"apikey": "sk-one"}, {}),
        ({"provider": "anthropic", "setting": {"apiKey": "sk-one", "url": ""}}, {"apikey": "sk-one"}, {}),
        (VLLM, {}, {"url": "http://one.example"}),
        (VLLM_KEYED, {"apikey": "sk-one"}, {"url": "http://one.example"}),
        ({"provider": "vllm", "setting": {"url": "http://one.example/v1/", "apikey": ""}}, {}, {"url": "http://one.example/v1/"}),
    ],
)  # fmt: skip
async def test_each_provider_has_its_parameters(
    admin: httpx2.AsyncClient, database: Database, body: dict[str, Any], secret: dict[str, str], shown: dict[str, str]
) -> None:
    """Sealed or shown, under one name each, whatever the case they were said in."""
    created = await make_setting(admin, **body)

    assert created.get("setting", {}) == shown
    assert await stored(database, created["id"]) == (secret, shown)


MERGED: list[tuple[dict[str, Any], dict[str, str], dict[str, str], dict[str, str]]] = [
    (OPENAI, {"apikey": "sk-two"}, {"apikey": "sk-two"}, {"url": "https://one.example"}),
    (OPENAI, {"apiKey": "sk-two", "url": "https://two.example"}, {"apikey": "sk-two"}, {"url": "https://two.example"}),
    (OPENAI, {"apikey": "sk-two", "url": ""}, {"apikey": "sk-two"}, {}),
    (OPENAI, {"url": "https://one.example"}, {"apikey": "sk-one"}, {"url": "https://one.example"}),
    (OPENAI, {}, {"apikey": "sk-one"}, {"url": "https://one.example"}),
    (ANTHROPIC, {"apikey": "sk-two", "url": "https://two.example"}, {"apikey": "sk-two"}, {"url": "https://two.example"}),
    (VLLM, {"url": "http://two.example"}, {}, {"url": "http://two.example"}),
    (VLLM, {"apikey": "sk-two"}, {"apikey": "sk-two"}, {"url": "http://one.example"}),
    (VLLM_KEYED, {"apikey": ""}, {}, {"url": "http://one.example"}),
    (VLLM_KEYED, {"url": "http://two.example", "apikey": ""}, {}, {"url": "http://two.example"}),
    (VLLM_KEYED, {"url": "http://one.example"}, {"apikey": "sk-one"}, {"url": "http://one.example"}),
]  # fmt: skip


@pytest.mark.parametrize(("body", "setting", "secret", "shown"), MERGED)
async def test_parameters_are_merged(
    admin: httpx2.AsyncClient,
    database: Database,
    body: dict[str, Any],
    setting: dict[str, str],
    secret: dict[str, str],
    shown: dict[str, str],
) -> None:
    """What is not said stays, the secret too, and is not shown; the rest of the setting stays as it was."""
    created = await make_setting(admin, **body, allowedModels=["m"])
    after = await patched(admin, created["id"], setting=setting)

    assert await stored(database, created["id"]) == (secret, shown)
    assert after == {**{k: v for k, v in created.items() if k != "setting"}, "updatedAt": after["updatedAt"]} | (
        {"setting": shown} if shown else {}
    )


REFUSED: list[tuple[dict[str, Any], dict[str, Any], str]] = [
    (OPENAI, {"setting": {"url": "https://thief.example"}}, "provider openai is missing fields apikey"),
    (OPENAI, {"setting": {"url": ""}}, "provider openai is missing fields apikey"),
    (ANTHROPIC, {"setting": {"url": "https://thief.example"}}, "provider anthropic is missing fields apikey"),
    (VLLM_KEYED, {"setting": {"url": "http://thief.example"}}, "provider vllm is missing fields apikey"),
    (OPENAI, {"setting": {"apikey": ""}}, "provider openai is missing value for field apikey"),
    (VLLM, {"setting": {"url": ""}}, "provider vllm is missing value for field url"),
    (OPENAI, {"setting": {"apikey": "a b"}}, "setting apikey must be printable ASCII without spaces"),
    (OPENAI, {"setting": {"organization": "x"}}, "provider openai has no settings organization"),
    (OPENAI, {"setting": {"apikey": "a", "APIKEY": "b"}}, "setting names a field twice"),
    (OPENAI, {"setting": {"apikey": "a", "url": "ftp://x"}}, "setting url must be an http or https URL"),
    (OPENAI, {"provider": "anthropic"}, "provider cannot be changed"),
    (OPENAI, {"allowedModels": ["m", ""]}, "allowedModels holds an empty name"),
    (OPENAI, {"allowedModels": ["m" * 1000] * 500}, "allowedModels must take at most 400000 characters as JSON"),
    (OPENAI, {"unpriced": "maybe"}, "unpriced must be refuse or free"),
    (OPENAI, {"name": "n" * 256}, "name must have at most 255 characters"),
    (OPENAI, {"costMap": {"promptCostPerModel": {"m": -1}}}, "costMap.promptCostPerModel.m must lie between"),
    (OPENAI, {"costMap": {"embeddingsCostPerModel": {"m": 1e-13}}}, "embeddingsCostPerModel.m has more than 12"),
]  # fmt: skip


@pytest.mark.parametrize(("body", "change", "detail"), REFUSED)
async def test_invalid_update_is_400(
    admin: httpx2.AsyncClient, database: Database, body: dict[str, Any], change: dict[str, Any], detail: str
) -> None:
    """With the contract's title; nothing changes, and no secret is led elsewhere."""
    created = await make_setting(admin, **body)
    before = await stored(database, created["id"])
    answer = await patch(admin, created["id"], **{"name": "changed", **change})

    assert answer.status_code == answer.json()["status"] == 400
    assert (answer.json()["type"], answer.json()["title"]) == (
        "/errors/validation",
        "provider setting validation failed",
    )
    assert answer.json()["instance"] == f"{SETTINGS}/:id"
    assert detail in answer.json()["detail"]
    assert (await admin.get(SETTINGS, params={"ids": created["id"]})).json() == [created]
    assert await stored(database, created["id"]) == before


async def test_the_rest_is_replaced_and_cleared(admin: httpx2.AsyncClient, database: Database) -> None:
    """Name by "", models by [], prices by null; nothing said changes nothing."""
    prices = {"promptCostPerModel": {"m": 0.5}, "completionCostPerModel": {"m": 1}, "embeddingsCostPerModel": {"e": 2}}
    created = await make_setting(admin, allowedModels=["m"], costMap=prices, unpriced="free")

    async def say(**body: Any) -> dict[str, Any]:
        return {**await patched(admin, created["id"], **body), "updatedAt": created["updatedAt"]}

    assert await say() == created
    assert await say(name=None, allowedModels=None, unpriced=None, setting=None, provider=None) == created
    assert await say(provider="openai", id="x", createdAt=1) == created
    other = {"promptCostPerModel": {"n": 3}, "completionCostPerModel": {}, "embeddingsCostPerModel": {}}
    replaced = {"name": "new", "allowedModels": ["n", "o"], "costMap": other, "unpriced": "refuse"}
    assert await say(**replaced) == created | replaced
    assert await say(costMap={"embeddingsCostPerModel": {"e": 0.000000000001}})
    connection = await asyncpg.connect(**database.proxy)
    detail = await connection.fetchval("SELECT detail FROM proxy_settings WHERE id = $1", created["id"])
    assert setting_detail_decoder.decode(detail).cost_map == CostMap({}, {}, {"e": 1})
    cleared = {"name": "", "allowedModels": [], "costMap": None, "unpriced": ""}
    assert await say(**cleared) == created | cleared
    detail = await connection.fetchval("SELECT detail FROM proxy_settings WHERE id = $1", created["id"])
    await connection.close()
    bare = setting_detail_decoder.decode(detail)
    assert (bare.name, bare.allowed_models, bare.cost_map, bare.unpriced) == ("", (), None, None)


async def test_setting_that_was_read_can_be_sent_back(admin: httpx2.AsyncClient, database: Database) -> None:
    """Without its secret, which nobody was shown."""
    created = await make_setting(admin, **OPENAI, allowedModels=["m"])
    after = await patched(admin, created["id"], **{**created, "name": "new"})

    assert after == {**created, "name": "new", "updatedAt": after["updatedAt"]}
    assert (await stored(database, created["id"]))[0] == {"apikey": "sk-one"}


async def test_the_largest_setting_fits_what_a_proxy_reads_of_one(
    admin: httpx2.AsyncClient, database: Database
) -> None:
    """1 MiB of JSON (proxy/adapters/snapshot_rows.py); of a longer one the last that fitted would stay."""
    prices = {"promptCostPerModel": {f"{n}": 1000 for n in range(16_400)}}
    created = await make_setting(admin, allowedModels=["\x01" * 1000] * 66, costMap=prices)
    connection = await asyncpg.connect(**database.proxy)
    detail = await connection.fetchval("SELECT detail FROM proxy_settings WHERE id = $1", created["id"])
    await connection.close()

    assert 700_000 < len(detail) <= 1_048_576
    assert setting_detail_decoder.decode(detail).allowed_models


async def test_lost_master_key(admin: httpx2.AsyncClient, database: Database) -> None:
    """A secret that no longer opens is no reason not to change the rest, or to say it anew."""
    setting_id = (await make_setting(admin, **OPENAI))["id"]
    environ = database.settings_environ("admin") | {"WEIR_MASTER_KEY": "ff" * 32}

    # The app shares the process's pool, so it is not started: only its secrets differ.
    async with client_of(app_of(environ), **{"X-API-KEY": ADMIN_KEY}) as other:
        assert (await patch(other, setting_id, name="new", setting={"url": "https://one.example"})).status_code == 200
        refused = await patch(other, setting_id, setting={"url": "https://two.example"})
        renewed = await patch(other, setting_id, setting={"apikey": "sk-two", "url": "https://two.example"})

    assert (refused.status_code, refused.json()["type"]) == (409, "/errors/provider-settings-manager")
    assert "apikey" in refused.json()["detail"]
    assert renewed.json()["setting"] == {"url": "https://two.example"}


@pytest.mark.parametrize("unknown", [str(uuid4()), "nonsense", "%00"])
async def test_unknown_setting(admin: httpx2.AsyncClient, unknown: str) -> None:
    """Cannot be changed, and is deleted already."""
    answer = await patch(admin, unknown, name="x")

    assert (answer.status_code, answer.json()["type"]) == (404, "/errors/not-found")
    assert answer.json()["title"] == "provider setting is not found"
    gone = await admin.delete(f"{SETTINGS}/{unknown}")
    assert (gone.status_code, gone.content) == (200, b"")


async def test_setting_that_is_used_is_not_deleted(admin: httpx2.AsyncClient, owner: asyncpg.Connection) -> None:
    """409 while a key names it, first or later, revoked or not; then it is gone, and its tombstone there."""
    first, second = (await make_setting(admin))["id"], (await make_setting(admin))["id"]
    key_id = (await make_key(admin, settingIds=[first, second]))["keyId"]
    await admin.patch(f"{KEYS}/{key_id}", json={"revoked": True})
    refused = await admin.delete(f"{SETTINGS}/{second}")

    assert (refused.status_code, refused.json()["type"]) == (409, "/errors/provider-settings-manager")
    assert refused.json()["detail"] == "keys use this provider setting: 1"
    await admin.patch(f"{KEYS}/{key_id}", json={"settingId": first})
    assert (await admin.delete(f"{SETTINGS}/{second}")).status_code == 200
    assert (await admin.get(SETTINGS, params={"ids": second})).status_code == 404
    assert await owner.fetchval("SELECT kind FROM tombstones WHERE id = $1", second) == "provider_setting"
    await admin.delete(f"{KEYS}/{key_id}")
    assert (await admin.delete(f"{SETTINGS}/{first}")).status_code == 200
    assert [row["resource_id"] for row in await owner.fetch(
        "SELECT * FROM audit_log WHERE action = 'delete' AND resource = 'provider_setting' ORDER BY id"
    )] == [second, first]  # fmt: skip


async def test_settings_are_found_by_provider(admin: httpx2.AsyncClient) -> None:
    """Among all, and among those that are named; keys too."""
    openai, vllm = (await make_setting(admin, **OPENAI))["id"], (await make_setting(admin, **VLLM_KEYED))["id"]
    await make_key(admin, settingIds=[openai, vllm], tags=["both"])

    async def ids(**params: Any) -> list[str]:
        return [setting["id"] for setting in (await admin.get(SETTINGS, params=params)).json()]

    everything = (await admin.get(SETTINGS)).json()
    for provider in ("openai", "vllm", "anthropic"):
        assert await ids(provider=provider) == [one["id"] for one in everything if one["provider"] == provider] != []
    assert await ids(provider="nobody") == []
    assert await ids(ids=[vllm, openai], provider="vllm") == [vllm]
    assert await ids(ids=[vllm, openai], provider="") == [vllm, openai]
    for provider, found in (("openai", 1), ("vllm", 1), ("anthropic", 0)):
        keys = await admin.get(KEYS, params={"tag": "both", "provider": provider})
        assert len(keys.json()) == found
