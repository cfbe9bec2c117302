"""The guard at the socket (design §8): resolve once, judge every address, connect to no other.

It is the resolver of the connection pool, so nothing can connect to a name without passing; hosts that are addresses
pass `check`. What may be connected to is decided in `core.destinations`; retries and timeouts are none of its business.
"""

import asyncio
import contextlib
import errno
import ipaddress
import socket
from collections.abc import Awaitable, Callable, Iterable, Sequence

from aiohttp.abc import AbstractResolver, ResolveResult

from proxy.core.destinations import (
    Address,
    Destination,
    DestinationError,
    Listener,
    Network,
    check_address,
    parse_destination,
)

Resolve = Callable[[str, int], Awaitable[Sequence[str]]]
"""A host and port to its addresses. Raises OSError when it has none."""


async def resolve_by_system(host: str, port: int) -> Sequence[str]:
    """The addresses that the system's resolver gives, best first."""
    infos = await asyncio.get_running_loop().getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG
    )
    return [str(info[4][0]) for info in infos]


def is_local(address: Address) -> bool:
    """True when `address` belongs to this machine: only such an address can be bound to."""
    if address.is_loopback:
        return True
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    try:
        with contextlib.closing(socket.socket(family, socket.SOCK_DGRAM)) as probe:
            probe.bind((str(address), 0))
    except OSError as error:
        # EADDRNOTAVAIL and "no such family" say no; anything else leaves it open, and open means closed.
        return error.errno not in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT, errno.EINVAL)
    return True


def own_listeners(addresses: Iterable[tuple[str, int]]) -> tuple[Listener, ...]:
    """The (address, port) pairs of the settings as listeners. A name among them is taken to mean every address."""
    listeners: list[Listener] = []
    for text, port in addresses:
        try:
            listeners.append(Listener(ipaddress.ip_address(text), port))
        except ValueError:
            listeners.append(Listener(ipaddress.IPv4Address(0), port))
    return tuple(listeners)


class Destinations(AbstractResolver):
    """Resolves and judges. One per worker."""

    def __init__(
        self,
        allowed_networks: Iterable[Network] = (),
        own_addresses: Iterable[tuple[str, int]] = (),
        resolve: Resolve = resolve_by_system,
    ) -> None:
        self._allowed_networks = tuple(allowed_networks)
        self._listeners = own_listeners(own_addresses)
        self._own_ports = frozenset(listener.port for listener in self._listeners)
        self._resolve = resolve

    def parse(self, url: str) -> Destination:
        """Take `url` apart, and judge its host if that is an address. Raises DestinationError."""
        destination = parse_destination(url)
        if destination.address is not None:
            self.check(destination.address, destination.port)
        return destination

    def check(self, address: Address, port: int) -> None:
        """Raise DestinationError unless Weir may connect there."""
        local = port in self._own_ports and is_local(address)
        check_address(address, port, self._allowed_networks, self._listeners, is_local=local)

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """The addresses of `host`; one that may not be called condemns the name, for mixed answers are how rebinding
        looks. Raises DestinationError, or OSError when there is no address.
        """
        found: list[ResolveResult] = []
        for text in dict.fromkeys(await self._resolve(host, port)):
            address = ipaddress.ip_address(text)
            try:
                self.check(address, port)
            except DestinationError as error:
                raise DestinationError(f"{host} resolves to a forbidden address: {error}") from None
            found.append(
                ResolveResult(
                    hostname=host,
                    host=text,
                    port=port,
                    family=socket.AF_INET if address.version == 4 else socket.AF_INET6,
                    proto=socket.IPPROTO_TCP,
                    flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
                )
            )
        if not found:
            raise OSError(f"{host} has no address")
        return found

    async def close(self) -> None:
        """Nothing is held open."""
