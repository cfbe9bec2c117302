"""The whole product on stores as in production: TLS with certificates, lists of hosts, and passwords that are wrong."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.dead_hosts import closed_port, mute_host
from tests.e2e.budgets import COST_MAP, PROMPT_TOKENS, body_held_at
from tests.e2e.stack import Stack
from tests.fakes.upstream import FakeUpstream, Script
from tests.servers import Database, ValkeyServer
from tests.tls_front import NAME, Authority, TlsFront

WRONG = "hunter2-wrong"


@dataclass(frozen=True)
class Elsewhere:
    """A database whose planes are given other variables."""

    database: Database
    environ: dict[str, str]

    @property
    def owner(self) -> dict[str, Any]:
        return self.database.owner

    def settings_environ(self, plane: str) -> dict[str, str]:
        return self.database.settings_environ(plane) | self.environ


@pytest.fixture
async def redis(valkey: ValkeyServer) -> AsyncIterator[ValkeyServer]:
    server = valkey.fresh()
    yield server
    server.stop()


@dataclass(frozen=True)
class Fronts:
    """TLS in front of both stores, and what leads the planes there."""

    postgresql: TlsFront
    redis: TlsFront
    postgresql_environ: dict[str, str]
    redis_environ: dict[str, str]


@asynccontextmanager
async def fronts(database: Database, redis: ValkeyServer, folder: Path, *dead: str) -> AsyncIterator[Fronts]:
    """Clients show a certificate and check everything; `dead` are hosts named before the one that serves."""
    authority = Authority(folder)
    mine = authority.issue("weir")
    async with (
        TlsFront(
            "postgresql", f"{database.host}/.s.PGSQL.{database.port}", authority.issue(), client_authority=authority
        ) as postgresql,
        TlsFront("redis", redis.socket_path, authority.issue(), client_authority=authority) as cache,
    ):
        yield Fronts(
            postgresql,
            cache,
            {
                "POSTGRESQL_HOSTS": ",".join([*dead, f"{NAME}:{postgresql.port}"]),
                "POSTGRESQL_SSL_MODE": "verify-full",
                "POSTGRESQL_SSL_ROOT_CERT": str(authority.file),
                "POSTGRESQL_SSL_CERT": str(mine.cert),
                "POSTGRESQL_SSL_KEY": str(mine.key),
            },
            {
                "REDIS_HOSTS": ",".join([*dead, f"{NAME}:{cache.port}"]),
                "REDIS_TLS": "true",
                "REDIS_TLS_ROOT_CERT": str(authority.file),
                "REDIS_TLS_CERT": str(mine.cert),
                "REDIS_TLS_KEY": str(mine.key),
            },
        )


async def readiness(stack: Stack) -> dict[str, Any]:
    async with stack.http.get(f"{stack.proxy_url}/health/ready") as answer:
        return await answer.json()


async def until(stack: Stack, question: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    """Until readiness says so."""
    told: dict[str, Any] = {}
    for _ in range(600):
        told = await readiness(stack)
        if question(told):
            return told
        await asyncio.sleep(0.05)
    raise AssertionError(told)


async def test_the_product_works_over_tls_behind_dead_first_hosts(
    database: Database, redis: ValkeyServer, upstream: FakeUpstream, tmp_path: Path
) -> None:
    """A host that refuses and one that hangs come first; every byte to a store is encrypted; a cut is survived."""
    upstream.default = Script(prompt_tokens=PROMPT_TOKENS, completion_tokens=1)
    async with AsyncExitStack() as opened:
        mute = await opened.enter_async_context(mute_host())
        dead = (f"127.0.0.1:{closed_port()}", f"127.0.0.1:{mute.port}")
        there = await opened.enter_async_context(fronts(database, redis, tmp_path, *dead))
        stack = await opened.enter_async_context(
            Stack(
                Elsewhere(database, there.postgresql_environ),
                there.redis_environ,
                upstream.url,
                tmp_path,
                environ={"REDIS_READ_TIME_OUT": "2s", "REDIS_WRITE_TIME_OUT": "2s"},
            )
        )
        await until(stack, lambda told: told["limiter_ready"])
        key = await stack.create_key(await stack.create_setting(costMap=COST_MAP), costLimitInUsd=0.004)
        body = body_held_at(PROMPT_TOKENS)  # $0.002, and held at exactly that
        assert (await stack.chat(key["key"], body))[0] == 200

        there.postgresql.cut()
        there.redis.cut()
        await until(stack, lambda told: told["limiter_ready"] and told["snapshot_fault"] == "")
        for _ in range(200):
            status, _, answer = await stack.chat(key["key"], body)
            if status != 503:  # for as long as the limiter's connection is being made again
                break
            await asyncio.sleep(0.05)
        assert status == 200, answer
        assert (await stack.chat(key["key"], body))[0] == 401  # the budget is spent, and not forgotten
        events = await stack.events(key["keyId"], 2, refused=False)
        assert [event["outcome"] for event in events] == ["completed"] * 2
        assert (there.postgresql.plain, there.redis.plain) == (0, 0)
        assert set(there.postgresql.client_names) == set(there.redis.client_names) == {"weir"}
        assert await stack.end("proxy") == 0
        assert await stack.end("admin") == 0
        for name in ("proxy", "admin"):
            assert "Traceback" not in stack.log(name).read_text()


@asynccontextmanager
async def unready(stack: Stack, name: str) -> AsyncIterator[None]:
    """The plane runs, ready or not."""
    url = {"admin": stack.admin_url, "proxy": stack.proxy_url}[name]
    async with aiohttp.ClientSession() as stack.http:
        try:
            await stack.start(name, f"{url}/api/health")
            yield
        finally:
            await stack.end(name)


@pytest.mark.parametrize(
    ("environ", "fault", "told"),
    [
        ({"POSTGRESQL_PASSWORD": WRONG}, "InvalidPasswordError", "password authentication failed"),
        (
            {"POSTGRESQL_HOSTS": "127.0.0.1,/nowhere", "POSTGRESQL_PORT": "1", "POSTGRESQL_PASSWORD": WRONG},
            "ConnectionRefusedError, FileNotFoundError",
            "127.0.0.1:1: ConnectionRefusedError",
        ),
    ],
    ids=["wrong password", "nobody there"],
)
async def test_a_plane_that_cannot_reach_postgresql_says_why(
    database: Database, redis: ValkeyServer, upstream: FakeUpstream, tmp_path: Path, environ: dict[str, str],
    fault: str, told: str,
) -> None:  # fmt: skip
    """Both run on: a log line with the reason, readiness with its kind, no secret in either."""
    place = Elsewhere(database, environ)
    stack = Stack(place, {"REDIS_HOSTS": redis.socket_path}, upstream.url, tmp_path)
    async with unready(stack, "proxy"):
        seen = await until(stack, lambda seen: seen["snapshot_fault"] != "")
        assert (seen["status"], seen["snapshot_fault"], seen["keys"]) == ("not ready", fault, 0)
    async with unready(stack, "admin"), stack.http.get(f"{stack.admin_url}/api/health/ready") as answer:
        assert answer.status == 503
        assert f"({fault})" in (await answer.json())["detail"]
    assert told in stack.log("proxy").read_text()
    assert fault in stack.log("admin").read_text()
    for name in ("proxy", "admin"):
        assert WRONG not in stack.log(name).read_text()
        assert "Traceback" not in stack.log(name).read_text()


async def test_a_server_that_is_not_the_right_one_is_told_of(
    database: Database, redis: ValkeyServer, upstream: FakeUpstream, tmp_path: Path
) -> None:
    """A certificate for another name: neither store is used, and the log says what was wrong with it."""
    async with fronts(database, redis, tmp_path) as there:
        wrong_name = {
            "POSTGRESQL_HOSTS": f"127.0.0.1:{there.postgresql.port}",
            "REDIS_HOSTS": f"127.0.0.1:{there.redis.port}",
        }
        place = Elsewhere(database, there.postgresql_environ | wrong_name)
        stack = Stack(place, there.redis_environ | wrong_name, upstream.url, tmp_path)
        async with unready(stack, "proxy"):
            seen = await until(stack, lambda seen: "" not in (seen["snapshot_fault"], seen["limiter_fault"]))
            assert seen["snapshot_fault"] == seen["limiter_fault"] == "SSLCertVerificationError"
        async with unready(stack, "admin"):
            pass
        assert there.postgresql.encrypted == there.redis.encrypted == 0
    for name in ("proxy", "admin"):
        assert "IP address mismatch" in stack.log(name).read_text()


async def test_a_wrong_password_of_redis_is_told_and_only_budgets_stand_still(
    database: Database, redis: ValkeyServer, upstream: FakeUpstream, tmp_path: Path
) -> None:
    """Unlimited keys flow, budgeted ones get 503; log and readiness name Redis's own code."""
    place = {"REDIS_HOSTS": redis.socket_path, "REDIS_USERNAME": "weir", "REDIS_PASSWORD": WRONG}
    async with Stack(database, place, upstream.url, tmp_path) as stack:
        seen = await readiness(stack)
        assert (seen["status"], seen["limiter_ready"], seen["limiter_fault"]) == ("ready", False, "WRONGPASS")
        setting = await stack.create_setting()
        free = await stack.create_key(setting)
        budgeted = await stack.create_key(setting, costLimitInUsd=1)
        assert (await stack.chat(free["key"]))[0] == 200
        assert (await stack.chat(budgeted["key"]))[0] == 503
    assert "WRONGPASS" in stack.log("proxy").read_text()
    assert WRONG not in stack.log("proxy").read_text()
