"""Provider settings: what is accepted, what is answered, and that secrets stay inside."""

from decimal import Decimal
from typing import Any
from uuid import uuid4

import asyncpg
import httpx2
import msgspec
import pytest

from shared.records import CostMap, setting_detail_decoder
from shared.secrets import Secrets, parse_master_key
from tests.admin.conftest import SETTINGS, make_setting
from tests.servers import MASTER_KEY, Database

ANSWER_MEMBERS = {"createdAt", "updatedAt", "provider", "id", "name", "allowedModels", "costMap", "unpriced"}


async def record_of(database: Database, setting_id: str) -> Any:
    """The setting as the proxy reads it, with the proxy's rights."""
    connection = await asyncpg.connect(**database.proxy)
    row = await connection.fetchrow("SELECT * FROM proxy_settings WHERE id = $1", setting_id)
    await connection.close()
    return row


@pytest.mark.parametrize("method", ["PUT", "POST"])
async def test_setting_is_created(admin: httpx2.AsyncClient, method: str) -> None:
    """Both methods of the contract; every member is there, `setting` only when something in it may be shown."""
    body = {"provider": "openai", "setting": {"apikey": "sk-secret"}, "name": "test", "allowedModels": ["gpt-4o-mini"]}
    answer = await admin.request(method, SETTINGS, json=body)

    created = answer.json()
    assert answer.status_code == 200
    assert set(created) == ANSWER_MEMBERS
    assert (created["provider"], created["name"], created["allowedModels"]) == ("openai", "test", ["gpt-4o-mini"])
    assert (created["costMap"], created["unpriced"]) == (None, "")
    assert created["createdAt"] == created["updatedAt"] > 1_700_000_000
    assert "sk-secret" not in answer.text


async def test_proxy_reads_what_was_written(admin: httpx2.AsyncClient, database: Database) -> None:
    """The sealed secret opens for this row and no other; the rest decodes into the shared record."""
    created = await make_setting(
        admin,
        setting={"APIKEY": "sk-secret", "URL": "http://127.0.0.1:9/prefix/v1/"},
        costMap={"promptCostPerModel": {"m": 0.0015}, "completionCostPerModel": {"m": 2e-12}},
        unpriced="free",
        allowedModels=["m"],
    )
    row = await record_of(database, created["id"])
    secrets = Secrets(parse_master_key(MASTER_KEY))
    detail = setting_detail_decoder.decode(row["detail"])

    assert msgspec.json.decode(secrets.open(row["sealed"], created["id"])) == {"apikey": "sk-secret"}
    assert b"sk-secret" not in row["sealed"]
    assert detail.params == {"url": "http://127.0.0.1:9/prefix/v1/"}
    assert detail.cost_map == CostMap({"m": 1_500_000_000}, {"m": 2}, {})
    assert (detail.unpriced, detail.allowed_models, detail.name) == ("free", ("m",), "test")


async def test_prices_are_answered_exactly(admin: httpx2.AsyncClient) -> None:
    """As JSON numbers, in the contract's unit, digit for digit."""
    prices = {"a": "0.03", "b": "0.0000000001", "c": "0", "d": "1000", "e": "0.123456789012", "F": "1E-12"}
    body = ",".join(f'"{model}": {usd}' for model, usd in prices.items())
    text = f'{{"provider":"openai","setting":{{"apikey":"k"}},"costMap":{{"embeddingsCostPerModel":{{{body}}}}}}}'
    answer = await admin.put(SETTINGS, content=text)

    cost_map = msgspec.json.Decoder(float_hook=Decimal).decode(answer.content)["costMap"]
    assert cost_map["promptCostPerModel"] == cost_map["completionCostPerModel"] == {}
    shown = cost_map["embeddingsCostPerModel"]
    assert {model: Decimal(usd) for model, usd in prices.items()} == shown
    assert shown["e"] == Decimal("0.123456789012")


async def test_settings_are_found(admin: httpx2.AsyncClient) -> None:
    """By ids in the order asked for, or all; with `url`, without any secret."""
    first = await make_setting(admin, name="first", setting={"apikey": "sk-hidden-one", "url": "https://a.example/v1"})
    second = await make_setting(admin, name="second", setting={"apikey": "sk-hidden-two"})

    both = await admin.get(SETTINGS, params={"ids": [second["id"], first["id"], second["id"].upper()]})
    everything = await admin.get(SETTINGS)

    assert both.json() == [second, first, second]
    assert [setting for setting in everything.json() if setting["id"] in (first["id"], second["id"])] == [first, second]
    assert first["setting"] == {"url": "https://a.example/v1"}
    assert "setting" not in second
    assert "sk-hidden" not in both.text + everything.text


