"""Rate limits, revocation and access as a caller sees them."""

import asyncio
import time

import aiohttp
import pytest

from tests.e2e.stack import CHAT, MODELS, Stack, chat_body
from tests.fakes.upstream import FakeUpstream

WORKERS = 2


async def wait_for_early_minute() -> None:
    """Wait until a minute has enough left for a few calls."""
    while time.time() % 60 > 50:
        await asyncio.sleep(0.5)


@pytest.mark.timeout(200)
async def test_the_third_call_of_a_minute_waits_for_the_next(stack: Stack, upstream: FakeUpstream) -> None:
    """Rate 2/m: the third is 429 with the seconds to the minute's end; then it flows again."""
    key = await stack.create_key(await stack.create_setting(), rateLimitOverTime=2, rateLimitUnit="m")
    await wait_for_early_minute()
    first = await stack.chat(key["key"])
    second = await stack.chat(key["key"])
    third = await stack.chat(key["key"])
    left = 60 - time.time() % 60
    assert [first[0], second[0], third[0]] == [200, 200, 429]

    assert abs(int(third[1]["retry-after"]) - left) <= 2
    assert (first[1]["x-ratelimit-limit"], first[1]["x-ratelimit-remaining"]) == ("2", "1")
    assert (second[1]["x-ratelimit-remaining"], second[1]["x-ratelimit-remaining-requests"]) == ("0", "0")
    assert abs(int(first[1]["x-ratelimit-reset"]) - (time.time() + left)) <= 2
    assert first[1]["x-ratelimit-reset-requests"].endswith("s")

    await asyncio.sleep(left + 0.3)
    assert (await stack.chat(key["key"]))[0] == 200
    assert len(upstream.calls) == 3


async def test_a_new_unit_lifts_the_block(stack: Stack) -> None:
    """Giving the unit in a PATCH starts a new generation of the limit (contract §2.2)."""
    key = await stack.create_key(await stack.create_setting(), rateLimitOverTime=1, rateLimitUnit="d")
    assert (await stack.chat(key["key"]))[0] == 200
    assert (await stack.chat(key["key"]))[0] == 429

    await stack.admin(
        "PATCH", f"/api/key-management/keys/{key['keyId']}", {"rateLimitOverTime": 1, "rateLimitUnit": "d"}
    )
    deadline = time.monotonic() + 2
    while (status := (await stack.chat(key["key"]))[0]) == 429 and time.monotonic() < deadline:
        await asyncio.sleep(0.02)
    assert status == 200


async def test_a_revoked_key_is_refused_everywhere_within_two_seconds(stack: Stack) -> None:
    """Over 100 fresh connections, with every worker seen."""
    key = await stack.create_key(await stack.create_setting())
    assert (await stack.chat(key["key"]))[0] == 200
    await stack.admin("PATCH", f"/api/key-management/keys/{key['keyId']}", {"revoked": True})
    await asyncio.sleep(2)

    async def fresh() -> int:
        async with (
            aiohttp.ClientSession(connector=aiohttp.TCPConnector(force_close=True)) as http,
            http.post(stack.proxy_url + CHAT, json=chat_body(), headers={"x-api-key": key["key"]}) as answer,
        ):
            return answer.status

    statuses = [await fresh() for _ in range(120)]
    assert set(statuses) == {401}

    async def workers() -> set[str]:
        rows = await stack.events(key["keyId"], 10)
        return {row["worker"] for row in rows if row["error_kind"] == "key_revoked"}

    # One after the other, the kernel may give them all to the worker that was idle last.
    deadline = asyncio.get_running_loop().time() + 20
    while len(await workers()) < WORKERS:
        assert asyncio.get_running_loop().time() < deadline
        assert set(await asyncio.gather(*(fresh() for _ in range(60)))) == {401}


async def test_a_revocation_overtaken_by_a_later_transaction_is_not_missed(stack: Stack) -> None:
    """The revoking transaction begins first and commits last, after the poll has seen the later one."""
    import asyncpg

    setting = await stack.create_setting()
    slow_key = await stack.create_key(setting)
    other_key = await stack.create_key(setting)
    assert (await stack.chat(slow_key["key"]))[0] == 200
    slow = await asyncpg.connect(**stack.database.owner)
    fast = await asyncpg.connect(**stack.database.owner)
    try:
        revoking = slow.transaction()
        await revoking.start()
        await slow.execute("UPDATE keys SET is_revoked = true WHERE id = $1", slow_key["keyId"])
        await fast.execute("UPDATE keys SET name = 'later' WHERE id = $1", other_key["keyId"])
        await asyncio.sleep(2.5)
        assert (await stack.chat(slow_key["key"]))[0] == 200
        await revoking.commit()
    finally:
        await slow.close()
        await fast.close()
    await asyncio.sleep(2)
    assert {(await stack.chat(slow_key["key"]))[0] for _ in range(20)} == {401}


async def test_paths_and_models_are_kept(stack: Stack) -> None:
    """allowedPaths by template and method, allowedModels of the settings."""
    setting = await stack.create_setting(allowedModels=["gpt-4o"])
    key = await stack.create_key(setting, allowedPaths=[{"path": CHAT, "method": "POST"}])
    headers = {"authorization": f"Bearer {key['key']}"}
    assert (await stack.chat(key["key"]))[0] == 200
    assert (await stack.chat(key["key"], chat_body(model="gpt-4o-mini")))[0] == 403
    async with stack.http.get(stack.proxy_url + MODELS, headers=headers) as answer:
        assert answer.status == 403
        assert (await answer.json())["error"]["message"] == "[Weir] path is not allowed"


async def test_a_ttl_ends_on_time(stack: Stack) -> None:
    """The first call after the ttl is refused; no row is written for it."""
    key = await stack.create_key(await stack.create_setting(), ttl="2s")
    assert (await stack.chat(key["key"]))[0] == 200
    await asyncio.sleep(2.1)
    status, _, body = await stack.chat(key["key"])
    assert status == 401
    assert b"has expired" in body
    [row] = await stack.rows("SELECT is_revoked FROM keys WHERE id = $1", key["keyId"])
    assert row["is_revoked"] is False
