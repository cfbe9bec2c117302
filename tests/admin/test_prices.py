"""Prices through the whole admin plane: what the catalogue says, the operator's own over it, and the page."""

import re
import time
from typing import Any
from urllib.parse import quote

import asyncpg
import httpx2
import msgspec
import pytest

from admin.edge import Edge
from proxy.core.overrides import Overrides, OverridesBuilder
from shared.catalog import load_catalog
from shared.price_overrides import PriceRecord
from shared.settings import SettingsError
from tests.admin.conftest import app_of, client_of
from tests.servers import Database

PRICES = "/api/prices"
ENTRY = {"prices": [{"classes": {"input": "1.5", "output": "6"}}]}


async def put(admin: httpx2.AsyncClient, status: int = 200, **over: Any) -> dict[str, Any]:
    answer = await admin.put(PRICES, json={"provider": "openai", "model": "gpt-4o", "price": ENTRY, **over})
    assert answer.status_code == status, answer.text
    return answer.json()


async def find(admin: httpx2.AsyncClient, **query: Any) -> list[dict[str, Any]]:
    answer = await admin.get(PRICES, params=query)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def remove(admin: httpx2.AsyncClient, provider: str, model: str) -> int:
    return (await admin.delete(f"{PRICES}/{provider}/{quote(model)}")).status_code


async def polled(owner: asyncpg.Connection) -> Overrides:
    """What a proxy would make of the rows."""
    builder = OverridesBuilder(Overrides(), is_full=True)
    for row in await owner.fetch("SELECT provider, model, effective_from_ms, entry FROM proxy_prices"):
        assert builder.put(PriceRecord(row[0], row[1], row[2], row[3].encode())) == ""
    return builder.build()


async def test_a_model_costs_what_the_catalogue_says(admin: httpx2.AsyncClient) -> None:
    [answer] = await find(admin, provider="openai", model="gpt-4o-mini")

    assert answer["source"] == "catalogue"
    assert answer["version"] == load_catalog().version
    assert answer["price"]["classes"] == {"input": "0.15", "cached_input": "0.075", "output": "0.6"}
    assert answer["maxOutput"] == 16384
    assert answer["override"] is None


async def test_an_override_goes_before_the_catalogue_and_the_proxy_reads_the_same(
    admin: httpx2.AsyncClient, owner: asyncpg.Connection
) -> None:
    made = await put(admin)
    [found] = await find(admin, provider="openai", model="gpt-4o")
    price = (await polled(owner)).catalog.price("openai", "gpt-4o", 0)
    assert price is not None

    assert made == found
    assert (made["source"], made["price"]["classes"]) == ("override", {"input": "1.5", "output": "6"})
    assert made["maxOutput"] == 16384  # what the override leaves out the catalogue knows
    assert made["override"]["price"] == ENTRY
    assert made["version"] == made["override"]["version"] == price.version
    assert re.fullmatch("override-[0-9a-f]{8}", made["version"])
    assert price.rates().input == 1_500_000_000


async def test_an_override_is_replaced_whole(admin: httpx2.AsyncClient) -> None:
    first = await put(admin, model="gpt-4.1", price={**ENTRY, "max_output": 5})
    again = await put(admin, model="gpt-4.1", price={**ENTRY, "max_output": 5})
    second = await put(admin, model="gpt-4.1", price={"prices": [{"classes": {"input": 2, "output": 8.25}}]})

    assert first["version"] == again["version"] != second["version"]
    assert second["price"]["classes"] == {"input": "2", "output": "8.25"}
    assert second["maxOutput"] == 32768
    assert second["override"]["createdAt"] == first["override"]["createdAt"]


async def test_an_override_taken_away_leaves_the_catalogue(
    admin: httpx2.AsyncClient, owner: asyncpg.Connection
) -> None:
    await put(admin, provider="deepinfra", model="meta-llama/Llama-3.3-70B-Instruct")

    assert await remove(admin, "deepinfra", "meta-llama/Llama-3.3-70B-Instruct") == 200
    assert await remove(admin, "deepinfra", "meta-llama/Llama-3.3-70B-Instruct") == 404
    assert await remove(admin, "nobody", "x") == 404
    assert await remove(admin, "deepinfra", "x\x00y") == 404
    assert await remove(admin, "%00", "x") == 404
    [answer] = await find(admin, provider="deepinfra", model="meta-llama/Llama-3.3-70B-Instruct")
    assert answer["source"] == "catalogue"
    buried = await owner.fetchval("SELECT count(*) FROM tombstones WHERE kind = 'price' AND id LIKE 'deepinfra/%'")
    assert buried == 1


