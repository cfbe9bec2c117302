"""The connection to Redis waits as long as it was told and no longer, with whichever half of a server it meets."""

import time
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from proxy.adapters.limiter.link import LinkLostError, RedisAddress, RedisLink
from proxy.observations import LimiterChanged
from tests.dead_hosts import full_port, mute_host
from tests.limiter_rig import Away, Limiters, wait_until
from tests.servers import ValkeyServer

SOON, LATE = 0.1, 5.0


async def seconds_until_lost(address: RedisAddress) -> float:
    started = time.monotonic()
    with pytest.raises(LinkLostError, match="TimeoutError"):
        await RedisLink(address, ()).connect()
    return time.monotonic() - started


async def test_a_host_that_does_not_accept_is_given_up() -> None:
    """After REDIS_WRITE_TIME_OUT, whatever the time for answers."""
    with full_port() as port:
        address = RedisAddress((("127.0.0.1", port),), accept_seconds=SOON, answer_seconds=LATE)

        assert SOON <= await seconds_until_lost(address) < LATE / 2


async def test_a_host_that_accepts_and_says_nothing_is_given_up() -> None:
    """After REDIS_READ_TIME_OUT, whatever the time for connections."""
    async with mute_host() as mute:
        address = RedisAddress((("127.0.0.1", mute.port),), accept_seconds=LATE, answer_seconds=SOON)

        assert SOON <= await seconds_until_lost(address) < LATE / 2


@pytest_asyncio.fixture
async def limiters(valkey: ValkeyServer) -> AsyncIterator[Limiters]:
    server = valkey.fresh()
    limiters = Limiters(server, Away())
    yield limiters
    limiters.thaw()
    await limiters.close()
    server.stop()


async def test_the_monitor_waits_for_an_answer_as_long_as_it_was_told(limiters: Limiters) -> None:
    """Longer than the default too: a frozen Redis is given up by the next look at it, not before its time."""

    async def is_told(state: str) -> bool:
        return any(isinstance(seen, LimiterChanged) and seen.state == state for seen in limiters.told)

    await limiters.start(address=RedisAddress((limiters.server.socket_path,), answer_seconds=2.5))
    await wait_until(lambda: is_told("unrestored"), True)
    limiters.freeze()
    frozen = time.monotonic()
    await wait_until(lambda: is_told("unreachable"), True)

    assert time.monotonic() - frozen >= 2.5
