"""Where upstream requests may go (design §8): which addresses, and which spellings of a URL.

Destinations come from admin-owned rows, but rows are edited by people and names are resolved by servers that nobody
here runs, so every address is judged by itself. Pure: whoever resolves names and opens sockets calls in here.
"""

import ipaddress
import re
from collections.abc import Iterable
from typing import NamedTuple
from urllib.parse import urlsplit

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

DEFAULT_PORTS = {"http": 80, "https": 443}

NEVER = tuple(
    ipaddress.ip_network(network)
    for network in ("0.0.0.0/8", "224.0.0.0/4", "255.255.255.255/32", "::/128", "ff00::/8")
)  # fmt: skip
"""Not places one can connect to on purpose: not even UPSTREAM_ALLOWED_NETWORKS opens these."""

SPECIAL_V4 = tuple(
    ipaddress.ip_network(network)
    for network in (
        "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24", "192.0.2.0/24",
        "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "240.0.0.0/4",
        "168.63.129.16/32",  # looks global, but is the host's own metadata and DNS service in one big cloud
    )
)  # fmt: skip
"""IANA's special-purpose registry. A table of ours, since `ipaddress.is_global` differs between Python versions."""

GLOBAL_V6 = ipaddress.ip_network("2000::/3")
"""All global unicast there is; anything else of IPv6 is special."""
SPECIAL_V6 = tuple(ipaddress.ip_network(network) for network in ("2001::/23", "2001:db8::/32", "3fff::/20"))

EMBEDDINGS: tuple[tuple[Network, int], ...] = tuple(
    (ipaddress.ip_network(network), shift)
    for network, shift in (
        ("::ffff:0:0/96", 0),  # IPv4-mapped: the kernel connects to the IPv4 address
        ("::ffff:0:0:0/96", 0),  # IPv4-translated (SIIT)
        ("::/96", 0),  # IPv4-compatible
        ("64:ff9b::/96", 0),  # NAT64
        ("2002::/16", 80),  # 6to4
    )
)
"""IPv6 forms that carry an IPv4 address, and how many bits follow it: they reach what the IPv4 address reaches."""
ISATAP_MARKS = (0x00005EFE, 0x02005EFE)

HOST = re.compile(r"[a-z0-9](?:[a-z0-9_-]*[a-z0-9])?(?:\.[a-z0-9_](?:[a-z0-9_-]*[a-z0-9])?)*\.?", re.ASCII)
NUMERIC_LABEL = re.compile(r"\d+|0x[0-9a-f]*", re.ASCII)
UNSAFE = re.compile(r"[^\x21-\x7e]|[\\\"<>^`{|}]", re.ASCII)


class DestinationError(Exception):
    """The destination may not be called. The message names it: for operators, not for callers."""


class Destination(NamedTuple):
    """A URL, taken apart and judged as far as its text allows."""

    is_tls: bool
    host: str
    """Lower case; an IPv6 address without brackets."""
    port: int
    address: Address | None
    """The address, when the host is one. None: a name, to be resolved and judged then."""
    authority: str
    """What the Host header says."""
    target: str
    """Path and query, as they go on the request line."""


class Listener(NamedTuple):
    """An address that Weir itself listens on."""

    address: Address
    port: int


