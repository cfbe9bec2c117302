"""What the text of a setting may be: text in, a typed value out, or a ValueError that says what it must be.

The message never repeats the text: it may be a secret, and `settings` adds it where it may be shown.
"""

import ipaddress
import re
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, TypeVar
from urllib.parse import urlsplit

from shared.durations import parse_seconds

T = TypeVar("T")
Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class Host(NamedTuple):
    """One of a list of servers."""

    name: str
    """A name or an address; beginning with `/`, a path of this machine."""
    port: int | None = None
    """Its own; None: the one that all of the list have in common. A path has none."""

    @property
    def is_path(self) -> bool:
        """A Unix socket, or the folder of one."""
        return self.name.startswith("/")

    def __str__(self) -> str:
        """As it is written in the setting."""
        if self.port is None:
            return self.name
        return f"[{self.name}]:{self.port}" if ":" in self.name else f"{self.name}:{self.port}"


def text(value: str) -> str:
    """As it is."""
    return value


def path(value: str) -> Path:
    """A file or folder, relative to the working folder."""
    return Path(value)


def _names(value: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in value.split(",") if part.strip())


# What no name of a host has, and a URL pasted here does.
_HOST = re.compile(r"(?P<name>[^\s/@:\[\]]+)(:(?P<port>\d{1,5}))?", re.ASCII)
_BRACKETED = re.compile(r"\[(?P<name>[^\[\]]+)\](:(?P<port>\d{1,5}))?", re.ASCII)


def _host(part: str) -> Host:
    if part.startswith("/"):
        return Host(part)
    if part.count(":") > 1 and not part.startswith("["):
        ipaddress.IPv6Address(part)
        return Host(part)
    found = _BRACKETED.fullmatch(part) or _HOST.fullmatch(part)
    if found is None or not 1 <= int(found["port"] or 1) <= 65535:
        raise ValueError(part)
    if part.startswith("["):
        ipaddress.IPv6Address(found["name"])
    return Host(found["name"], int(found["port"]) if found["port"] else None)


def hosts(value: str) -> tuple[Host, ...]:
    """At least one host, comma separated, each with a port of its own if need be."""
    names = _names(value)
    if not names:
        raise ValueError("must name at least one host")
    try:
        return tuple(_host(name) for name in names)
    except ValueError:
        raise ValueError("must be hosts like db1,db2:5433,[fd00::1]:5432 or paths, comma separated") from None


def integer(low: int, high: int) -> Callable[[str], int]:
    """A whole number in digits, both ends included."""

    def parse(value: str) -> int:
        if not re.fullmatch(r"\d{1,18}", value.strip(), re.ASCII) or not low <= int(value) <= high:
            raise ValueError(f"must be a whole number from {low} to {high}")
        return int(value)

    return parse


def flag(value: str) -> bool:
    """Yes or no: true, false, 1 or 0."""
    try:
        return {"true": True, "1": True, "false": False, "0": False}[value.strip().lower()]
    except KeyError:
        raise ValueError("must be true or false") from None


def choice(*values: str) -> Callable[[str], str]:
    """One of these words."""

    def parse(value: str) -> str:
        if value not in values:
            raise ValueError(f"must be one of {', '.join(values)}")
        return value

    return parse


def seconds(value: str) -> float:
    """A duration (Go's syntax, and days) in seconds."""
    try:
        return parse_seconds(value)
    except ValueError:
        raise ValueError("must be a duration, for example 500ms, 90s, 10m, 24h or 2d") from None


def positive_seconds(value: str) -> float:
    """A duration longer than 0."""
    parsed = seconds(value)
    if parsed <= 0:
        raise ValueError("must be longer than 0")
    return parsed


_LONGEST_STATEMENT_SECONDS = 24 * 86_400


def statement_seconds(value: str) -> float:
    """A duration that PostgreSQL can be told: it counts milliseconds in 31 bits, and 0 of them are no limit at all."""
    parsed = seconds(value)
    if not 0.001 <= parsed <= _LONGEST_STATEMENT_SECONDS:
        raise ValueError("must be from 1ms to 24d")
    return parsed


def networks(value: str) -> tuple[Network, ...]:
    """CIDR networks, comma separated; none at all is fine."""
    try:
        return tuple(ipaddress.ip_network(part) for part in _names(value))
    except ValueError:
        raise ValueError("must be networks like 10.0.0.0/8 or ::1/128, without host bits, comma separated") from None


def url(value: str) -> str:
    """An http(s) base URL, without a trailing slash. May carry a port and a path, and nothing else."""
    fault = ValueError("must be an http or https URL without user, query or fragment")
    try:
        parts = urlsplit(value)
        is_good = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        raise fault from None
    # urlsplit drops tabs and newlines and forgets an empty query: look at the text itself.
    if not is_good or "@" in parts.netloc or any(c in "?#\\" or c <= " " or not c.isprintable() for c in value):
        raise fault
    return value.rstrip("/")


def optional(parse: Callable[[str], T]) -> Callable[[str], T | None]:
    """None when empty."""
    return lambda value: parse(value) if value else None
