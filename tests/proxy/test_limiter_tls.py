"""TLS to Redis: whose certificate is believed, and that a link over TLS works and breaks like any other."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
import uvloop

from proxy.adapters.limiter.address import redis_address
from proxy.adapters.limiter.link import LinkLostError, RedisLink, Reply, pack
from proxy.core.holds import Bounds, Hold
from proxy.observations import LimiterChanged
from shared.settings import load
from tests.bench.limiter_client import NothingSpent
from tests.dead_hosts import mute_host
from tests.limiter_rig import Limiters, make_key, make_limit, try_reserve, wait_until
from tests.servers import ValkeyServer
from tests.tls_front import NAME, Authority, TlsFront

WRONG_NAME = "127.0.0.1"
PATIENCE = {"REDIS_WRITE_TIME_OUT": "10s", "REDIS_READ_TIME_OUT": "10s"}


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """The one whose certificates are right."""
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """One that signed nothing of ours."""
    return Authority(tmp_path_factory.mktemp("other"), "other")


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def server(valkey: ValkeyServer) -> AsyncIterator[ValkeyServer]:
    fresh = valkey.fresh()
    yield fresh
    fresh.stop()


def link_to(port: int, host: str = NAME, **over: Any) -> RedisLink:
    """By the settings; `over` are REDIS_TLS_..., TLS itself is on."""
    environ = {"REDIS_HOSTS": f"{host}:{port}", "REDIS_TLS": "true", **PATIENCE}
    environ |= {f"REDIS_{name.upper()}": str(value) for name, value in over.items()}
    return RedisLink(redis_address(load(environ, Path("/nowhere"))), ())


@asynccontextmanager
async def connected(link: RedisLink) -> AsyncIterator[RedisLink]:
    await link.connect()
    try:
        yield link
    finally:
        link.drop()


async def failure(link: RedisLink) -> str:
    with pytest.raises(LinkLostError) as caught:
        await link.connect()
    assert not link.is_up
    return str(caught.value)


@pytest.mark.parametrize(
    ("host", "verify", "has_root"),
    [(NAME, "full", True), (NAME, "ca", True), (WRONG_NAME, "ca", True), (NAME, "none", False)],
)
async def test_a_certificate_that_proves_what_is_asked_is_believed(
    server: ValkeyServer, authority: Authority, host: str, verify: str, has_root: bool
) -> None:
    """The opt-outs are words of a setting; the default is not among them."""
    files = {"tls_root_cert": authority.file} if has_root else {}
    async with TlsFront("redis", server.socket_path, authority.issue()) as front:
        async with connected(link_to(front.port, host, tls_verify=verify, **files)) as link:
            assert await link.ask("PING") == b"PONG"
        assert (front.encrypted, front.plain) == (1, 0)


@pytest.mark.parametrize(
    ("host", "days", "is_ours", "why"),
    [
        (WRONG_NAME, 10, True, "IP address mismatch"),
        (NAME, -1, True, "expired"),
        (NAME, 10, False, "CERTIFICATE_VERIFY_FAILED"),
    ],
)
async def test_a_certificate_that_proves_too_little_is_refused(
    server: ValkeyServer, authority: Authority, other: Authority, host: str, days: int, is_ours: bool, why: str
) -> None:
    """Wrong name, expired, another authority: no word is said to that server."""
    pair = (authority if is_ours else other).issue(days=days)
    async with TlsFront("redis", server.socket_path, pair) as front:
        link = link_to(front.port, host, tls_root_cert=authority.file)
        assert why in await failure(link)
        assert link.fault == "SSLCertVerificationError"
        assert front.encrypted == 0


async def test_without_a_root_certificate_the_systems_authorities_decide(
    server: ValkeyServer, authority: Authority
) -> None:
    """They do not know ours."""
    async with TlsFront("redis", server.socket_path, authority.issue()) as front:
        assert "CERTIFICATE_VERIFY_FAILED" in await failure(link_to(front.port))


async def test_a_plain_server_is_not_spoken_to_when_tls_is_wanted(server: ValkeyServer, authority: Authority) -> None:
    """No password reaches it."""
    async with TlsFront("redis", server.socket_path) as front:
        over = {"password": "s3cret-pass", "write_time_out": "200ms", "read_time_out": "200ms"}
        link = link_to(front.port, tls_root_cert=authority.file, **over)
        assert "s3cret" not in await failure(link)


async def test_a_server_with_tls_is_not_reached_without(server: ValkeyServer, authority: Authority) -> None:
    """It is lost, and no more."""
    async with TlsFront("redis", server.socket_path, authority.issue()) as front:
        await failure(link_to(front.port, tls="false"))


async def test_a_client_certificate_is_shown(server: ValkeyServer, authority: Authority) -> None:
    """Without one, a server that wants it does not let us in."""
    mine = authority.issue("weir")
    async with TlsFront("redis", server.socket_path, authority.issue(), client_authority=authority) as front:
        ours = {"tls_root_cert": authority.file, "tls_cert": mine.cert, "tls_key": mine.key}
        async with connected(link_to(front.port, **ours)) as link:
            assert await link.ask("PING") == b"PONG"
        assert front.client_names == ["weir"]
        await failure(link_to(front.port, tls_root_cert=authority.file))


async def test_a_host_that_hangs_in_the_handshake_is_given_up(authority: Authority) -> None:
    """The handshake is an answer like any other."""
    async with mute_host() as mute:
        over = {"tls_root_cert": authority.file, "write_time_out": "100ms", "read_time_out": "100ms"}
        assert "TimeoutError" in await failure(link_to(mute.port, **over))
        assert mute.visits == 1


async def work_and_break(socket_path: str, authority: Authority) -> None:
    """Many replies at once, some large, in order; then the connection breaks, is noticed, and made again."""
    async with TlsFront("redis", socket_path, authority.issue()) as front:
        link = link_to(front.port, tls_root_cert=authority.file)
        lost = asyncio.Event()
        link.on_lost = lost.set
        async with connected(link):
            replies: list[Reply] = []
            for number in range(300):
                link.send(pack(("ECHO", f"{number}:" + "x" * (number * 200))), replies.append)
            assert await link.ask("PING") == b"PONG"
            assert [reply.split(b":")[0] for reply in replies if isinstance(reply, bytes)] == [
                str(number).encode() for number in range(300)
            ]

            broken: list[Reply] = []
            link.send(pack(("BLPOP", "nothing", "0")), broken.append)
            await asyncio.sleep(0)
            front.cut()
            await asyncio.wait_for(lost.wait(), 10)
            assert not link.is_up
            assert isinstance(broken[0], LinkLostError)
            await link.connect()
            assert await link.ask("PING") == b"PONG"


@pytest.mark.parametrize("run", [asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])
async def test_a_link_over_tls_works_and_breaks_like_any_other(
    server: ValkeyServer, authority: Authority, run: Callable[[Awaitable[None]], None]
) -> None:
    """Under the tests' loop and under the one that workers run."""
    await asyncio.to_thread(lambda: run(work_and_break(server.socket_path, authority)))


