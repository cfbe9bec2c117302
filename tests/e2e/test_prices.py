"""An operator's price from the admin API to the events, with both planes as processes."""

import asyncio
from typing import Any

import pytest

from shared.catalog import load_catalog
from tests.e2e.stack import Stack, chat_body
from tests.fakes.upstream import FakeUpstream, Script

PRICES = "/api/prices"


@pytest.fixture(autouse=True)
def usage(upstream: FakeUpstream) -> None:
    upstream.default = Script(prompt_tokens=1_000, completion_tokens=100)


async def put(stack: Stack, model: str, classes: dict[str, str]) -> dict[str, Any]:
    body = {"provider": "openai", "model": model, "price": {"prices": [{"classes": classes}]}}
    return await stack.admin("PUT", PRICES, body)


async def call(stack: Stack, key: dict[str, Any], model: str) -> tuple[str, int | None]:
    """Price version and cost of one call's event."""
    before = len(await stack.rows("SELECT id FROM events WHERE key_id = $1", key["keyId"]))
    status, _, text = await stack.chat(key["key"], chat_body(model=model))
    assert status == 200, text
    event = (await stack.events(key["keyId"], before + 1))[-1]
    return event["price_version"], event["charged_cost_nano"]


async def call_until(stack: Stack, key: dict[str, Any], model: str, version: str) -> int | None:
    """Call until the proxy has the price of that version; what the call cost."""
    deadline = asyncio.get_running_loop().time() + 15
    while True:
        told, nano = await call(stack, key, model)
        if told == version:
            return nano
        assert asyncio.get_running_loop().time() < deadline, f"still {told}, not {version}"


async def test_an_override_is_charged_after_the_next_poll_until_it_is_taken_away(stack: Stack) -> None:
    key = await stack.create_key(await stack.create_setting())
    listed = load_catalog().version
    # 1000 x $2.50 + 100 x $10 per million
    assert await call(stack, key, "gpt-4o") == (listed, 3_500_000)

    made = await put(stack, "gpt-4o", {"input": "1", "output": "3"})
    assert made["source"] == "override"
    assert await call_until(stack, key, "gpt-4o", made["version"]) == 1_300_000

    again = await put(stack, "gpt-4o", {"input": "2", "output": "3"})
    assert await call_until(stack, key, "gpt-4o", again["version"]) == 2_300_000

    await stack.admin("DELETE", f"{PRICES}/openai/gpt-4o")
    assert await call_until(stack, key, "gpt-4o", listed) == 3_500_000


async def test_a_model_that_nobody_prices_is_refused_to_a_budgeted_key_until_it_has_a_price(stack: Stack) -> None:
    key = await stack.create_key(await stack.create_setting(), costLimitInUsd=1)
    status, _, text = await stack.chat(key["key"], chat_body(model="ours/new"))
    assert status == 400
    assert b"PUT /api/prices" in text

    made = await put(stack, "ours/new", {"input": "1", "output": "3"})
    deadline = asyncio.get_running_loop().time() + 15
    while (await stack.chat(key["key"], chat_body(model="ours/new")))[0] != 200:
        assert asyncio.get_running_loop().time() < deadline
    assert await call(stack, key, "ours/new") == (made["version"], 1_300_000)


async def test_a_settings_cost_map_goes_before_an_override(stack: Stack) -> None:
    cost_map = {"promptCostPerModel": {"gpt-4.1": 0.001}, "completionCostPerModel": {"gpt-4.1": 0.01}}
    key = await stack.create_key(await stack.create_setting(costMap=cost_map))
    plain = await stack.create_key(await stack.create_setting())
    made = await put(stack, "gpt-4.1", {"input": "9", "output": "9"})
    await call_until(stack, plain, "gpt-4.1", made["version"])

    # per thousand: 1000 x $0.001 + 100 x $0.01
    assert await call(stack, key, "gpt-4.1") == ("costmap", 2_000_000)
