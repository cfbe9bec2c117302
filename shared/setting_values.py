"""What the text of a setting may be: text in, a typed value out, or a ValueError that says what it must be.

The message never repeats the text: it may be a secret, and `settings` adds it where it may be shown.
"""

import ipaddress
import re
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

from shared.durations import parse_seconds

T = TypeVar("T")
Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def text(value: str) -> str:
    """As it is."""
    return value


def path(value: str) -> Path:
    """A file or folder, relative to the working folder."""
    return Path(value)


def _names(value: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in value.split(",") if part.strip())


def hosts(value: str) -> tuple[str, ...]:
    """At least one name, comma separated."""
    names = _names(value)
    if not names:
        raise ValueError("must name at least one host")
    return names


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
