"""Stopping, and doing without: SIGTERM with open streams, a Redis that goes away, freezes, comes back empty."""

import asyncio
import os
import signal
import time
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import redis.asyncio

from tests.e2e.budgets import COST_MAP, PROMPT_TOKENS, body_held_at
from tests.e2e.stack import CHAT, Stack, chat_body
from tests.fakes.upstream import FakeUpstream, Script


def is_running(pid: int) -> bool:
    """A process that is neither gone nor a zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(") ", 1)[1][0] != "Z"
    except OSError:
        return False


async def ready_status(stack: Stack) -> int:
    try:
        async with stack.http.get(f"{stack.proxy_url}/health/ready") as answer:
            return answer.status
    except aiohttp.ClientError:
        return 0


@pytest.fixture
async def own(database: Any, valkey: Any, upstream: FakeUpstream, tmp_path: Any) -> Any:
    """A stack and a Valkey that this test may end."""
    server = valkey.fresh()
    environ = {"DRAIN_NOTICE": "1s", "DRAIN_TIMEOUT": "20s"}
    try:
        async with Stack(
            database, {"REDIS_HOSTS": str(server.socket_path)}, upstream.url, tmp_path, workers=2, environ=environ
        ) as stack:
            yield stack, server
    finally:
        server.stop()


async def test_sigterm_lets_open_streams_end(own: tuple[Stack, Any], upstream: FakeUpstream) -> None:
    """Not ready at once, still accepting for DRAIN_NOTICE, then draining; exit 0 with every event shipped."""
    stack, _ = own
    upstream.default = Script(events=30, interval=0.1)
    key = await stack.create_key(await stack.create_setting())
    assert (await stack.chat(key["key"]))[0] == 200

    async def stream() -> bool:
        headers = {"x-api-key": key["key"]}
        async with stack.http.post(stack.proxy_url + CHAT, json=chat_body(stream=True), headers=headers) as answer:
            return b"[DONE]" in await answer.read()

    streams = [asyncio.ensure_future(stream()) for _ in range(20)]  # noqa: TID251
    await upstream.until(lambda u: len(u.calls) == 21, 20)
    process = stack.processes["proxy"]
    process.send_signal(signal.SIGTERM)
    await asyncio.sleep(0.15)
    assert await ready_status(stack) == 503

    upstream.default = Script()
    assert (await stack.chat(key["key"]))[0] == 200
    assert all(await asyncio.gather(*streams))
    assert await asyncio.wait_for(process.wait(), 15) == 0
    rows = await stack.rows("SELECT outcome FROM events WHERE key_id = $1", key["keyId"])
    assert [row["outcome"] for row in rows] == ["completed"] * 22
    assert list((stack.folder / "data" / "journal").rglob("*.seg")) == []


async def test_without_redis_only_budgets_stand_still(own: tuple[Stack, Any], upstream: FakeUpstream) -> None:
    """Unlimited and rate-limited keys flow, budgeted ones get 503; when Redis is back, empty, nothing is forgotten."""
    stack, server = own
    setting = await stack.create_setting(costMap=COST_MAP)
    budgeted = await stack.create_key(setting, costLimitInUsd=0.004)
    rated = await stack.create_key(setting, rateLimitOverTime=1000, rateLimitUnit="h")
    free = await stack.create_key(setting)
    upstream.default = Script(prompt_tokens=PROMPT_TOKENS, completion_tokens=1)
    body = body_held_at(PROMPT_TOKENS)  # $0.002, and held at exactly that
    assert [(await stack.chat(key["key"], body))[0] for key in (budgeted, rated, free)] == [200, 200, 200]
    await stack.events(budgeted["keyId"], 1)

    os.kill(server.child.pid, signal.SIGSTOP)
    started = time.monotonic()
    assert (await stack.chat(budgeted["key"], body))[0] == 503
    assert time.monotonic() - started < 1
    for key in (rated, free):
        assert [(await stack.chat(key["key"]))[0] for _ in range(5)] == [200] * 5
    status, headers, told = await stack.chat(budgeted["key"], body)
    assert (status, headers["retry-after"]) == (503, "1")
    assert b"[Weir]" in told
    os.kill(server.child.pid, signal.SIGCONT)
    server.kill()

    server.start()
    client = redis.asyncio.Redis(unix_socket_path=str(server.socket_path))
    await client.flushall()
    await client.aclose()

    deadline = time.monotonic() + 15
    while (status := (await stack.chat(budgeted["key"], body))[0]) == 503 and time.monotonic() < deadline:
        await asyncio.sleep(0.1)
    assert status == 200
    assert (await stack.chat(budgeted["key"], body))[0] == 401
    rows = await stack.events(budgeted["keyId"], 2, refused=False)
    assert sum(row["charged_cost_nano"] for row in rows) == 4_000_000
    assert len(await stack.events(free["keyId"], 6)) == 6


async def test_a_proxy_restart_keeps_what_was_spent(own: tuple[Stack, Any], upstream: FakeUpstream) -> None:
    """kill -9 of the whole proxy, and a new one: the budget goes on where it was."""
    stack, _ = own
    upstream.default = Script(prompt_tokens=PROMPT_TOKENS, completion_tokens=1)
    body = body_held_at(PROMPT_TOKENS)
    key = await stack.create_key(await stack.create_setting(costMap=COST_MAP), costLimitInUsd=0.006)
    assert (await stack.chat(key["key"], body))[0] == 200
    process = stack.processes["proxy"]
    workers = stack.worker_pids()
    process.kill()
    await process.wait()
    await asyncio.sleep(0.5)
    assert not any(is_running(pid) for pid in workers)

    await stack.start_proxy()
    statuses = [(await stack.chat(key["key"], body))[0] for _ in range(3)]
    assert statuses == [200, 200, 401]
    rows = await stack.events(key["keyId"], 3, refused=False)
    assert sum(row["charged_cost_nano"] for row in rows) == 6_000_000
