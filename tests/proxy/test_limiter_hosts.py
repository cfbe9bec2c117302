"""A list of hosts of Redis of which the first does not serve; users, passwords and databases; what each is told as."""

from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from proxy.adapters.limiter.address import redis_address
from proxy.adapters.limiter.link import LinkLostError, RedisAddress, RedisLink
from proxy.adapters.limiter.scripts import SOURCES
from proxy.core.holds import Bounds, Hold
from proxy.observations import LimiterChanged
from shared.settings import load
from tests.bench.limiter_client import NothingSpent
from tests.dead_hosts import closed_port, mute_host
from tests.limiter_rig import Limiters, make_key, make_limit, try_reserve, wait_until
from tests.servers import ValkeyServer

BOUNDS = Bounds(5, 5, None)
# What the limiter needs of an operator's access list, and no more: the README says the same.
ACCESS = "~weir:* +@read +@write +@scripting +@connection +info +time +select"


Start = Callable[..., RedisLink]


@pytest.fixture
def link() -> Iterator[Start]:
    """Makes links, dropped at the end."""
    made: list[RedisLink] = []

    def make(*hosts: str | tuple[str, int], **options: object) -> RedisLink:
        made.append(RedisLink(RedisAddress(hosts, **options), SOURCES))  # type: ignore[arg-type]
        return made[-1]

    yield make
    for one in made:
        one.drop()


@pytest_asyncio.fixture
async def server(valkey: ValkeyServer) -> AsyncIterator[ValkeyServer]:
    """One of the test's own."""
    fresh = valkey.fresh()
    yield fresh
    fresh.stop()


async def test_dead_hosts_in_front_are_passed_over(server: ValkeyServer, link: Start) -> None:
    """A refusal, a host that says nothing, one that hangs up, no socket."""
    async with mute_host() as mute, mute_host(hangs_up=True) as rude:
        dead = [("127.0.0.1", port) for port in (closed_port(), mute.port, rude.port)]
        late = link(*dead, "/nowhere", server.socket_path, answer_seconds=0.5)
        await late.connect()
        assert late.is_up
        assert late.fault == ""
        assert (mute.visits, rude.visits) == (1, 1)


async def test_a_reconnect_goes_through_the_list_again(server: ValkeyServer, valkey: ValkeyServer, link: Start) -> None:
    """The first host is back: all workers that connect from now on meet there."""
    first = valkey.fresh()
    first.stop()
    one = link(first.socket_path, server.socket_path)
    await one.connect()
    second_run = one.run_id
    first.start()
    server.stop()
    await wait_until(lambda: _is_up(one), False)
    await one.connect()
    assert one.run_id not in (b"", second_run)
    first.stop()


async def _is_up(link: RedisLink) -> bool:
    return link.is_up


async def test_when_none_serves_each_is_told(link: Start) -> None:
    """In full to the operator; to everybody only the kinds of errors."""
    port = closed_port()
    none = link(("127.0.0.1", port), "/nowhere")
    with pytest.raises(LinkLostError) as caught:
        await none.connect()
    assert f"127.0.0.1:{port}: ConnectionRefusedError" in str(caught.value)
    assert "/nowhere: FileNotFoundError" in str(caught.value)
    assert none.fault == "ConnectionRefusedError, FileNotFoundError"


async def test_a_replica_is_passed_over_and_told_as_one(
    server: ValkeyServer, valkey: ValkeyServer, link: Start
) -> None:
    """Counters cannot be changed there."""
    replica = valkey.fresh()
    operator = link(replica.socket_path)
    await operator.connect()
    await operator.ask("REPLICAOF", "127.0.0.1", closed_port())

    both = link(replica.socket_path, server.socket_path)
    await both.connect()
    only = link(replica.socket_path)
    with pytest.raises(LinkLostError, match="ReplicaError"):
        await only.connect()
    assert only.fault == "ReplicaError"

    await operator.ask("REPLICAOF", "NO", "ONE")
    await only.connect()
    replica.stop()


