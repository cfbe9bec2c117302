"""Where settings come from: `.env`, the process's environment, a JSON file; and which names there can only be mistakes.

Names and texts, no meaning: what a setting holds and its default are settings.py's.
"""

import difflib
import re
from collections.abc import Collection, Container, Iterable, Mapping
from pathlib import Path
from typing import cast

import msgspec

FAMILIES = (
    "WEIR_", "POSTGRESQL_", "REDIS_", "UPSTREAM_", "LIMITER_", "DRAIN_", "JOURNAL_", "SNAPSHOT_", "PROXY_",
    "PROMETHEUS_", "IN_MEMORY_", "MAX_BODY", "BODY_", "LOGGED_", "ADMIN_", "CONFIG_FILE",
)  # fmt: skip
"""How our names begin. In `.env` nobody else's do."""

_NEAR = 0.9  # of difflib's likeness: a letter lost, doubled or swapped, `_` forgotten, POSTGRES for POSTGRESQL
# The official PostgreSQL image's; it often shares the file, and who meant ours is told by PostgreSQL at once.
_NEIGHBOURS = frozenset({"POSTGRES_PASSWORD"})

_LINK_NAME = re.compile(r"_SERVICE_HOST$|_SERVICE_PORT(_|$)|_PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?$")
_LINK_VALUE = re.compile(r"(tcp|udp|sctp)://")


class SettingsError(Exception):
    """A setting is unknown, missing or malformed. The message names it and never shows a secret's value."""


def read_dot_env(path: Path) -> dict[str, str]:
    """`NAME=value` lines; `#` starts a comment line, quotes around a value are dropped, `export ` is allowed."""
    found: dict[str, str] = {}
    if not path.is_file():
        return found
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise SettingsError(f"cannot read {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise SettingsError(f"{path} is not UTF-8 text") from None
    for number, raw in enumerate(lines, 1):
        line = raw.strip().removeprefix("export ").strip()
        if not line or line.startswith("#"):
            continue
        name, equals, value = line.partition("=")
        if not equals or not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name.strip()):
            raise SettingsError(f"{path}:{number}: not a NAME=value line")
        value = value.strip()
        if len(value) >= 2 and value[0] == value[-1] and value[0] in "'\"":
            value = value[1:-1]
        found[name.strip()] = value
    return found


def without_service_links(environ: Mapping[str, str], known: Container[str]) -> dict[str, str]:
    """The environment without what Kubernetes puts there for every service of the namespace.

    A service `weir-proxy` makes WEIR_PROXY_SERVICE_HOST, WEIR_PROXY_PORT_8002_TCP and others, and because of `redis`
    REDIS_PORT is `tcp://10.0.0.1:6379`: nobody set those, so they are as if absent.
    """
    return {
        name: value
        for name, value in environ.items()
        if not (name.endswith("_PORT") and _LINK_VALUE.match(value)) and (name in known or not _LINK_NAME.search(name))
    }


def mistaken_names(names: Iterable[str], known: Collection[str]) -> list[str]:
    """Names of `.env` that are no settings but were meant to be: of one of our families, or nearly one of ours."""
    return sorted(
        name
        for name in names
        if name not in known
        and name not in _NEIGHBOURS
        and (name.upper().startswith(FAMILIES) or difflib.get_close_matches(name.upper(), known, 1, _NEAR))
    )


def read_config_file(path: Path, known: Container[str]) -> dict[str, str]:
    """The JSON file that CONFIG_FILE_NAME names: one object, setting names in lower case -> text, number or boolean."""
    try:
        content: object = msgspec.json.decode(path.read_bytes())
    except OSError as error:
        raise SettingsError(f"CONFIG_FILE_NAME: cannot read {path}: {error.strerror}") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise SettingsError(f"CONFIG_FILE_NAME: {path} is not JSON: {error}") from None
    if not isinstance(content, dict):
        raise SettingsError(f"CONFIG_FILE_NAME: {path} must hold one JSON object")
    found: dict[str, str] = {}
    for key, value in cast("dict[str, object]", content).items():
        name = key.upper()
        if name not in known:
            raise SettingsError(f"CONFIG_FILE_NAME: {path} has an unknown setting {key!r}")
        if isinstance(value, bool):
            found[name] = "true" if value else "false"
        elif isinstance(value, (str, int)):
            found[name] = str(value)
        else:
            raise SettingsError(f"CONFIG_FILE_NAME: {key} in {path} must be a string, a whole number or a boolean")
    return found