def parse_destination(url: str) -> Destination:
    """Take `url` apart. Raises DestinationError for everything but plain http and https URLs: other schemes, user
    info, a fragment, odd spellings of an IPv4 address (decimal, octal, hex, short), IPv6 zones, raw non-ASCII.
    """
    if UNSAFE.search(url):
        raise DestinationError("the URL holds a character that must be percent-encoded")
    try:
        parts = urlsplit(url)
        port = parts.port
        host = (parts.hostname or "").lower()
    except ValueError:
        raise DestinationError("the URL's host or port is malformed") from None
    if parts.scheme not in DEFAULT_PORTS:
        raise DestinationError("the URL must be http or https")
    if "@" in parts.netloc:
        raise DestinationError("the URL must not hold user info")
    if "#" in url:
        raise DestinationError("the URL must not hold a fragment")
    port = DEFAULT_PORTS[parts.scheme] if port is None else port
    if not port:
        raise DestinationError("port 0 is not a destination")
    address = _literal(host, is_bracketed=parts.netloc.startswith("["))
    shown = f"[{host}]" if isinstance(address, ipaddress.IPv6Address) else host
    authority = shown if port == DEFAULT_PORTS[parts.scheme] else f"{shown}:{port}"
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return Destination(parts.scheme == "https", host, port, address, authority, target)


def _literal(host: str, *, is_bracketed: bool) -> Address | None:
    """The address that `host` spells, None for a name."""
    if is_bracketed:
        try:
            return ipaddress.IPv6Address(host if "%" not in host else "zones are refused")
        except ValueError:
            raise DestinationError(f"{host} is not an IPv6 address") from None
    if len(host) > 253 or not HOST.fullmatch(host):
        raise DestinationError(f"{host!r} is not a host name")
    # A host whose last label is a number is an IPv4 address to every resolver (WHATWG URL §3.5), so only the one
    # canonical spelling may pass; 127.1, 2130706433, 0x7f.1, 0177.0.0.1 and 127.0.0.1. all mean loopback.
    if NUMERIC_LABEL.fullmatch(host.rstrip(".").rpartition(".")[2]):
        try:
            return ipaddress.IPv4Address(host)
        except ValueError:
            raise DestinationError(f"{host} is not a canonical IPv4 address") from None
    return None


def embedded_address(address: Address) -> ipaddress.IPv4Address | None:
    """The IPv4 address that an IPv6 address stands for, if any."""
    if isinstance(address, ipaddress.IPv4Address):
        return None
    number = int(address)
    if address not in (ipaddress.IPv6Address(0), ipaddress.IPv6Address(1)):
        for network, shift in EMBEDDINGS:
            if address in network:
                return ipaddress.IPv4Address((number >> shift) & 0xFFFFFFFF)
    if (number >> 32) & 0xFFFFFFFF in ISATAP_MARKS:
        return ipaddress.IPv4Address(number & 0xFFFFFFFF)
    return None


def is_allowed(address: Address, allowed_networks: Iterable[Network] = ()) -> bool:
    """True for global unicast, and for whatever else an operator has allowed. An embedded IPv4 address counts as that
    address; unspecified, multicast and broadcast are never allowed.
    """
    # Membership of an address in a network of the other version is False, so the tables need no sorting.
    embedded = embedded_address(address)
    if embedded is not None:
        return is_allowed(embedded, allowed_networks)
    if any(address in network for network in NEVER):
        return False
    if any(address in network for network in allowed_networks):
        return True
    if isinstance(address, ipaddress.IPv4Address):
        return not any(address in network for network in SPECIAL_V4)
    return address in GLOBAL_V6 and not any(address in network for network in SPECIAL_V6)


def is_own(address: Address, port: int, listeners: Iterable[Listener], *, is_local: bool) -> bool:
    """True when Weir itself listens there; `is_local` says whether `address` is one of this machine's."""
    effective = embedded_address(address) or address
    return any(
        listener.port == port and (listener.address == effective or (listener.address.is_unspecified and is_local))
        for listener in listeners
    )


def check_address(
    address: Address, port: int, allowed_networks: Iterable[Network], listeners: Iterable[Listener], *, is_local: bool
) -> None:
    """Raise DestinationError unless Weir may connect to `address`."""
    if not is_allowed(address, allowed_networks):
        raise DestinationError(f"{address} is not a public address nor in UPSTREAM_ALLOWED_NETWORKS")
    if is_own(address, port, listeners, is_local=is_local):
        raise DestinationError(f"{address} port {port} is Weir itself")
