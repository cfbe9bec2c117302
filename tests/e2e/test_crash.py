"""What survives: a worker killed with open streams, and PostgreSQL frozen under load. Nothing is lost or doubled."""

import asyncio
import os
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import redis.asyncio

from tests.e2e.stack import CHAT, Stack, chat_body
from tests.fakes.upstream import FakeUpstream, Script
from tests.servers import PostgresServer

STREAMS = 200
RATE = 200
FROZEN_SECONDS = 30
NANO_PER_PROMPT_TOKEN, NANO_PER_COMPLETION_TOKEN = 2_500, 10_000


@pytest.fixture(scope="module")
async def private_postgres(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[PostgresServer]:
    """A PostgreSQL that this module may freeze."""
    import tempfile

    with tempfile.TemporaryDirectory(prefix="weir-", dir="/tmp") as folder:
        server = PostgresServer(Path(folder))
        server.start()
        yield server
        server.stop()


@pytest.fixture
async def crash_stack(
    private_postgres: PostgresServer, valkey: Any, upstream: FakeUpstream, tmp_path: Path
) -> AsyncIterator[tuple[Stack, Any]]:
    database = await private_postgres.create_database(migrated=True)
    server = valkey.fresh()
    try:
        redis_environ = {"REDIS_HOSTS": str(server.socket_path)}
        async with Stack(database, redis_environ, upstream.url, tmp_path, workers=2) as stack:
            yield stack, server
    finally:
        server.stop()


async def lifetime_spend(server: Any, key_id: str) -> int:
    """What Redis says a key has spent in all."""
    client = redis.asyncio.Redis(unix_socket_path=str(server.socket_path))
    try:
        name = f"weir:{{default}}:key:{key_id}:cost:total"
        value = await client.hget(name, "spent") if await client.type(name) == b"hash" else await client.get(name)
        return int(value or 0)
    finally:
        await client.aclose()


def seen_by(upstream: FakeUpstream) -> list[str]:
    """The request ids of the calls that upstream logged."""
    return [dict(call.headers)["x-weir-request-id"] for call in upstream.calls]


def open_files(pid: int) -> int:
    """How many descriptors a process has: a measure of its connections."""
    return len(os.listdir(f"/proc/{pid}/fd"))


async def read_stream(http: aiohttp.ClientSession, url: str, key: str) -> tuple[bool, str]:
    """One stream to its end: whether [DONE] came, and its request id."""
    request_id = ""
    try:
        async with http.post(url, json=chat_body(stream=True), headers={"x-api-key": key}) as answer:
            request_id = answer.headers["x-weir-request-id"]
            body = await answer.read()
            return b"[DONE]" in body, request_id
    except aiohttp.ClientError:
        return False, request_id


async def test_a_killed_worker_loses_no_event(crash_stack: tuple[Stack, Any], upstream: FakeUpstream) -> None:
    """kill -9 one of 2 workers with 200 open streams: the other's finish; every call has one event; money agrees."""
    stack, server = crash_stack
    upstream.default = Script(events=20, interval=0.2, prompt_tokens=10)
    key = await stack.create_key(await stack.create_setting(), costLimitInUsd=1000)
    connector = aiohttp.TCPConnector(limit=0, force_close=True)
    async with aiohttp.ClientSession(connector=connector) as http:
        streams = [
            asyncio.ensure_future(read_stream(http, stack.proxy_url + CHAT, key["key"]))  # noqa: TID251
            for _ in range(STREAMS)
        ]
        await upstream.until(lambda u: len(u.calls) == STREAMS, 20)
        await asyncio.sleep(1.5)
        victim = max(stack.worker_pids(), key=open_files)
        os.kill(victim, signal.SIGKILL)
        killed_at = time.monotonic()
        fates = await asyncio.gather(*streams)
    while (holds := await stack.gauge("weir_holds")) and time.monotonic() < killed_at + 10:
        pass  # a reading waits by itself
    assert holds == 0  # the dead worker's last reading is not told for ever

    rows = await stack.events(key["keyId"], STREAMS, 30)
    outcomes = Counter(row["outcome"] for row in rows)
    finished = {request_id for is_done, request_id in fates if is_done}
    completed = {str(row["request_id"]) for row in rows if row["outcome"] == "completed"}
    assert set(outcomes) == {"completed", "recovered"}
    assert finished == completed
    assert outcomes["recovered"] == STREAMS - len(finished)

    logged = seen_by(upstream)
    assert len(logged) == len(set(logged)) == STREAMS
    assert {str(row["request_id"]) for row in rows} == set(logged)
    assert len(rows) == STREAMS
    for row in rows:
        floor = 10 * NANO_PER_PROMPT_TOKEN + row["output_tokens"] * NANO_PER_COMPLETION_TOKEN
        if row["outcome"] == "completed":
            assert row["charged_cost_nano"] == floor == 10 * NANO_PER_PROMPT_TOKEN + 20 * NANO_PER_COMPLETION_TOKEN
        else:
            assert row["is_estimated"]
            assert row["charged_cost_nano"] >= floor

    charged = sum(row["charged_cost_nano"] for row in rows)
    deadline = time.monotonic() + 15
    while (spent := await lifetime_spend(server, key["keyId"])) != charged and time.monotonic() < deadline:
        await asyncio.sleep(0.2)
    assert spent == charged
    [rolled] = await stack.rows(
        "SELECT sum(charged_cost_nano)::bigint AS nano, sum(requests)::bigint AS requests FROM spend_hours "
        "WHERE key_id = $1", key["keyId"],
    )  # fmt: skip
    assert (rolled["nano"], rolled["requests"]) == (charged, STREAMS)

    # Back to two workers, and no hold of the dead one stands in the way.
    assert len(stack.worker_pids()) == 2
    upstream.default = Script()
    assert {(await stack.chat(key["key"]))[0] for _ in range(20)} == {200}


def family(pid: int) -> list[int]:
    """A process and its children."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *map(int, children)]


@pytest.mark.timeout(180)
async def test_a_frozen_postgres_fails_no_call_and_loses_no_event(
    crash_stack: tuple[Stack, Any], private_postgres: PostgresServer, upstream: FakeUpstream
) -> None:
    """PostgreSQL under SIGSTOP for 30 s at 200 requests/s: no failed call, and every event lands afterwards."""
    stack, server = crash_stack
    upstream.default = Script(events=2, prompt_tokens=10)
    key = await stack.create_key(await stack.create_setting(), costLimitInUsd=1000)
    await asyncio.sleep(2)  # the key is in every worker
    statuses: Counter[int] = Counter()
    calls: set[asyncio.Task[None]] = set()

    async def call() -> None:
        statuses[(await stack.chat(key["key"]))[0]] += 1

    frozen = family(private_postgres.child.pid)
    for pid in frozen:
        os.kill(pid, signal.SIGSTOP)
    try:
        started = time.monotonic()
        for number in range(RATE * FROZEN_SECONDS):
            await asyncio.sleep(max(0.0, started + number / RATE - time.monotonic()))
            calls.add(asyncio.ensure_future(call()))  # noqa: TID251
        await asyncio.gather(*calls)
    finally:
        for pid in reversed(frozen):
            os.kill(pid, signal.SIGCONT)
    total = RATE * FROZEN_SECONDS
    assert statuses == {200: total}

    rows = await stack.events(key["keyId"], total, 40)
    logged = seen_by(upstream)
    assert len(logged) == len(set(logged)) == total
    assert {str(row["request_id"]) for row in rows} == set(logged)
    assert len(rows) == total
    cost = 10 * NANO_PER_PROMPT_TOKEN + 2 * NANO_PER_COMPLETION_TOKEN
    assert {row["charged_cost_nano"] for row in rows} == {cost}
    assert await lifetime_spend(server, key["keyId"]) == total * cost
