"""Which host of a list to try first, and how long: what one connection learnt of a dead host, the next one knows.

The host that served last comes first, one that failed goes to the end; so a first host that is gone or hangs is waited
for once, not by every connection. A host that hangs gets HOST_SECONDS while others are left, and what is left of the
time once none is: slow is not dead. Connecting itself, and what counts as "try the next", are the caller's.
"""

from collections.abc import Awaitable, Callable
from functools import cache
from typing import TypeVar

T = TypeVar("T")
HOST_SECONDS = 1.5
"""Longest wait for a host while there are others to try. TCP, TLS and login are about seven round trips."""

Place = tuple[str, int]
"""A host, or a folder of sockets, and the port."""


class NoHostServes(ConnectionError):  # noqa: N818 - theirs, not ours
    """Every host of a list failed; the message says how each did."""

    def __init__(self, errors: dict[Place, Exception]) -> None:
        super().__init__("; ".join(f"{_text(place)}: {_reason(error)}" for place, error in errors.items()))
        self.kinds = ", ".join(type(error).__name__ for error in errors.values())
        """How, without a host's name."""


class HostOrder:
    """The hosts of one list, those that are likelier to serve first."""

    def __init__(self, places: tuple[Place, ...]) -> None:
        self._places = list(places)

    @property
    def now(self) -> tuple[Place, ...]:
        """In the order to try them."""
        return tuple(self._places)

    def served(self, place: Place) -> None:
        """It comes first from now on."""
        self._places.remove(place)
        self._places.insert(0, place)

    def failed(self, place: Place) -> None:
        """It comes last from now on."""
        self._places.remove(place)
        self._places.append(place)


@cache
def order_of(places: tuple[Place, ...]) -> HostOrder:
    """The one order of these hosts in this process."""
    return HostOrder(tuple(dict.fromkeys(places)))


async def connect_first(
    places: tuple[Place, ...],
    connect: Callable[[Place, float], Awaitable[T]],
    passing: tuple[type[Exception], ...],
    seconds: float,
) -> T:
    """A connection to the first host that serves.

    `connect` gets a host and how long it may take, after which it raises TimeoutError. What `passing` names means
    "try the next"; anything else, a wrong password above all, would be the same there and is raised. Takes `seconds`
    at most. Raises NoHostServes.
    """
    order = order_of(places)
    share = min(HOST_SECONDS, seconds / len(places))
    told: dict[Place, Exception] = {}
    hanging: list[Place] = []
    for place in order.now:
        try:
            return await _try(order, place, connect, share)
        except TimeoutError as error:
            told[place] = error
            hanging.append(place)
        except passing as error:
            told[place] = error
    rest = seconds - share * len(hanging)
    for place in hanging:
        try:
            return await _try(order, place, connect, rest / len(hanging))
        except passing as error:
            told[place] = error
    raise NoHostServes({place: told[place] for place in places})


async def _try(order: HostOrder, place: Place, connect: Callable[[Place, float], Awaitable[T]], seconds: float) -> T:
    try:
        connection = await connect(place, seconds)
    except BaseException:  # whoever cancels us has lost patience with this host
        order.failed(place)
        raise
    order.served(place)
    return connection


def _text(place: Place) -> str:
    host, port = place
    return host if host.startswith("/") else f"{host}:{port}"


def _reason(error: Exception) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