@pytest.mark.parametrize(
    "model", ["a/b/c", "with space", "ft:gpt-4o:acme::x", "per%cent", "ümlaut", "q?x=1", "h#a", "a.b"]
)
async def test_any_name_that_a_request_can_have_can_be_priced_and_taken_away(
    admin: httpx2.AsyncClient, model: str
) -> None:
    await put(admin, provider="vllm", model=model)

    assert [one["source"] for one in await find(admin, model=model)] == ["override"]
    assert await remove(admin, "vllm", model) == 200
    assert await find(admin, model=model) == []


async def test_before_its_moment_an_override_is_shown_and_does_not_count(admin: httpx2.AsyncClient) -> None:
    later = int(time.time()) + 86_400
    known = await put(admin, model="gpt-4o-2024-08-06", effectiveFrom=later)
    unknown = await put(admin, provider="vllm", model="llama", effectiveFrom=later)
    past = await put(admin, model="gpt-4o-2024-11-20", effectiveFrom=1)

    assert (known["source"], known["price"]["classes"]["input"]) == ("catalogue", "2.5")
    assert known["override"]["effectiveFrom"] == later
    assert (unknown["source"], unknown["version"], unknown["price"]) == ("none", "", None)
    assert past["source"] == "override"


async def test_filters_narrow_and_repeat(admin: httpx2.AsyncClient) -> None:
    both = await find(admin, provider=["anthropic", "groq"])
    await put(admin, provider="vllm", model="only-here")

    assert {one["provider"] for one in both} == {"anthropic", "groq"}
    assert [one["provider"] for one in await find(admin, model="gpt-4o-mini")] == ["azure", "openai"]
    assert {one["source"] for one in await find(admin, source="override")} == {"override"}
    assert ("vllm", "only-here") in {(one["provider"], one["model"]) for one in await find(admin, source="override")}
    assert await find(admin, provider="nobody") == []
    assert len(await find(admin)) > 1300


async def test_dated_rows_are_kept_and_the_one_of_today_is_shown(admin: httpx2.AsyncClient) -> None:
    rows = [
        {"classes": {"input": "1", "output": "1"}},
        {"from": "2026-01-01", "classes": {"input": "2", "output": "2"}},
    ]
    answer = await put(admin, provider="vllm", model="dated", price={"prices": rows})

    assert answer["price"]["classes"]["input"] == "2"
    assert len(answer["override"]["price"]["prices"]) == 2


@pytest.mark.parametrize(
    ("over", "detail"),
    [
        ({"provider": ""}, "provider field cannot be empty"),
        ({"provider": "opnai"}, "provider opnai is not supported"),
        ({"model": ""}, "model field cannot be empty"),
        ({"model": "/x"}, "model must be printable"),
        ({"model": "x "}, "model must be printable"),
        ({"model": "x\ny"}, "model must be printable"),
        ({"model": "x" * 501}, "model must be printable"),
        # DELETE of these would take away the override of `a/b`
        ({"model": "a//b"}, "model must have no empty or dot segment"),
        ({"model": "a/./b"}, "model must have no empty or dot segment"),
        ({"model": ".."}, "model must have no empty or dot segment"),
        ({"effectiveFrom": -1}, "effectiveFrom must be Unix seconds"),
        ({"effectiveFrom": 253_402_300_800}, "effectiveFrom must be Unix seconds"),
        ({"price": {}}, "price: Object missing required field `prices`"),
        ({"price": {"prices": []}}, "price: prices: must hold at least one row"),
        ({"price": {"prices": [{"classes": {"input": "1"}}]}}, "price: prices[0].classes: needs both"),
        ({"price": {"prices": [{"classes": {"input": "1", "output": "-2"}}]}}, "price: prices[0].classes.output: -2"),
        ({"price": {"prices": [{"classes": {"input": "1", "output": 1e-10}}]}}, "prices[0].classes.output"),
        ({"price": {"prices": [{"classes": {"input": "1", "output": "NaN"}}]}}, "prices[0].classes.output"),
        ({"price": {"prices": [{"classes": {"input": "1", "outptu": "2"}}]}}, "outptu"),
        (
            {"price": {"prices": [{"classes": {"input": 1, "output": 2, "image_input": 3}}]}},
            "price: prices[0].classes.image_input: is not counted yet",
        ),
        (
            {"price": {"prices": [{"sizes": {"output_image": {"hd": 1}}}]}},
            "price: prices[0].sizes.output_image: is not counted yet",
        ),
        ({"price": {**ENTRY, "max_output": 0}}, "price: max_output: must be at least 1"),
        ({"price": {**ENTRY, "maxOutput": 9}}, "unknown field `maxOutput`"),
        ({"price": {**ENTRY, "aliases": ["x"]}}, "price: aliases: an override prices one name"),
        ({"price": {"prices": [{**ENTRY["prices"][0], "tiers": {str(n): {} for n in range(99)}}]}}, "prices[0].tiers"),
        ({"price": {"prices": [{"classes": {"input": "1" * 40_000, "output": "1"}}]}}, "price must have at most"),
        ({"price": {"prices": [{"classes": {"input": "1e99999999", "output": "1"}}]}}, "price: "),
    ],
)
async def test_what_the_catalogue_would_refuse_is_refused_naming_the_field(
    admin: httpx2.AsyncClient, owner: asyncpg.Connection, over: dict[str, Any], detail: str
) -> None:
    before = await owner.fetchval("SELECT count(*) FROM prices")
    answer = await put(admin, 400, **over)

    assert answer["title"] == "price validation failed"
    assert detail in answer["detail"]
    assert await owner.fetchval("SELECT count(*) FROM prices") == before


