"""Which host comes first: what failed goes to the end, what served to the front, and slow is not dead."""

import asyncio
from collections.abc import Callable

import pytest

from shared.host_order import HOST_SECONDS, HostOrder, NoHostServes, Place, connect_first, order_of

A, B, C = ("a", 1), ("b", 2), ("/c", 3)
Outcome = Exception | None


class Hosts:
    """Hosts that do as they are told, and the calls they saw. None serves, an exception is raised."""

    def __init__(self, *places: Place, **outcomes: Outcome | Callable[[float], Outcome]) -> None:
        order_of.cache_clear()
        self.places = places
        self.outcomes = outcomes
        self.calls: list[tuple[str, float]] = []

    async def _to(self, place: Place, seconds: float) -> str:
        self.calls.append((place[0], seconds))
        outcome = self.outcomes.get(place[0].strip("/"))
        if callable(outcome):
            outcome = outcome(seconds)
        if outcome is not None:
            raise outcome
        return place[0]

    async def connect(self, seconds: float = 5) -> str:
        self.calls.clear()
        return await connect_first(self.places, self._to, (OSError,), seconds)

    @property
    def tried(self) -> list[str]:
        return [name for name, _ in self.calls]


def test_an_order_moves_one_at_a_time() -> None:
    """To the end, to the front; nobody is lost."""
    order = HostOrder((A, B, C))
    order.failed(A)
    assert order.now == (B, C, A)
    order.failed(B)
    assert order.now == (C, A, B)
    order.served(A)
    assert order.now == (A, C, B)


async def test_the_first_that_serves_is_taken_and_comes_first_from_then_on() -> None:
    """The dead one is met once."""
    hosts = Hosts(A, B, C, a=ConnectionRefusedError())
    assert await hosts.connect() == "b"
    assert hosts.tried == ["a", "b"]
    assert await hosts.connect() == "b"
    assert hosts.tried == ["b"]


async def test_it_is_looked_for_again_when_it_no_longer_serves() -> None:
    """All the others are tried, the one that failed long ago too."""
    hosts = Hosts(A, B, a=ConnectionRefusedError())
    assert await hosts.connect() == "b"
    hosts.outcomes = {"b": ConnectionResetError()}
    assert await hosts.connect() == "a"
    assert hosts.tried == ["b", "a"]


async def test_a_host_that_hangs_gets_a_share_of_the_time_while_there_are_others() -> None:
    """And is not asked again when another serves."""
    hosts = Hosts(A, B, a=TimeoutError())
    assert await hosts.connect() == "b"
    assert hosts.calls == [("a", HOST_SECONDS), ("b", HOST_SECONDS)]


async def test_a_slow_host_gets_what_is_left_when_no_other_serves() -> None:
    """A primary that needs two seconds is found, beside a standby that says no at once."""
    hosts = Hosts(A, B, a=lambda seconds: TimeoutError() if seconds < 2 else None, b=ConnectionError("a standby"))
    assert await hosts.connect() == "a"
    assert hosts.calls == [("a", HOST_SECONDS), ("b", HOST_SECONDS), ("a", 5 - HOST_SECONDS)]


@pytest.mark.parametrize("count", [1, 2, 3, 5, 9])
async def test_the_time_is_never_exceeded(count: int) -> None:
    """However many hosts hang."""
    places = tuple((f"h{number}", 1) for number in range(count))
    hosts = Hosts(*places, **{name: TimeoutError() for name, _ in places})
    with pytest.raises(NoHostServes):
        await hosts.connect(5)
    assert sum(seconds for _, seconds in hosts.calls) == pytest.approx(5)


async def test_when_none_serves_it_is_told_of_each() -> None:
    """In the list's order, on one line; the kinds alone name nobody."""
    hosts = Hosts(A, B, C, a=TimeoutError(), b=ConnectionRefusedError("no\nthanks"), c=FileNotFoundError())
    with pytest.raises(NoHostServes) as caught:
        await hosts.connect()
    assert str(caught.value) == "a:1: TimeoutError; b:2: ConnectionRefusedError: no thanks; /c: FileNotFoundError"
    assert caught.value.kinds == "TimeoutError, ConnectionRefusedError, FileNotFoundError"


async def test_what_is_wrong_everywhere_is_raised_at_once() -> None:
    """A wrong password is not carried from host to host."""
    hosts = Hosts(A, B, a=ValueError("wrong password"))
    with pytest.raises(ValueError, match="wrong password"):
        await hosts.connect()
    assert hosts.tried == ["a"]


async def test_a_caller_without_patience_has_the_next_one_begin_elsewhere() -> None:
    """Who cancels has waited for this host long enough for all."""
    started = asyncio.Event()

    async def hang(_place: Place, _seconds: float) -> str:
        started.set()
        await asyncio.Event().wait()
        return ""

    hosts = Hosts(A, B)
    waiting = asyncio.get_running_loop().create_task(connect_first(hosts.places, hang, (OSError,), 5))
    await started.wait()
    waiting.cancel()
    await asyncio.wait({waiting})
    assert await hosts.connect() == "b"


async def test_two_that_connect_at_once_agree() -> None:
    """They share one order; it stays whole."""
    hosts = Hosts(A, B, C, a=ConnectionRefusedError(), b=ConnectionRefusedError())
    assert await asyncio.gather(*(hosts.connect() for _ in range(5))) == ["/c"] * 5
    assert order_of(hosts.places).now[0] == C
    assert sorted(order_of(hosts.places).now) == sorted(hosts.places)