async def test_the_limiter_works_as_a_user_with_few_rights(server: ValkeyServer, link: Start) -> None:
    """Name and password of an access list, and a database of its own."""
    operator = link(server.socket_path)
    await operator.connect()
    await operator.ask("ACL", "SETUSER", "weir", "on", ">s3cret-pass", *ACCESS.split())
    limiters = Limiters(server, NothingSpent())
    counters = await limiters.start(
        address=RedisAddress((server.socket_path,), username="weir", password="s3cret-pass", database=3)
    )

    async def is_ready() -> bool:
        return counters.is_ready

    await wait_until(is_ready, True)
    key = make_key(make_limit("cost", "d", 1_000), make_limit("requests", "m", 10))
    hold = await try_reserve(counters, key, BOUNDS)
    assert isinstance(hold, Hold)
    counters.settle(hold.order, 4)
    assert await counters.flush(10) == 0
    await operator.ask("SELECT", 3)
    assert await operator.ask("GET", f"weir:{{default}}:key:{key.id}:cost:total") == b"4"
    await limiters.close()


@pytest.mark.parametrize(
    ("user", "password", "code"),
    [("weir", "wr0ng-pass", "WRONGPASS"), ("nobody", "s3cret-pass", "WRONGPASS"), ("", "", "NOAUTH")],
)
async def test_who_is_not_let_in_says_so_without_the_password(
    server: ValkeyServer, link: Start, user: str, password: str, code: str
) -> None:
    """In the log's line and in readiness."""
    operator = link(server.socket_path)
    await operator.connect()
    await operator.ask("ACL", "SETUSER", "weir", "on", ">s3cret-pass", *ACCESS.split())
    await operator.ask("CONFIG", "SET", "requirepass", "an0ther-pass")
    limiters = Limiters(server, NothingSpent())
    counters = await limiters.start(address=RedisAddress((server.socket_path,), username=user, password=password))

    told = [seen for seen in limiters.told if isinstance(seen, LimiterChanged)]
    assert [(seen.state, code in seen.detail) for seen in told] == [("unreachable", True)]
    assert not counters.is_ready
    assert counters.fault == code
    for secret in ("wr0ng", "s3cret", "an0ther"):
        assert secret not in told[0].detail + counters.fault
    await limiters.close()


def test_the_settings_become_an_address(tmp_path: Path) -> None:
    """Ports of their own, the common one, a socket; the two time-outs by their own names."""
    environ = {
        "REDIS_HOSTS": "a, b:7000,[::1]:7001,/run/redis.sock",
        "REDIS_PORT": "6390",
        "REDIS_USERNAME": "weir",
        "REDIS_PASSWORD": "p@ss:w/rd",
        "REDIS_DB_START_INDEX": "4",
        "REDIS_READ_TIME_OUT": "3s",
        "REDIS_WRITE_TIME_OUT": "2s",
    }
    assert redis_address(load(environ, tmp_path)) == RedisAddress(
        (("a", 6390), ("b", 7000), ("::1", 7001), "/run/redis.sock"),
        username="weir",
        password="p@ss:w/rd",
        database=4,
        accept_seconds=2.0,
        answer_seconds=3.0,
        tls=None,
    )


async def test_a_first_host_that_hangs_delays_a_worker_by_one_answer(server: ValkeyServer) -> None:
    """Then budgeted keys are admitted as ever."""
    async with mute_host() as mute:
        limiters = Limiters(server, NothingSpent())
        counters = await limiters.start(
            address=RedisAddress((("127.0.0.1", mute.port), server.socket_path), answer_seconds=0.5)
        )

        async def is_ready() -> bool:
            return counters.is_ready

        await wait_until(is_ready, True)
        assert isinstance(await try_reserve(counters, make_key(make_limit("cost", "d", 100)), BOUNDS), Hold)
        assert mute.visits == 1
        await limiters.close()