@pytest.mark.parametrize(
    "body", [b"", b"[]", b'{"price": []}', b'{"effectiveFrom": "soon"}', b'{"price": ' + b"[" * 99]
)
async def test_a_body_that_is_no_object_of_these_types_is_refused(admin: httpx2.AsyncClient, body: bytes) -> None:
    answer = await admin.put(PRICES, content=body)

    assert answer.status_code == 400
    assert answer.json()["type"] == "/errors/json-unmarshal"


async def test_every_change_is_in_the_audit_log(admin: httpx2.AsyncClient, owner: asyncpg.Connection) -> None:
    await put(admin, provider="vllm", model="told")
    await put(admin, provider="vllm", model="told", effectiveFrom=7)
    await remove(admin, "vllm", "told")
    rows = await owner.fetch("SELECT action, change FROM audit_log WHERE resource_id = 'vllm/told' ORDER BY id")

    assert [row["action"] for row in rows] == ["create", "update", "delete"]
    assert msgspec.json.decode(rows[1]["change"])["effectiveFrom"] == 7
    assert msgspec.json.decode(rows[2]["change"])["price"] == ENTRY


async def test_prices_need_the_key_and_the_page_does_not(app: Edge) -> None:
    async with client_of(app) as stranger:
        assert (await stranger.get(PRICES)).status_code == 401
        assert (await stranger.put(PRICES, json={})).status_code == 401
        assert (await stranger.delete(f"{PRICES}/openai/gpt-4o")).status_code == 401
        page = await stranger.get("/docs/pricing")
        assert (await stranger.post("/docs/pricing")).status_code == 401

    assert page.status_code == 200
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert page.headers["content-security-policy"].startswith("default-src 'none'")


async def test_the_page_lists_every_model_and_nothing_of_the_operators(app: Edge, admin: httpx2.AsyncClient) -> None:
    await put(admin, provider="vllm", model="secret-of-ours")
    page = (await admin.get("/docs/pricing")).text
    catalog = load_catalog()

    assert all(f"<td>{model}</td>" in page for model in catalog.models())
    assert catalog.version in page
    assert "secret-of-ours" not in page
    assert "<script" not in page
    assert not re.findall(r"(?:src|href)=[\"'](?!#)|url\(|https?://", page)
    row = re.search(r"<tr><td>claude-opus-5-5</td>.*?</tr>", page)
    assert row is not None
    assert re.findall("<td>([^<]*)</td>", row[0])[1:8] == ["standard", "4", "0.2", "5", "8", "", "20"]


async def test_what_is_held_and_not_counted_is_shown(admin: httpx2.AsyncClient) -> None:
    [tokens] = await find(admin, provider="openai", model="gpt-image-1")
    [sized] = await find(admin, provider="openai", model="dall-e-3")
    page = (await admin.get("/docs/pricing")).text
    rows = {model: page.split(f"<td>{model}</td>", 1)[1].split("</tr>", 1)[0] for model in ("gpt-image-1", "dall-e-2")}

    assert tokens["price"]["classes"]["image_output"] == "40"
    assert sized["price"]["sizes"]["output_image"]["hd/1024x1792"] == "0.12"
    assert "image output 40, not counted yet</td>" in rows["gpt-image-1"]
    assert "output image 1024x1024 0.02, not counted yet</td>" in rows["dall-e-2"]


async def test_an_operators_file_is_under_the_overrides(database: Database, tmp_path: Any) -> None:
    path = tmp_path / "ours.json"
    path.write_bytes(msgspec.json.encode({"version": "ours-1", "providers": {"vllm": {"house": ENTRY}}}))
    app = app_of(database.settings_environ("admin"), WEIR_MODEL_CATALOG=str(path))

    assert app is not None
    path.write_bytes(b"{}")
    with pytest.raises(SettingsError, match=r"WEIR_MODEL_CATALOG: .*ours\.json"):
        app_of(database.settings_environ("admin"), WEIR_MODEL_CATALOG=str(path))