async def test_the_limiter_goes_on_after_its_tls_connection_broke(valkey: ValkeyServer, authority: Authority) -> None:
    """And when the server behind it was frozen meanwhile: unreachable, then reachable again."""
    limiters = Limiters(valkey.fresh(), NothingSpent())
    async with TlsFront("redis", limiters.server.socket_path, authority.issue()) as front:
        link = link_to(front.port, tls_root_cert=authority.file, read_time_out="1s")
        counters = await limiters.start(address=link.address)

        async def is_ready() -> bool:
            return counters.is_ready

        async def is_back() -> bool:
            return front.encrypted == 2 and counters.is_ready

        async def is_told(state: str) -> bool:
            return any(isinstance(seen, LimiterChanged) and seen.state == state for seen in limiters.told)

        await wait_until(is_ready, True)
        key = make_key(make_limit("cost", "d", 1_000))
        assert isinstance(await try_reserve(counters, key, Bounds(5, 5, None)), Hold)
        front.cut()
        await wait_until(is_back, True)

        limiters.freeze()
        await wait_until(lambda: is_told("unreachable"), True)
        limiters.thaw()
        await wait_until(is_ready, True)
        assert isinstance(await try_reserve(counters, key, Bounds(5, 5, None)), Hold)
        assert front.plain == 0
        await limiters.close()
    limiters.server.stop()