@pytest.mark.parametrize("unknown", [str(uuid4()), "nonsense", "x\x00y", "'; DROP TABLE keys; --"])
async def test_unknown_id_is_404(admin: httpx2.AsyncClient, unknown: str) -> None:
    """Also among known ones."""
    known = await make_setting(admin)
    answer = await admin.get(SETTINGS, params={"ids": [known["id"], unknown]})

    assert answer.status_code == (400 if "\x00" in unknown else 404)


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"provider": ""}, "provider field cannot be empty"),
    ({"provider": "azure"}, "provider azure is not supported"),
    ({"provider": "OpenAI"}, "provider OpenAI is not supported"),
    ({"setting": {}}, "provider openai is missing fields apikey"),
    ({"setting": {"api": "x"}}, "provider openai has no settings api"),
    ({"setting": {"apikey": ""}}, "provider openai is missing value for field apikey"),
    (
        {"setting": {"apikey": "x", "organization": "y", "proxy": "z"}},
        "provider openai has no settings organization,proxy",
    ),
    ({"setting": {"apikey": "a\r\nx-evil: 1"}}, "setting apikey must be printable ASCII"),
    ({"setting": {"apikey": "schlüssel"}}, "setting apikey must be printable ASCII"),
    ({"setting": {"apikey": "x" * 8193}}, "at most 8192 characters"),
    ({"setting": {"apikey": "x", "apiKey": "y"}}, "setting names a field twice"),
    ({"setting": {"apikey": "x", "url": "http://" + "x" * 8192}}, "setting url must have at most 8192 characters"),
    ({"provider": "anthropic", "setting": {}}, "provider anthropic is missing fields apikey"),
    ({"provider": "vllm", "setting": {"apikey": "x"}}, "provider vllm is missing fields url"),
    ({"provider": "vllm", "setting": {"url": ""}}, "provider vllm is missing value for field url"),
    ({"provider": "vllm", "setting": {"url": "http://u:p@host"}}, "setting url must have no credentials"),
    ({"name": "n" * 256}, "name must have at most 255 characters"),
    ({"allowedModels": [f"{n:0>100}" for n in range(4_000)]}, "allowedModels must take at most 400000 characters"),
    ({"costMap": {"promptCostPerModel": {f"{n:0>30}": 1 for n in range(9_000)}}}, "costMap must take at most 400000"),
    ({"costMap": {"promptCostPerModel": {"m" * 256: 1}}}, "names a model with more than 255 characters"),
    ({"allowedModels": [""]}, "allowedModels holds an empty name"),
    ({"unpriced": "maybe"}, "unpriced must be refuse or free"),
    ({"costMap": {"promptCostPerModel": {"m": -1}}}, "costMap.promptCostPerModel.m must lie between"),
    ({"costMap": {"promptCostPerModel": {"m": 1000.01}}}, "costMap.promptCostPerModel.m must lie between"),
    (
        {"costMap": {"completionCostPerModel": {"m": 1e-13}}},
        "costMap.completionCostPerModel.m has more than 12 decimals",
    ),
    ({"costMap": {"embeddingsCostPerModel": {"": 1}}}, "costMap.embeddingsCostPerModel names no model"),
]


@pytest.mark.parametrize(("over", "detail"), REFUSED, ids=[detail for _, detail in REFUSED])
async def test_setting_is_refused(admin: httpx2.AsyncClient, over: dict[str, Any], detail: str) -> None:
    """400 with the contract's title; nothing is stored."""
    before = (await admin.get(SETTINGS)).json()
    answer = await admin.put(SETTINGS, json={"provider": "openai", "setting": {"apikey": "k"}, **over})

    assert answer.status_code == answer.json()["status"] == 400
    assert (answer.json()["type"], answer.json()["title"]) == (
        "/errors/validation",
        "provider setting validation failed",
    )
    assert answer.json()["instance"] == SETTINGS
    assert detail in answer.json()["detail"]
    assert (await admin.get(SETTINGS)).json() == before


GOOD_URLS = [
    "https://api.example.com",
    "https://api.example.com/",
    "http://127.0.0.1:8080/v1",
    "http://[::1]:8080/a/b/v1/",
    "https://api.example.com/prefix%20x/v1",
]
BAD_URLS = [
    "ftp://a.example",
    "file:///etc/passwd",
    "//a.example",
    "a.example",
    "https://",
    "https://user@a.example",
    "https://user:pass@a.example",
    "https://a.example/?x=1",
    "https://a.example/?",
    "https://a.example/#x",
    "https://a.example/a/../b",
    "https://a.example:0",
    "https://a.example:99999",
    "https://a.example:x",
    "https://a.example/a b",
    "https://a.example\\@b.example",
    "https://ä.example",
    "https://[::1",
    "https://a.example/\r\nx: y",
]


@pytest.mark.parametrize("url", GOOD_URLS)
async def test_url_is_kept_as_given(admin: httpx2.AsyncClient, url: str) -> None:
    """With a path prefix, with and without `/v1`."""
    assert (await make_setting(admin, setting={"apikey": "k", "url": url}))["setting"] == {"url": url}


@pytest.mark.parametrize("url", BAD_URLS)
async def test_url_that_is_not_plain_is_refused(admin: httpx2.AsyncClient, url: str) -> None:
    """No credentials, no query, nothing that two readers could read differently."""
    answer = await admin.put(SETTINGS, json={"provider": "openai", "setting": {"apikey": "k", "url": url}})

    assert answer.status_code == 400
    assert "url" in answer.json()["detail"]


async def test_null_and_empty_are_absent(admin: httpx2.AsyncClient) -> None:
    """A client that writes every member of its struct says nothing with the empty ones."""
    over = {"name": None, "allowedModels": None, "costMap": None, "unpriced": None, "id": "x", "createdAt": 1}
    created = await make_setting(admin, **over, setting={"apiKey": "k", "url": ""})

    assert (created["name"], created["allowedModels"], created["costMap"]) == ("", [], None)
    assert created["id"] != "x"
    assert created["createdAt"] > 1
